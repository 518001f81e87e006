"""What control messages do to flows. Works on the states a transaction has locked; nothing here touches the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from agent.events import Event
from agent.wire.control import (
    Control,
    EpochOpen,
    Hello,
    HighWater,
    HubHello,
    JwkPublic,
    NextSequence,
    Query,
    QueryAnswer,
    Void,
    WireLimits,
    number,
)
from agent.wire.event import MAX_SEQUENCE
from hub.events import AgentGreeted, EpochOpened, ForkSeen, SequencesVoided
from hub.ingest.judge import STORE, Verdict, refuse
from hub.model import EpochState, FlowState, Seen
from hub.sequence import MAX_RANGES

MAX_EPOCHS: Final = 1_000
"""Epochs a flow may have: each is a restore by hand."""

MAX_GAPS: Final = 100
"""Most gaps told in one hello; the lowest come first and the rest shows when these are filled."""

Flows = dict[tuple[str, str], FlowState]


@dataclass(frozen=True, slots=True)
class HubFacts:
    """What a hub tells of itself in its hello."""

    limits: WireLimits
    keys: tuple[JwkPublic, ...]


@dataclass(slots=True)
class Effect:
    """What a control message came to: the verdict on it, an answer to send, receipts to send again, and what happened."""

    verdict: Verdict = STORE
    answer: HubHello | QueryAnswer | None = None
    repost: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def names_in(control: Control) -> frozenset[str]:
    """Return the flows a control message speaks of."""
    match control:
        case Hello():
            return frozenset(control.flows)
        case EpochOpen() | Void():
            return frozenset({control.flow})
        case _:
            return frozenset()


@dataclass(slots=True)
class Office:
    """Carries out control messages of one department within one transaction."""

    department: str
    flows: Flows
    seen: Mapping[tuple[str, str], Seen]
    open_flow: Callable[[str], FlowState]
    facts: HubFacts
    now: datetime

    def handle(self, control: Control, *, repeat: bool) -> Effect:
        """Carry out one control message. A repeat changes nothing and is answered again."""
        match control:
            case Hello():
                return self._hello(control, repeat)
            case Query():
                return self._query(control)
            case EpochOpen():
                return Effect() if repeat else self._open_epoch(control)
            case Void():
                return Effect() if repeat else self._void(control)
            case _:
                return Effect(verdict=refuse("malformed", "only a hub says this"))

    # -- hello -------------------------------------------------------------------------------------------------------

    def _hello(self, hello: Hello, repeat: bool) -> Effect:
        effect = Effect(events=[AgentGreeted(self.department, hello.instance, hello.version)])
        answers: dict[str, HighWater] = {}
        for name, stands in hello.flows.items():
            flow = self.flows.get((self.department, name))
            if flow is None or flow.latest is None:
                continue
            epoch = flow.epochs.get(stands.epoch)
            # A hello may be delivered again after the messages that followed it: only its first hearing may accuse.
            if epoch is not None and not epoch.frozen and not repeat:
                self._look_for_fork(flow, epoch, stands, effect)
            answers[name] = _high_water(epoch or flow.latest)
        effect.answer = HubHello(self.facts.limits, answers, list(self.facts.keys))
        return effect

    def _look_for_fork(self, flow: FlowState, epoch: EpochState, stands: NextSequence, effect: Effect) -> None:
        why = ""
        if epoch.closed.top >= int(stands.next_sequence):
            why = f"the hub has sequence {epoch.closed.top}, the agent is about to give {stands.next_sequence}"
        elif epoch is not flow.latest:
            why = "the agent still lives in an epoch that a restore has ended"
        if why:
            epoch.frozen, epoch.changed = why, True
            effect.events.append(ForkSeen(self.department, flow.flow, epoch.epoch, why))

    # -- epochs ------------------------------------------------------------------------------------------------------

    def _open_epoch(self, opens: EpochOpen) -> Effect:
        flow = self.flows.get((self.department, opens.flow)) or self.open_flow(opens.flow)
        if opens.epoch in flow.epochs:
            return Effect()
        if len(flow.epochs) >= MAX_EPOCHS:
            return Effect(verdict=refuse("quota", "too many epochs"))
        latest = flow.latest
        ordinal = latest.ordinal + 1 if latest else 1
        flow.epochs[opens.epoch] = EpochState(opens.epoch, ordinal, opens.previous, changed=True)
        follows = opens.previous == (latest.epoch if latest else "")
        return Effect(events=[EpochOpened(self.department, opens.flow, opens.epoch, ordinal, follows)])

    def _void(self, void: Void) -> Effect:
        flow = self.flows.get((self.department, void.flow))
        epoch = flow.epochs.get(void.epoch) if flow is not None else None
        if epoch is None:
            return Effect(verdict=refuse("unknown_epoch", void.epoch))
        if epoch.frozen:
            return Effect(verdict=refuse("frozen", epoch.frozen))
        first, last = int(void.first), int(void.last)
        if first < 1 or last > MAX_SEQUENCE:
            return Effect(verdict=refuse("malformed", "not a range of sequences"))
        if len(epoch.closed.ahead) >= MAX_RANGES and first > epoch.closed.high_water + 1:
            return Effect(verdict=refuse("quota", "too many gaps in the sequences"))
        epoch.closed, epoch.changed = epoch.closed.close(first, last), True
        return Effect(events=[SequencesVoided(self.department, void.flow, first, last)])

    # -- query -------------------------------------------------------------------------------------------------------

    def _query(self, query: Query) -> Effect:
        known = [one for one in query.ids if (self.department, one) in self.seen]
        missing = [one for one in query.ids if (self.department, one) not in self.seen]
        return Effect(answer=QueryAnswer(missing=missing, known=len(known)), repost=known)


def _high_water(epoch: EpochState) -> HighWater:
    return HighWater(
        epoch=epoch.epoch,
        high_water=number(epoch.closed.high_water),
        gaps=[(number(first), number(last)) for first, last in islice(epoch.closed.gaps(), MAX_GAPS)],
        frozen=epoch.frozen,
    )
