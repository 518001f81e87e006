"""Input that cannot be sent: kept once, with a reason; neighbours flow on; corrected, it closes by itself."""

from __future__ import annotations

import json

import pytest

from agent.errors import Conflict, UnreadableRecord
from agent.events import RecordQuarantined, ValuesDoubted
from agent.mapping.spec import FieldSpec, MapSpec, OnFail
from agent.model import Quarantined
from agent.queries import Closed
from agent.services.capture_messages import BatchLimits
from agent.services.capture_step import OpenItems
from agent.testing.scripted_source import ScriptedSource
from agent.wire.limits import Limits
from tests.unit.services.capture_kit import FLOW, Bench


def test_a_row_that_does_not_fit_is_kept_and_its_neighbours_flow_on() -> None:
    """A row without a required value is quarantined with its bytes, field and reason; the others are sent."""
    bench = Bench()
    bench.script.put((1, "A"), (2, None), (3, "C"))
    bench.run()
    assert bench.names() == [(1, "A"), (3, "C")]
    (item,) = bench.open_items()
    assert (item.field, item.reason, item.code, item.key) == ("name", "required", "HT-R001", '[["i","2"]]')
    assert json.loads(item.raw) == {"id": 2, "name": None}
    assert [(e.item_id, e.reason, e.field) for e in bench.recorder.of(RecordQuarantined)] == [(item.item_id, "required", "name")]


def test_what_never_was_a_record_is_kept_too() -> None:
    """Unreadable input is quarantined with its exact bytes."""
    bench = Bench(ScriptedSource(log=True))
    bench.script.put((1, "A"))
    bench.script.put_unreadable(b"\xff\xfe;")
    bench.script.put((3, "C"))
    bench.run()
    (item,) = bench.open_items()
    assert (item.raw, item.reason, item.code, item.token, item.key) == (b"\xff\xfe;", "broken", UnreadableRecord.code, "2", None)
    assert bench.names() == [(1, "A"), (3, "C")]


def test_reading_a_bad_row_again_adds_nothing() -> None:
    """A bad row that comes with every poll is one item, one event and no further transaction, also after a restart."""
    bench = Bench(ScriptedSource(overlap=5))
    bench.script.put((1, None))
    bench.script.put_unreadable(b"?")
    bench.run()
    before = dict(bench.store.tables.activity)
    for _ in range(3):
        bench.run()
    bench.restart()
    bench.run()
    assert len(bench.store.tables.items) == 2
    assert len(bench.recorder.of(RecordQuarantined)) == 2
    assert bench.store.tables.activity == before


def test_a_row_that_is_bad_in_another_way_is_another_item() -> None:
    """Two contents are two items; two rows are two items even where their content is equal."""
    bench = Bench(ScriptedSource(log=True))
    bench.script.put((1, None), (1, None))
    bench.run()
    assert len(bench.open_items()) == 2


def test_a_corrected_row_is_sent_and_closes_its_item() -> None:
    """The corrected version of a key is sent by itself, and what was kept of it counts as superseded."""
    bench = Bench()
    bench.script.put((1, None))
    bench.run()
    bench.script.put((1, "A"))
    bench.run()
    assert bench.names() == [(1, "A")]
    assert bench.item_states() == {"required": "superseded"}


def test_a_restart_does_not_forget_which_items_are_open() -> None:
    """A row corrected while the agent was down closes its item too."""
    bench = Bench()
    bench.script.put((1, None))
    bench.run()
    bench.script.put((1, "A"))
    bench.restart()
    bench.run()
    assert bench.item_states() == {"required": "superseded"}


def test_doubtful_values_are_sent_and_counted() -> None:
    """A check that only warns lets the record through; the doubts are told by field and reason."""
    spec = MapSpec(fields=(FieldSpec("id", "id"), FieldSpec("name", "name", check="cn-id", on_fail=OnFail.WARN)), key=("id",))
    bench = Bench(spec=spec)
    bench.script.put((1, "110105194912310021"), (2, "x"), (3, "11010519491231002X"))
    bench.run()
    assert [key for key, _ in bench.names()] == [1, 2, 3]
    assert sum(event.records for event in bench.recorder.of(ValuesDoubted)) == 2
    assert {event.field for event in bench.recorder.of(ValuesDoubted)} == {"name"}


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_records_are_packed_by_number() -> None:
    """No message has more records than allowed."""
    bench = Bench(limits=None)
    bench.plan = bench.plan.__class__(FLOW, bench.plan.sender, bench.plan.spec, limits=BatchLimits(records=4))
    bench.service = bench.build()
    bench.script.put(*((n, "x") for n in range(10)))
    bench.run()
    assert [s.sequence for s in bench.sent()] == [1] * 4 + [2] * 4 + [3] * 2


def test_records_are_packed_by_size_and_a_large_one_travels_alone() -> None:
    """A message ends before it would become too large; a record over the size is a message of its own."""
    bench = Bench()
    bench.plan = bench.plan.__class__(FLOW, bench.plan.sender, bench.plan.spec, limits=BatchLimits(octets=1000))
    bench.service = bench.build()
    bench.script.put((1, "a"), (2, "b"), (3, "x" * 5000), (4, "c"), (5, "y" * 700), (6, "z" * 700))
    bench.run()
    by_sequence: dict[int, list[int]] = {}
    for sent in bench.sent():
        by_sequence.setdefault(sent.sequence, []).append(sent.key["id"])
    assert list(by_sequence.values()) == [[1, 2], [3], [4, 5], [6]]


def test_a_record_that_no_message_can_carry_takes_no_sequence() -> None:
    """A record over the hub's limit is quarantined before it takes a sequence; sequences stay without gaps."""
    import secrets

    bench = Bench(limits=Limits(body_bytes=4096))
    noise = secrets.token_hex(10_000)
    bench.script.put((1, "a"), (2, noise), (3, "c"))
    bench.run()
    assert [key for key, _ in bench.names()] == [1, 3]
    assert sorted(set(bench.sequences())) == list(range(1, len(bench.sequences()) + 1))
    assert bench.item_states() == {"record_too_large": "open"}
    bench.run()
    assert len(bench.store.tables.items) == 1


def test_a_message_the_hub_would_refuse_is_divided() -> None:
    """When the hub takes less than we pack, messages are halved until they fit; the order stays."""
    import secrets

    bench = Bench(limits=Limits(body_bytes=4096))
    bench.script.put(*((n, secrets.token_hex(600)) for n in range(20)))
    bench.run()
    assert [key for key, _ in bench.names()] == list(range(20))
    assert len(bench.sequences()) > 1


# -- trying again ------------------------------------------------------------------------------------------------------


def quarantined(*rows: tuple[int, str | None]) -> tuple[Bench, list[str]]:
    """Return a bench with these rows captured, and the items that came of them."""
    bench = Bench()
    bench.script.put(*rows)
    bench.run()
    return bench, [item.item_id for item in bench.open_items()]


def retry(bench: Bench, items: list[str]) -> dict[str, Closed | None]:
    future = bench.service.retry(items)
    bench.rounds(3)
    return dict(future.result(5))


def test_a_record_tried_again_is_read_again_first() -> None:
    """A record that is right by now is sent and its item closed as retried, without waiting for a poll."""
    bench, items = quarantined((1, None), (2, "B"))
    bench.script._changes[0] = bench.script._changes[0]._replace(row=(1, "A"))  # corrected, and no poll sees it
    assert retry(bench, items) == {items[0]: Closed.RETRIED}
    assert bench.names() == [(2, "B"), (1, "A")]
    assert bench.item_states() == {"required": "retried"}


def test_a_record_that_is_still_wrong_stays_open() -> None:
    """Trying again what did not change changes nothing."""
    bench, items = quarantined((1, None))
    assert retry(bench, items) == {items[0]: None}
    assert bench.item_states() == {"required": "open"}


def test_a_record_captured_in_the_meantime_is_superseded() -> None:
    """If a later version of the key was captured, the item closes and nothing is sent."""
    bench, _ = quarantined((1, "A"))
    item = Quarantined("q1", FLOW, "people", "", '[["i","1"]]', b"{}", "required", "HT-R001", "name", "", {}, bench.clock.now())
    bench.store.tables.quarantine(item)
    assert retry(bench, ["q1"]) == {"q1": Closed.SUPERSEDED}
    assert bench.names() == [(1, "A")]


def test_a_record_that_is_gone_is_superseded() -> None:
    """A key that the source no longer has needs no correction any more."""
    bench, items = quarantined((1, None))
    bench.script.delete(1)
    assert retry(bench, items) == {items[0]: Closed.SUPERSEDED}
    assert bench.names() == []


def test_unknown_items_and_items_without_a_key_stay_as_they_are() -> None:
    """What cannot be looked up is not closed."""
    bench = Bench()
    bench.script.put_unreadable(b"?")
    bench.run()
    items = [item.item_id for item in bench.open_items()]
    assert retry(bench, [*items, "no-such-item"]) == {items[0]: None, "no-such-item": None}


def test_retrying_moves_no_position() -> None:
    """Trying again reads beside the order of reading: what was not read yet is still read."""
    bench, items = quarantined((1, None), (2, "B"))
    position = bench.store.open_flow(FLOW).position
    bench.script._changes[0] = bench.script._changes[0]._replace(row=(1, "A"))
    retry(bench, items)
    assert bench.store.open_flow(FLOW).position == position


def test_a_paused_flow_cannot_try_again() -> None:
    """The error says that the flow does not run."""
    bench, items = quarantined((1, None))
    bench.store.pause(FLOW, "operator 张工: 检修")
    bench.service.tick()
    bench.rounds(2)
    future = bench.service.retry(items)
    bench.rounds(1)
    with pytest.raises(Conflict):
        future.result(5)


def test_nobody_waits_for_an_answer_after_the_end() -> None:
    """A request that comes as the service ends is answered too."""
    bench, items = quarantined((1, None))
    future = bench.service.retry(items)
    bench.service.finish()
    with pytest.raises(Conflict):
        future.result(5)


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_open_items_are_remembered_in_bounds() -> None:
    """Of very many open items the newest are remembered, by id and by key."""
    now = Bench().clock.now()
    items = OpenItems(
        Quarantined(f"q{n}", FLOW, "people", "", f'[["i","{n % 7000}"]]', b"", "r", "c", "f", "", {}, now) for n in range(12_000)
    )
    assert "q1999" not in items
    assert "q2000" in items
    assert sorted(items.of(['[["i","4999"]]'])) == ["q11999", "q4999"]
    items.discard(["q4999", "q4999", "unknown"])
    assert items.of(['[["i","4999"]]']) == ["q11999"]
