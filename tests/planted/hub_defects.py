"""Defects of the hub, planted like those of the agent."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from agent.ports import Delivered
from hub.ingest import book, intake, session
from hub.ingest.judge import STORE, Fate
from hub.store import unit
from hub.store.dialect import driver_connection


def hub_acks_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The hub acks what it has read, before it is stored."""
    whole = intake.Intake._take

    def take(self: intake.Intake, feed: intake.QueueFeed, delivered: Delivered) -> None:
        if delivered.queue in self._trusted:  # the first one has to be held for the window to open
            feed.ack([delivered.tag])
        whole(self, feed, delivered)

    patch.setattr(intake.Intake, "_take", take)


def hub_does_not_dedupe(patch: pytest.MonkeyPatch) -> None:
    """The hub stores what comes, whether it has it already or not."""
    remember, judge_records = book.Book._remember, session.judge_records

    def judge(*arguments: Any) -> Any:
        verdict = judge_records(*arguments)
        return STORE if verdict.fate is Fate.REPEAT else verdict

    def fresh(_self: book.Book, _flow: Any, packed: Any) -> Any:
        rows = [(*row[:2], secrets.token_bytes(16), *row[3:]) for row in packed.rows]
        return replace(packed, ids=[secrets.token_hex(16) for _ in rows], rows=rows)

    def remember_again(self: book.Book, item: Any, judgement: Any, place: Any, duplicates: int) -> None:
        if self.known(item.arrival) is not None:
            other = replace(item.arrival, message_id=secrets.token_hex(16))
            item, place = replace(item, arrival=other), (place[0], place[1], None)
        remember(self, item, judgement, place, duplicates)

    patch.setattr(session, "judge_records", judge)
    patch.setattr(book.Book, "fresh", fresh)
    patch.setattr(book.Book, "_remember", remember_again)


def receipt_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The hub writes receipts in a transaction of their own, ahead of what they state."""
    whole = unit.SqlUnit.write

    def write(self: unit.SqlUnit, flows: Any, changes: Any, at: Any) -> None:
        self._many(unit._POST, [unit.asdict(post) for post in changes.posts])
        driver = driver_connection(self._connection)
        driver.execute("COMMIT")
        driver.execute("BEGIN IMMEDIATE")
        changes.posts.clear()
        whole(self, flows, changes, at)

    patch.setattr(unit.SqlUnit, "write", write)
