"""Records → exchange messages of a bearable size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.errors import BadMessage, BadRecord
from agent.i18n import N_
from agent.model import ExchangeMessage


class Writer(Protocol):
    """What makes a message of records; `agent.wire.envelope.MessageWriter` is one."""

    def records(self, sequence: int, records: Sequence[bytes]) -> ExchangeMessage:
        """Return the signed message. Raises BadMessage when it is larger than the receiver takes."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much goes into one message. A record larger than `octets` travels alone."""

    records: int = 500
    octets: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """A message and which of the records are in it: from `first` to before `last`."""

    message: ExchangeMessage
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A record that no message can carry."""

    index: int
    error: BadRecord


def pack(
    writer: Writer, records: Sequence[bytes], sequence: int, limits: BatchLimits, breaks: Collection[int] = ()
) -> Iterator[Packed | TooLarge]:
    """Yield the messages of records, in order, with sequences from `sequence` on.

    No message holds records on both sides of one of the `breaks`: numbers of records with which a message has to begin.
    """
    for first, last in _groups(records, limits, breaks):
        for made in _write(writer, records, first, last, sequence):
            yield made
            sequence += isinstance(made, Packed)


def breaks_of(rows: Sequence[int], ends: Sequence[int]) -> frozenset[int]:
    """Return the numbers of the records that begin a transaction.

    `rows` are the row numbers of the records, ascending, and `ends` those of the last rows of transactions. Not every row has
    become a record: with the last row of a transaction its end is not gone.
    """
    return frozenset(bisect_right(rows, end) for end in ends)


def _groups(records: Sequence[bytes], limits: BatchLimits, breaks: Collection[int]) -> Iterator[tuple[int, int]]:
    first = size = 0
    for index, record in enumerate(records):
        full = index - first >= limits.records or size + len(record) > limits.octets
        if index > first and (full or index in breaks):
            yield first, index
            first, size = index, 0
        size += len(record)
    if first < len(records):
        yield first, len(records)


def _write(writer: Writer, records: Sequence[bytes], first: int, last: int, sequence: int) -> Iterator[Packed | TooLarge]:
    """Write one group; one that the receiver would refuse is halved until it fits."""
    try:
        yield Packed(writer.records(sequence, records[first:last]), first, last)
    except BadMessage:
        if last - first == 1:
            yield TooLarge(first, _too_large(len(records[first])))
            return
        middle = (first + last) // 2
        for start, end in ((first, middle), (middle, last)):
            for made in _write(writer, records, start, end, sequence):
                yield made
                sequence += isinstance(made, Packed)


def _too_large(size_bytes: int) -> BadRecord:
    return BadRecord(
        N_("the record is larger than the hub takes in one message ({size_bytes} bytes)"),
        reason="record_too_large",
        hint=N_("leave large columns out of the map"),
        size_bytes=size_bytes,
    )
