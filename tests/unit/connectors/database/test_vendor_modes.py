"""Which modes are there for the databases of other vendors, what is in their way, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.dialects import mssql

from agent.errors import SourceRefused
from agent.testing.clock import FakeClock
from connectors.database.settings import DatabaseFrom
from connectors.database.streams import change_tracking, flashback, rowversion
from connectors.database.streams.about import About
from connectors.database.streams.choose import EXACT, LIMITS, choose, find_way
from connectors.database.tables.pages import Pages
from tests.unit.connectors.database.test_vendor_streams import VERSIONS, Scripted, oracle_database, shape, sqlserver

LONG = str(86_400)


def about(database: Any, session: Scripted, *, mode: str = "auto", cursor: str | None = "rv", rowversions: bool = False) -> About:
    """Return a table of a vendor's database, with a cursor that is a rowversion or not."""
    known = shape(database, number=mssql.ROWVERSION() if rowversions else None)
    if cursor is None:
        known = replace(known, cursor=None)
    reader = SimpleNamespace(database=database, session=session, pages=Pages(known))
    settings = DatabaseFrom.of(connection="c", table="S.T", key=("id",), cursor=cursor, every="5s", mode=mode)
    return About("f", settings, cast("Any", reader), FakeClock())


def chosen(of: About, before: str | None = None) -> Any:
    return choose(of.flow, of.settings, of.reader, of.clock, before)


def named(name: str) -> Any:
    """Return a database by its name alone."""
    database = sqlserver()
    database.__dict__["name"] = name
    return database


def test_change_tracking_is_taken_where_everything_is_in_place() -> None:
    """On, with snapshots, by the primary key: the best there is for SQL Server."""
    found = chosen(about(sqlserver(), Scripted(**VERSIONS)))
    assert found.mode == "change-tracking"
    assert isinstance(found.stream, change_tracking.ChangeTracking)
    assert found.passed == (("trigger", "no change log was written for this database"),)


def test_the_dba_is_told_what_to_switch_on() -> None:
    """For the table, and for the account that reads; what is on for the whole database stays when the flow ends."""
    switches = change_tracking.log_of(about(sqlserver(), Scripted()), "re]ader")
    assert list(switches.create())[2:] == [
        "ALTER TABLE [S].[T] ENABLE CHANGE_TRACKING",
        "GRANT SELECT ON [S].[T] TO [re]]ader]",
        "GRANT VIEW CHANGE TRACKING ON [S].[T] TO [re]]ader]",
    ]
    assert "CHANGE_RETENTION = 7 DAYS" in switches.create()[1]
    assert switches.drop() == ["ALTER TABLE [S].[T] DISABLE CHANGE_TRACKING"]


def test_without_change_tracking_a_rowversion_is_taken() -> None:
    """And why change tracking is not possible is told."""
    found = chosen(about(sqlserver(), Scripted(CURRENT_VERSION=None, MIN_VALID=None), rowversions=True))
    assert found.mode == "rowversion"
    assert "change tracking is off" in dict(found.passed)["change-tracking"]


@pytest.mark.parametrize("cursor, said", [("rv", "not a rowversion column"), (None, "no cursor is set")])
def test_a_rowversion_wants_a_column_of_that_type(cursor: str | None, said: str) -> None:
    """Any other number is polled, with its margin, or compared."""
    of = about(sqlserver(), Scripted(), cursor=cursor)
    found = chosen(of)
    assert found.mode == ("polling" if cursor else "compare")
    assert said in dict(found.passed)["rowversion"]
    with pytest.raises(SourceRefused, match=said):
        rowversion.stream_of(of)


def test_a_rowversion_that_was_passed_was_missed() -> None:
    """What a comparison finds with a version that was read is late; what is still to be read is not."""
    stream = rowversion.stream_of(about(sqlserver(), Scripted(), rowversions=True))
    settled = cast("rowversion.RowVersion", stream).settled(30, [(1, "甲", 30), (2, "乙", 31), (3, "丙", None)])
    assert settled == [True, False, False]


def test_auto_takes_flashback_only_where_undo_reaches_back() -> None:
    """Otherwise every longer interruption would lose the place; who names the mode answers for that."""
    assert chosen(about(oracle_database(), Scripted([], flashback=900, undo_retention=LONG))).mode == "flashback"
    for answers in ({"undo_retention": "900"}, {"undo_retention": SourceRefused(why="ORA-00942")}):
        found = chosen(about(oracle_database(), Scripted([], flashback=900, **answers)))
        assert found.mode == "polling"
        assert "undo_retention" in dict(found.passed)["flashback"]
    asked = chosen(about(oracle_database(), Scripted([], flashback=900), mode="flashback"))
    assert isinstance(asked.stream, flashback.Flashback)


def test_what_keeps_flashback_from_reading_is_told() -> None:
    """A right that is lacking, or versions that are gone already."""
    for number, said in (("ORA-01031", "earlier versions"), ("ORA-01466", "no longer holds")):
        session = Scripted(SourceRefused(why="no", number=number), flashback=900, undo_retention=LONG)
        assert said in flashback.obstacle(about(oracle_database(), session))


@pytest.mark.parametrize(
    "database, mode, said",
    [
        ("kingbase", "trigger", "only PostgreSQL and its driver"),
        ("opengauss", "trigger", "only PostgreSQL and its driver"),
        ("opengauss", "slot", "vendor's own way"),
        ("oceanbase", "binlog", "OceanBase writes no such log"),
        ("oceanbase", "trigger", "never tried on OceanBase"),
        ("dameng", "trigger", "no change log"),
        ("kingbase", "watermark", "never tried"),
        ("oceanbase", "slot", "does not exist"),
    ],
)
def test_a_mode_that_a_database_does_not_have_says_why(database: str, mode: str, said: str) -> None:
    """Asked for, it is refused with the reason; polling and comparing are always there."""
    of = about(named(database), Scripted(), mode=mode)
    with pytest.raises(SourceRefused, match=said):
        find_way(mode, of)
    assert find_way("polling", of)
    assert find_way("compare", of)


@pytest.mark.parametrize("database", ["kingbase", "opengauss", "oceanbase", "dameng"])
def test_relatives_are_polled_or_compared(database: str) -> None:
    """Auto takes nothing that was made for the database they descend from."""
    assert chosen(about(named(database), Scripted())).mode == "polling"
    assert chosen(about(named(database), Scripted(), cursor=None)).mode == "compare"


def test_exact_modes_are_kept() -> None:
    """A flow that was captured by change tracking or flashback does not fall back by itself."""
    assert {"change-tracking", "flashback"} <= set(EXACT)
    of = about(sqlserver(), Scripted(CURRENT_VERSION=None, MIN_VALID=None), rowversions=True)
    assert chosen(of, before="change-tracking").mode == "change-tracking"


@pytest.mark.parametrize("mode", ["change-tracking", "flashback", "rowversion"])
def test_modes_that_never_ran_say_so(mode: str) -> None:
    """Doctor prints it for every flow in such a mode."""
    assert "never run against a server" in LIMITS[mode]
