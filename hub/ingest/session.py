"""One transaction of ingest: a group of messages judged in their order, everything they cause written together.

Locks are taken first and in a fixed order (departments by code, flows by id), so two processes that meet in one department
wait for each other instead of blocking each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agent.model import Outcome
from agent.wire.codes import CODES
from agent.wire.control import Query
from hub.events import ConflictSeen, ForkSeen, MessageStored
from hub.ingest.book import Book, places
from hub.ingest.clerk import Judgement
from hub.ingest.controls import HubFacts, Office, names_in
from hub.ingest.items import Item, Prepared, Refusal
from hub.ingest.judge import Fate, Verdict, judge_identity, judge_records
from hub.model import EpochState, FlowState, PostKind
from hub.store.store import FlowName


class Session:
    """Judges one group. `careful` looks every record id up first: the second try, after a bulk insert collided."""

    def __init__(self, book: Book, facts: HubFacts, *, careful: bool) -> None:
        self._book = book
        self._facts = facts
        self._careful = careful

    def run(self, items: Sequence[Item]) -> None:
        """Judge and write. What the store raises loses the transaction."""
        self._book.lock({item.arrival.department for item in items}, _flows(items), _messages(items))
        for item in items:
            if isinstance(item, Refusal):
                self._book.refuse(item)
            elif item.control is not None:
                self._control(item)
            else:
                self._records(item)
        self._book.write()

    def _records(self, item: Prepared) -> None:
        book, arrival, place = self._book, item.arrival, item.place
        flow = book.flow(arrival.department, place.flow)

        def occupied(epoch: EpochState, sequence: int) -> bool:
            return flow is not None and book.occupied(flow, epoch, sequence)

        verdict = judge_records(place, arrival.digest, flow, book.known(arrival), occupied)
        if verdict.fate is Fate.STORE and flow is not None:
            self._store(item, flow, flow.epochs[place.epoch])
        elif verdict.fate is Fate.REPEAT:
            book.repeat(arrival, place.flow)
        else:
            self._refuse(item, verdict)

    def _store(self, item: Prepared, flow: FlowState, epoch: EpochState) -> None:
        book, arrival, packed = self._book, item.arrival, item.packed
        fresh = book.fresh(flow, packed) if self._careful else packed
        duplicates = len(packed.ids) - len(fresh.ids)
        book.add_records(flow, epoch, item.place.sequence, fresh, duplicates)
        outcome = Outcome.PARTLY_STORED if item.refused else Outcome.STORED
        judgement = Judgement(arrival, item.place, outcome, records=item.records, stored=len(packed.ids), refused=item.refused)
        book.close(item, flow, epoch, judgement, duplicates)
        book.settle(judgement, PostKind.RECEIPT)
        book.events.append(
            MessageStored(
                department=arrival.department,
                flow=item.place.flow,
                message_id=arrival.message_id,
                records=len(fresh.ids),
                refused=len(item.refused),
                duplicates=duplicates,
                latency_secs=(book.now - arrival.received_at).total_seconds(),
            )
        )

    def _control(self, item: Prepared) -> None:
        book, arrival = self._book, item.arrival
        known = judge_identity(arrival.digest, book.known(arrival))
        if known is not None and known.fate is Fate.REFUSE:
            self._refuse(item, known)
            return
        open_flow = partial(book.open_flow, arrival.department)
        office = Office(arrival.department, book.flows, book.seen, open_flow, self._facts, book.now)
        assert item.control is not None
        effect = office.handle(item.control, repeat=known is not None)
        if effect.verdict.fate is Fate.REFUSE:
            self._refuse(item, effect.verdict)
            return
        book.events.extend(effect.events)
        book.changes.repost.extend((arrival.department, about) for about in effect.repost)
        if known is not None:
            book.repeat(arrival, item.place.flow)
        else:
            judgement = Judgement(arrival, item.place, Outcome.STORED)
            book.remember_control(item, judgement)
            book.settle(judgement, PostKind.RECEIPT)
        if effect.answer is not None:
            book.changes.posts.append(book.clerk.answer(arrival, effect.answer, book.now))

    def _refuse(self, item: Prepared, verdict: Verdict) -> None:
        book, department, place = self._book, item.arrival.department, item.place
        flow = book.flow(department, place.flow)
        if verdict.code == "conflict":
            book.events.append(ConflictSeen(department, place.flow, item.arrival.message_id))
        if verdict.freezes and flow is not None:
            epoch = flow.epochs[place.epoch]
            epoch.frozen, epoch.changed = verdict.why, True
            book.events.append(ForkSeen(department, place.flow, place.epoch, verdict.why))
        book.refuse(refusal_of(item, verdict.code, verdict.why))


def refusal_of(item: Prepared, code: str, why: str = "") -> Refusal:
    """Return the refusal of a message whose envelope was authentic."""
    entry = CODES[code]
    text = f"{entry.text} ({why})" if why else entry.text
    return Refusal(item.arrival, entry.outcome, code, text, item.arrival.department, item.place)


def _flows(items: Sequence[Item]) -> set[FlowName]:
    named = {
        (item.arrival.department, name)
        for item in items
        if isinstance(item, Prepared) and item.control is not None
        for name in names_in(item.control)
    }
    return places(items) | named


def _messages(items: Sequence[Item]) -> set[tuple[str, str]]:
    asked = {
        (item.arrival.department, message_id)
        for item in items
        if isinstance(item, Prepared) and isinstance(item.control, Query)
        for message_id in item.control.ids
    }
    return {(item.arrival.department, item.arrival.message_id) for item in items if item.arrival.message_id} | asked
