"""What maintenance does, and how often."""

from __future__ import annotations

from agent.events import BodiesPurged, ReceiptsOverdue
from agent.model import State
from agent.services.maintenance import PURGE_BATCH, MaintenanceService, Upkeep
from tests.unit.services.kit import Bench

DAY = 86_400.0


class Kept(Bench):
    """A bench with the maintenance service on it."""

    def __init__(self) -> None:
        super().__init__("f", "g")
        self.asked: list[list[str]] = []
        self.chores = 0
        self.maintenance = MaintenanceService(
            outbox=self.store,
            ask=lambda ids: self.asked.append(list(ids)),
            chores=[self._chore],
            events=self.events,
            clock=self.clock,
            upkeep=Upkeep(keep_days=30, know_days=400, overdue_secs=600),
        )

    def _chore(self) -> None:
        self.chores += 1

    def keep_house(self, secs: float, *, step: float = 1.0) -> None:
        """Go round for so long."""
        for _ in range(int(secs / step)):
            self.clock.advance(step)
            self.maintenance.wake()
            self.maintenance.run_once()


def test_bodies_of_stored_messages_are_dropped_by_age_and_no_others() -> None:
    """Only stored bodies older than the retention go; what waits for a person, or for a receipt, stays."""
    kept = Kept()
    names = kept.capture("f", 6)
    kept.rounds(3)
    for name in names[:4]:
        kept.settle(name)
    kept.keep_house(29 * DAY, step=DAY / 4)
    assert not kept.recorder.of(BodiesPurged)
    kept.keep_house(2 * DAY, step=DAY / 4)
    assert kept.recorder.of(BodiesPurged) == [BodiesPurged(4)]
    records = kept.store.tables.messages.values()
    assert [bool(record.octets) for record in records] == [False] * 4 + [True] * 2


def test_stored_messages_are_forgotten_in_the_end() -> None:
    """Long after the bodies the rest goes too, all but the newest message; what has no receipt stays for ever."""
    kept = Kept()
    names = kept.capture("f", 6)
    kept.rounds(3)
    for name in (*names[:3], *names[4:]):
        kept.settle(name)
    kept.keep_house(31 * DAY, step=DAY / 4)
    assert len(kept.store.tables.messages) == 6
    kept.keep_house(371 * DAY, step=DAY)
    assert [record.about.message_id for record in kept.store.tables.messages.values()] == [names[3], names[5]]


def test_a_large_purge_goes_on_without_a_pause() -> None:
    """Batches follow one another until all is done; each is one round."""
    kept = Kept()
    kept.capture("f", 2 * PURGE_BATCH + 5)
    kept.rounds(30)
    for name in list(kept.sent):
        kept.settle(name)
    kept.clock.advance(31 * DAY)
    for _ in range(3):
        kept.maintenance.run_once()
    assert [event.messages for event in kept.recorder.of(BodiesPurged)] == [PURGE_BATCH, PURGE_BATCH, 5]


def test_overdue_receipts_are_asked_about_and_nothing_is_resent() -> None:
    """After ten minutes without a receipt the hub is asked; the messages stay confirmed."""
    kept = Kept()
    kept.capture("f", 2)
    kept.capture("g", 1)
    kept.rounds(3)
    kept.keep_house(590)
    assert kept.asked == []
    kept.keep_house(120)
    assert sorted(kept.asked[0]) == ["f-1", "f-2", "g-1"]
    assert {(event.flow, event.messages) for event in kept.recorder.of(ReceiptsOverdue)} == {("f", 2), ("g", 1)}
    assert kept.states("f") == [State.CONFIRMED] * 2
    assert len(kept.published) == 3


def test_a_hub_that_does_not_answer_is_asked_less_and_less() -> None:
    """The same question comes after 1, 2, 4 … minutes, at most once an hour; a new one comes at once."""
    kept = Kept()
    kept.capture("f", 1)
    kept.rounds(3)
    kept.keep_house(DAY, step=10)
    assert 24 <= len(kept.asked) <= 32
    kept.capture("f", 1)
    kept.rounds(3)
    before = len(kept.asked)
    kept.keep_house(3600 + 700, step=10)
    assert kept.asked[-1] == ["f-1", "f-2"]
    assert len(kept.asked) - before >= 3


def test_chores_are_done_every_few_seconds() -> None:
    """The store is made to look at its disk also when nothing is captured."""
    kept = Kept()
    kept.keep_house(60)
    assert kept.chores == 12
