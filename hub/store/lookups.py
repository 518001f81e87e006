"""What a group of messages speaks of, locked and read.

These few statements run in every transaction of ingest, however small. So they are text, made once for each database, and a
database that can answers all of them in one round trip. Locks come first and in a fixed order: leases and audit chains by
department, then flows by id. What is read under them stands in later statements, so that it is what whoever held the locks
before has committed.
"""

# ruff: noqa: S608 - what is composed are constants; every value is bound

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

Question = tuple[str, dict[str, Any]]
"""A statement and its parameters."""

Pairs = Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a database writes that a column is among given values, or two columns among given pairs; and how it locks rows."""

    one_of: str
    pair_of: str
    lock: str
    share: str
    values: Callable[[Collection[str]], dict[str, Any]]
    pairs: Callable[[Pairs], dict[str, Any]]


class Lookups:
    """The statements in the spelling of one database."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        named, share, lock = f"WHERE department {spelling.one_of} ORDER BY department", spelling.share, spelling.lock
        mine = f"WHERE (sender, flow) {spelling.pair_of}"
        self._leases = f"SELECT department, fence FROM lease {named} {share}"
        self._heads = f"SELECT department, sequence, hash FROM audit_head {named} {lock}"
        self._flows = f"SELECT id, sender, flow FROM flow {mine} ORDER BY id {lock}"
        self._epochs = (
            "SELECT flow_id, epoch, ordinal, previous, high_water, ahead, frozen FROM epoch"
            f" WHERE flow_id IN (SELECT id FROM flow {mine})"
        )
        self._seen = (
            f"SELECT sender, message_id, digest, outcome, code FROM message WHERE (sender, message_id) {spelling.pair_of}"
        )

    def leases(self, departments: Collection[str]) -> Question:
        """Ask for (department, fence), held so that they cannot change hands before our commit."""
        return self._leases, self._spelling.values(departments)

    def heads(self, departments: Collection[str]) -> Question:
        """Lock audit chains and ask for (department, sequence, hash)."""
        return self._heads, self._spelling.values(departments)

    def flows(self, names: Pairs) -> Question:
        """Lock flows by (sender, flow) and ask for (id, sender, flow)."""
        return self._flows, self._spelling.pairs(names)

    def epochs(self, names: Pairs) -> Question:
        """Ask for (flow id, epoch, ordinal, previous, high water, ahead, frozen) of these flows."""
        return self._epochs, self._spelling.pairs(names)

    def seen(self, messages: Pairs) -> Question:
        """Ask for (sender, message id, digest, outcome, code) of messages by (sender, message id)."""
        return self._seen, self._spelling.pairs(messages)
