"""What the source remembers of files it has dealt with: durable facts, kept by the host beside the position.

Where files are archived, the last 10 000 drops are remembered: facts live in a ring of slots, so their number is bounded
without anything ever being deleted. Where files stay in place there is one fact for each name.

Drops that were read to their end and are not committed yet form the tail. Going back to an earlier position cuts it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from connectors.file_drop.position import READ, REPEATED, Drop, Identity

SLOTS: Final = 10_000
_ORDINAL: Final = "ordinal"
_FACT: Final = "drop."


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """The last drop of a name, and what became of it."""

    name: str
    ordinal: int
    digest: str
    identity: Identity
    ended: str
    encoding: str = ""
    rows: int = 0

    @classmethod
    def of(cls, drop: Drop) -> Fact:
        """Return the fact about a drop that ended; a repeated one stands for the first."""
        ended = READ if drop.ended == REPEATED else drop.ended
        return cls(drop.name, drop.twin or drop.ordinal, drop.digest, drop.identity, ended, drop.encoding, drop.rows)

    @property
    def drop(self) -> Drop:
        """The drop as it ended."""
        return Drop(self.ordinal, self.name, self.identity, self.digest, self.encoding, rows=self.rows, ended=self.ended)


class DropLedger:
    """Facts by name, the tail, and the last ordinal given."""

    def __init__(self, memory: Mapping[str, str], *, keep: bool = False, slots: int = SLOTS) -> None:
        self._keep = keep
        self._slots = slots
        self._facts: dict[str, Fact] = {}
        self._tail: deque[Drop] = deque()
        self._ordinal = self._given = int(memory.get(_ORDINAL, "0"))
        facts = [msgspec.json.decode(value, type=Fact) for key, value in memory.items() if key.startswith(_FACT)]
        for fact in sorted(facts, key=lambda fact: fact.ordinal):
            self._learn(fact)

    def continue_from(self, ordinal: int) -> None:
        """Forget what came after a drop and is not durable."""
        while self._tail and self._tail[-1].ordinal > ordinal:
            self._tail.pop()
        self._given = max(self._ordinal, ordinal)

    def next_ordinal(self) -> int:
        """Return the ordinal of the next drop."""
        return self._given + 1

    def begin(self, ordinal: int) -> dict[str, str]:
        """Give an ordinal to a drop; returns what to remember."""
        self._given = ordinal
        return {_ORDINAL: str(ordinal)}

    def end(self, drop: Drop) -> dict[str, str]:
        """Note that a drop came to its end; returns what to remember."""
        self._tail.append(drop)
        slot = hashlib.sha256(drop.name.encode()).hexdigest()[:16] if self._keep else str(drop.ordinal % self._slots)
        return {_FACT + slot: msgspec.json.encode(Fact.of(drop)).decode()}

    def commit(self, ordinal: int) -> Iterator[Drop]:
        """Yield the drops of the tail up to an ordinal; each is durable, and leaves the tail when the next is asked for."""
        while self._tail and self._tail[0].ordinal <= ordinal:
            yield self._tail[0]
            drop = self._tail.popleft()
            self._learn(Fact.of(drop))
            self._ordinal = max(self._ordinal, drop.ordinal)

    def done(self) -> Sequence[Drop]:
        """Return the remembered drops that are durable and are to be put away, if that did not happen."""
        return [fact.drop for fact in self._facts.values() if not (self._keep and fact.ended == READ)]

    def repeats(self, name: str, digest: str, identity: Identity) -> Fact | None:
        """Return the last drop of a name if a file with this digest only repeats it.

        A file that was refused whole may have been right and the settings wrong: dropped again it is read again.
        """
        fact = self._last(name)
        if fact is None or fact.digest != digest:
            return None
        return fact if fact.ended == READ or fact.identity == identity else None

    def is_done(self, name: str, identity: Identity | None) -> bool:
        """Tell whether this very file was dealt with and only waits to be put away, or stays for good."""
        if any(drop.name == name and drop.identity == identity for drop in self._tail):
            return True
        fact = self._facts.get(name)
        return self._keep and fact is not None and fact.identity == identity and fact.ended == READ

    def _last(self, name: str) -> Fact | None:
        return next((Fact.of(drop) for drop in reversed(self._tail) if drop.name == name), self._facts.get(name))

    def _learn(self, fact: Fact) -> None:
        self._facts.pop(fact.name, None)
        self._facts[fact.name] = fact  # the order of the dictionary is that of the drops
        if not self._keep and len(self._facts) > self._slots:
            del self._facts[next(iter(self._facts))]
