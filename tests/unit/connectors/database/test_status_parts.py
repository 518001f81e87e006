"""The parts of a status column that need no database: settings, statements, the reason, and which pages are covered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from pydantic import ValidationError

from agent.model.handshake import Answer, Fate
from connectors.database.dialects.base import Row
from connectors.database.settings import DatabaseFrom, StatusFrom
from connectors.database.streams.status import StatusStream
from connectors.database.streams.status_pages import StatusPages
from connectors.database.streams.status_writer import StatusWriter, said
from connectors.database.tables.pages import Statement
from connectors.database.tables.reader import Page, TableReader
from tests.unit.connectors.database.test_pages import pages, sql

STATUS = StatusFrom.of(column="v", message="c")


class Writer:
    """Notes what would be written."""

    def __init__(self) -> None:
        self.moved: list[tuple[list[Any], str, str, str | None]] = []

    def move(self, rows: Sequence[Row], before: str, after: str, reason: str | None = None) -> None:
        """See StatusWriter."""
        if rows:
            self.moved.append(([row[0] for row in rows], before, after, reason))


class Reader:
    """Gives the rows of a table as statements would: (key, status)."""

    def __init__(self, *rows: tuple[Any, str]) -> None:
        self.pages = pages(key=("a",))
        self.rows = list(rows)
        self.database = self

    @staticmethod
    def comparable(_column: object, value: Any) -> Any:
        """See Database."""
        return value

    def page(self, _statement: Statement, limit: int, s: str, k0: Any = "") -> Page:
        """See TableReader."""
        found = [row for row in self.rows if row[1] == s and row[0] > k0][:limit]
        return Page(found, suspicious=any("\udcff" in row[0] for row in found))

    @staticmethod
    def bound(place: tuple[Any, ...]) -> dict[str, Any]:
        """See TableReader."""
        return {f"k{index}": value for index, value in enumerate(place)}

    @staticmethod
    def key_of(row: Row) -> tuple[Any, ...]:
        """See TableReader."""
        return (row[0],)


def stream(*rows: tuple[Any, str]) -> tuple[StatusStream, Writer]:
    """Return a stream on rows, and what notes its marks."""
    writer = Writer()
    return StatusStream(cast("TableReader", Reader(*rows)), STATUS, cast("StatusWriter", writer)), writer


# -- settings ----------------------------------------------------------------------------------------------------------


def settings(**more: object) -> DatabaseFrom:
    """Return settings of a flow."""
    return DatabaseFrom.of(**{"connection": "c", "table": "t", "key": ("id",), "every": "5s", **more})


def test_the_usual_values_are_the_defaults() -> None:
    """0, 1, 2 and 3 are what most tables use."""
    made = settings(mode="status", status={"column": "zt"}).status
    assert made is not None
    assert (made.pending, made.sent, made.failed, made.stored, made.written) == ("0", "1", "2", "3", ("zt",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "status"},
        {"mode": "polling", "status": {"column": "zt"}},
        {"status": {"column": "zt", "sent": "0"}},
        {"status": {"column": "zt", "stored": "2"}},
        {"status": {"column": "zt", "message": "zt"}},
        {"status": {"column": "zt", "at": "x", "message": "x"}},
        {"status": {}},
    ],
)
def test_settings_that_do_not_fit_together(wrong: dict[str, object]) -> None:
    """Mode and block belong together; every status has a value of its own and every purpose its own column."""
    with pytest.raises(ValidationError):
        settings(**wrong)


# -- statements --------------------------------------------------------------------------------------------------------


def test_rows_with_a_status_are_read_by_key() -> None:
    """The status is bound, and the order is that of the key."""
    made = StatusPages(pages(key=("a",), where="v <> '9'").shape, "v")
    text = sql(made.with_status(resumed=True).sql)
    assert 'WHERE "v" = ? AND "a" > ? AND (v <> \'9\') ORDER BY "a"' in text


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_rows_are_locked_without_waiting(dialect: str) -> None:
    """Where the server can, locked rows are left out."""
    made = StatusPages(pages(dialect, key=("a",)).shape, "v")
    assert sql(made.locked(2, skips=True).sql).endswith("FOR UPDATE SKIP LOCKED")
    assert sql(made.locked(2, skips=False).sql).endswith("FOR UPDATE")


@pytest.mark.parametrize(
    "dialect, text",
    [
        (
            "postgresql",
            'UPDATE s.t SET "v"=%(c0)s, "c"=%(c1)s WHERE "a" IN (%(k0_0)s) AND "a" = %(k0_0)s AND "b" = %(k0_1)s AND "v" = %(s)s',
        ),
        ("mysql", "UPDATE s.t SET `v`=%s, `c`=%s WHERE `a` IN (%s) AND `a` = %s AND `b` = %s AND `v` = %s"),
        ("sqlite", 'UPDATE s.t SET "v"=?, "c"=? WHERE "a" IN (?) AND "a" = ? AND "b" = ? AND "v" = ?'),
    ],
)
def test_nothing_but_the_columns_of_the_handshake_is_written(dialect: str, text: str) -> None:
    """An update names its columns, the key, and the status that the row must still have."""
    made = StatusPages(pages(dialect).shape, "v").change(1, ("v", "c"))
    assert sql(made.sql).replace('"s"."t"', "s.t").replace("`s`.`t`", "s.t").replace("( ", "(") == text
    if made.names is not None:
        assert made.names == ("c0", "c1", "k0_0", "k0_0", "k0_1", "s")


# -- the stream --------------------------------------------------------------------------------------------------------


def test_only_what_a_position_covers_is_marked() -> None:
    """Pages are marked when a position behind them is durable, and only those."""
    made, writer = stream(("a", "0"), ("b", "0"), ("c", "0"), ("x", "1"))
    first = made.read(made.begin(), 2)
    second = made.read(first.mark, 2)
    assert (first.more, second.more) == (True, False)
    made.commit(first.mark)
    assert writer.moved == [(["a", "b"], "0", "1", None)]
    made.commit(second.mark)
    made.commit(second.mark)
    assert writer.moved[1:] == [(["c"], "0", "1", None)]


def test_a_position_covers_the_pages_before_it() -> None:
    """Where nothing was news on the way no position is stored, and the last one covers all."""
    made, writer = stream(("a", "0"), ("b", "0"), ("c", "0"))
    mark = made.begin()
    for _ in range(3):
        mark = made.read(mark, 1).mark
    made.commit(mark)
    assert [moved for moved, *_ in writer.moved] == [["a"], ["b"], ["c"]]


def test_a_position_of_another_process_covers_nothing() -> None:
    """After a restart nothing is marked that this process did not read."""
    made, writer = stream(("a", "0"))
    made.commit({"n": 41, "at": None})
    assert writer.moved == []
    assert made.read({"n": 41, "at": None}, 10).mark == {"n": 42, "at": None}


def test_reading_is_interrupted_before_memory_grows() -> None:
    """After some pages that nobody committed reading rests, says that there is more, and goes on behind them."""
    made, _ = stream(*((f"{number:02d}", "0") for number in range(20)))
    mark, pages_read = made.begin(), 0
    while True:
        changes = made.read(mark, 1)
        mark, pages_read = changes.mark, pages_read + 1
        if not changes.more:
            break
    assert pages_read == 8
    assert (made.look(), made.look()) == (True, False)
    made.commit(mark)
    assert [row[0] for row in made.read(mark, 1).rows] == ["08"]


def test_nothing_pending_changes_no_position() -> None:
    """An idle table writes nothing into the store of the agent."""
    made, _ = stream(("a", "1"))
    assert made.read({"n": 5, "at": None}, 10).mark == {"n": 5, "at": None}


def test_a_row_that_is_not_text_has_failed() -> None:
    """What the host quarantines as unreadable is marked at once, without a key to ask for."""
    made, writer = stream(("a\udcff", "0"), ("b", "0"))
    made.commit(made.read(made.begin(), 10).mark)
    assert [(keys, after) for keys, _, after, _ in writer.moved] == [(["b"], "1"), (["a\udcff"], "2")]


def test_rows_wait_in_turn() -> None:
    """After all rows that were sent come some that failed, and then the turn begins again."""
    made, _ = stream(("a", "1"), ("b", "1"), ("c", "2"), ("d", "1"))
    turns = []
    for _ in range(3):
        page, more = made.awaiting(2)
        turns.append(([row[0] for row in page.rows], more))
    assert turns == [(["a", "b"], True), (["d"], True), (["c"], False)]
    assert [row[0] for row in made.awaiting(2)[0].rows] == ["a", "b"]


def test_answers_are_written_by_what_they_say() -> None:
    """Equal answers are written together; what is open is left alone; rows that failed can only become stored."""
    made, writer = stream(("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "2"), ("f", "2"), ("g", "2"))
    failed = Answer(Fate.FAILED, "because of {it}", {"it": "this"})
    made.awaiting(10)
    made.answer([Answer(Fate.STORED), failed, None, Answer(Fate.STORED)])
    made.awaiting(10)
    made.answer([failed, Answer(Fate.STORED), Answer(Fate.AGAIN)])
    assert writer.moved == [
        (["a", "d"], "1", "3", None),
        (["b"], "1", "2", "because of this"),
        (["f"], "2", "3", None),
    ]


def test_what_is_to_go_again_is_pending() -> None:
    """A row that a restored store has forgotten is handed over again."""
    made, writer = stream(("a", "1"))
    made.awaiting(10)
    made.answer([Answer(Fate.AGAIN)])
    assert writer.moved == [(["a"], "1", "0", None)]


def test_a_reason_is_one_line_in_the_language_of_the_office() -> None:
    """Texts are those of the catalogue, filled in; line breaks become spaces."""
    closed = Answer(Fate.FAILED, "the store is closed", field="name")
    assert said(closed, "zh") != said(closed, "en") == "name: the store is closed"
    assert said(Answer(Fate.FAILED, "{said}", {"said": "one\ntwo"}), "en") == "one two"
