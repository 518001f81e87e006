"""The ledger check: what the sources said against what the two stores hold. It knows nothing of how either came about.

Every break of a promise has a word, so that a test can say which promises a defect must be caught breaking:

    lost          a change that was captured is not at the hub          twice       a record is there more often than it happened
    altered       a record differs from what the source says            invented    a record that the source never had
    order         a key's history is in another order                   gap         sequences at the hub have a hole
    unproved      a message counts as stored that the hub has not       body gone   a message in need of a resend has no body
    custody       the broker confirmed what neither it nor the hub has  overtaken   a message was sent before its turn
    unfinished    a message has not come to its end                     not put aside   bad input left no trace
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from agent.wire.topology import inbound_queue
from tests.planted.line import CODE, FLOW, Line

History = Mapping[object, Sequence[Any]]
"""Key (the first member of it) → data of each version, oldest first; None for a delete."""


class Violation(AssertionError):
    """The ledgers do not agree. `words` are the promises that are broken."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{word}: {text}" for word, text in found))
        self.words = frozenset(word for word, _ in found)


def require(line: Line, expected: History, *, put_aside: Sequence[str] = (), finished: bool = True) -> None:
    """Raise Violation unless the hub holds exactly these histories and every promise on the way was kept.

    `put_aside` are the reasons of what has to lie in quarantine. With `finished` False messages may still be on their way, so
    only what the hub has is compared; nothing may be wrong with it.
    """
    found = [
        *_histories(hub_history(line), expected, complete=finished),
        *_gaps(line, finished=finished),
        *_messages(line, finished=finished),
        *_turns(line),
    ]
    reasons = sorted(item.input.reason for item in line.reader.items(FLOW, limit=1000))
    if reasons != sorted(put_aside):
        found.append(("not put aside", f"{dict(Counter(reasons))} instead of {dict(Counter(put_aside))}"))
    if found:
        raise Violation(found)


def hub_history(line: Line) -> dict[object, list[Any]]:
    """Return what the hub's store holds of the flow, read beside the product."""
    query = (
        "SELECT r.key, r.data FROM record AS r JOIN flow AS f ON f.id = r.flow_id WHERE f.sender = ? AND f.flow = ?"
        " ORDER BY r.epoch_ordinal, r.sequence, r.position"
    )
    history: dict[object, list[Any]] = {}
    with closing(sqlite3.connect(f"file:{line.hub.path}?mode=ro", uri=True)) as db:
        for key, data in db.execute(query, (CODE, FLOW)):
            (name, *_rest) = json.loads(key).values()
            history.setdefault(name, []).append(json.loads(data) if data is not None else None)
    return history


def _histories(stored: History, expected: History, *, complete: bool) -> Iterator[tuple[str, str]]:
    for key in {**expected, **stored}:
        here, there = list(stored.get(key, ())), list(expected.get(key, ()))
        if here != there:
            yield from _difference(key, here, there, complete=complete)


def _difference(key: object, here: list[Any], there: list[Any], *, complete: bool) -> Iterator[tuple[str, str]]:
    said, due = Counter(map(_text, here)), Counter(map(_text, there))
    missing, extra = due - said, said - due
    if not there:
        yield "invented", f"{key}: {here}"
    elif missing and extra and complete:
        yield "altered", f"{key}: {here} instead of {there}"
    elif extra:
        yield ("twice" if extra.keys() <= due.keys() else "invented"), f"{key}: {here} instead of {there}"
    elif missing and complete:
        yield "lost", f"{key}: {here} instead of {there}"
    elif not missing:
        yield "order", f"{key}: {here} instead of {there}"


def _text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, sort_keys=True)


def _gaps(line: Line, *, finished: bool) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{line.hub.path}?mode=ro", uri=True)) as db:
        for epoch, high_water, ahead in db.execute("SELECT epoch, high_water, ahead FROM epoch WHERE ahead <> ''"):
            if finished:
                yield "gap", f"epoch {epoch}: after {high_water} comes {ahead}"


def _messages(line: Line, *, finished: bool) -> Iterator[tuple[str, str]]:
    """Compare the outbox with the hub's messages and with what the broker keeps."""
    with closing(sqlite3.connect(f"file:{line.hub.path}?mode=ro", uri=True)) as db:
        stored = dict(
            db.execute("SELECT message_id, digest FROM message WHERE outcome IN ('stored', 'partly_stored')").fetchall()
        )
        refused = {message_id for (message_id,) in db.execute("SELECT message_id FROM quarantine")}
    waiting = in_the_broker(line)
    for message_id, state, digest, octets, sequence in line.outbox():
        if state in ("stored", "partly_stored") and stored.get(message_id) != digest:
            yield "unproved", f"message {sequence} counts as {state}, the hub does not have it"
        if state in ("pending", "confirmed") and not octets:
            yield "body gone", f"message {sequence} is {state}"
        if state == "confirmed" and message_id not in {*stored, *refused, *waiting}:
            yield "custody", f"message {sequence} is confirmed, and nobody has it"
        if finished and state in ("pending", "confirmed"):
            yield "unfinished", f"message {sequence} is {state}"


def in_the_broker(line: Line) -> set[str]:
    """Return the messages that wait for the hub or are held by it without an ack."""
    waiting = {one.message_id or "" for one in line.broker.waiting(inbound_queue(CODE))}
    held = [one for feed in line.broker._links for one in getattr(feed, "_held", {}).values()]
    return waiting | {one.message_id or "" for one in held}


def _turns(line: Line) -> Iterator[tuple[str, str]]:
    """Look whether a message was first sent while an earlier one had failed and was not confirmed since (PROTOCOL 2, order)."""
    failed: set[int] = set()
    in_flight: set[int] = set()
    seen: set[int] = set()
    for what, entry in line.notes:
        if entry < 0:  # what is only said has no place in the order
            continue
        if what == "send":
            if entry not in seen and any(earlier < entry for earlier in failed):
                yield "overtaken", f"entry {entry} was sent while {min(failed)} had failed"
            seen.add(entry)
            in_flight.add(entry)
            failed.discard(entry)
        elif what == "lost":
            failed |= in_flight
            in_flight.clear()
        else:
            in_flight.discard(entry)
            if what == "failed":
                failed.add(entry)
