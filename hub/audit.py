"""The audit chain of a department: every judgement of the hub is one link.

A link's hash covers the hash before it, its number and its exact text, so nothing can be changed, taken out or put in
without every later hash changing; and receipts carry the head, so that cutting the end off shows as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

GENESIS: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends."""

    sequence: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a department's chain. `entry` is compact JSON with ids, digests and counts, never contents."""

    department: str
    sequence: int
    previous: bytes
    hash: bytes
    entry: str
    at: datetime


def link_hash(previous: bytes, sequence: int, entry: str) -> bytes:
    """Return SHA-256 over previous hash ‖ sequence as 8 octets, big-endian ‖ entry as UTF-8."""
    return hashlib.sha256(previous + sequence.to_bytes(8, "big") + entry.encode()).digest()


def append(head: Head, department: str, entry: str, at: datetime) -> Link:
    """Return the link that follows `head`."""
    sequence = head.sequence + 1
    return Link(department, sequence, head.hash, link_hash(head.hash, sequence, entry), entry, at)


def first_broken(links: Iterable[Link], start: Head | None = None) -> int | None:
    """Return the number of the first link that does not follow from the one before, None when the chain holds."""
    head = start or Head()
    for link in links:
        expected = link_hash(head.hash, head.sequence + 1, link.entry)
        if link.sequence != head.sequence + 1 or link.previous != head.hash or link.hash != expected:
            return head.sequence + 1
        head = Head(link.sequence, link.hash)
    return None
