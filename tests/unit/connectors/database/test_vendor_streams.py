"""Streams of SQL Server and Oracle: the statements, and what is made of their answers. No server is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, cast

import pytest
from sqlalchemy import types
from sqlalchemy.dialects import mssql, oracle

from agent.errors import SourceGone, SourceRefused
from agent.model import Op
from connectors.database.dialects.base import Database, Session
from connectors.database.dialects.oracle import OracleDatabase
from connectors.database.dialects.sqlserver import SqlServerDatabase
from connectors.database.servers import OracleConnection, SqlServerConnection
from connectors.database.streams.change_tracking import ChangeTracking
from connectors.database.streams.flashback import Flashback
from connectors.database.streams.rowversion import RowVersion
from connectors.database.tables.pages import Shape, Statement
from connectors.database.tables.table import Column, Table, ValueKind


class Driver(ModuleType):
    """As much of a DB-API module as compiling statements needs."""

    Error = Exception
    version = __version__ = "26.1.0"

    def __init__(self, paramstyle: str) -> None:
        super().__init__("driver")
        self.paramstyle = paramstyle

    def __getattr__(self, name: str) -> str:
        if name.isupper() and not name.startswith("_"):
            return name
        raise AttributeError(name)


class SqlServer(SqlServerDatabase):
    """A database that allows snapshots or not, without a connection."""

    snapshots = True

    @contextlib.contextmanager
    def unmoving(self, _session: Session) -> Iterator[bool]:
        yield self.snapshots


class Scripted:
    """A session with an answer to every question, and pages of rows in their order."""

    def __init__(self, *pages: Sequence[tuple[Any, ...]] | Exception, **answers: object) -> None:
        self.pages = list(pages)
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def value(self, question: str, **_values: str) -> Any:
        for part, answer in self.answers.items():
            if part in question:
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise SourceRefused(why="no such thing")

    def page(self, statement: Statement, **values: Any) -> Sequence[Any]:
        statement.parameters(values)
        self.asked.append((" ".join(statement.sql.split()), values))
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page


def sqlserver() -> SqlServer:
    settings = SqlServerConnection(type="sqlserver", host="db", database="reg", user="reader")
    return SqlServer(settings, None, "huitong", "UTC", Driver("pyformat"))


def oracle_database() -> OracleDatabase:
    settings = OracleConnection(type="oracle", host="db", database="PDB", user="reader")
    return OracleDatabase(settings, None, "huitong", "UTC", Driver("named"))


def shape(database: Database, *, where: str | None = None, number: types.TypeEngine[Any] | None = None) -> Shape:
    id_ = Column("id", ValueKind.INTEGER, types.BigInteger(), False, "")
    name = Column("名称", ValueKind.TEXT, types.NVARCHAR(20), True, "")
    version = Column("rv", ValueKind.INTEGER, number or types.BigInteger(), False, "")
    columns = {column.name: column for column in (id_, name, version)}
    return Shape(
        table=Table("S", "T", columns, ("id",), (frozenset({"id"}),), (("id",),), ""),
        columns=tuple(columns.values()),
        key=(id_,),
        cursor=version,
        where=where,
        dialect=database.dialect,
        row_values=database.row_values,
        show=database.show,
        bind=database.bind,
        index={name: index for index, name in enumerate(columns)},
    )


def tracking(session: Scripted, database: SqlServer | None = None, *, where: str | None = None) -> ChangeTracking:
    made = database or sqlserver()
    return ChangeTracking(made, cast("Session", session), shape(made, where=where))


def flashback(session: Scripted, *, where: str | None = None) -> Flashback:
    made = oracle_database()
    return Flashback(made, cast("Session", session), shape(made, where=where))


def row_version(session: Scripted) -> RowVersion:
    made = sqlserver()
    return RowVersion(cast("Session", session), shape(made, number=mssql.ROWVERSION()))


VERSIONS = {"CURRENT_VERSION": 50, "MIN_VALID": 10}


def test_change_tracking_joins_what_changed_with_what_is_there() -> None:
    """Entries by version and key, each column under a name of its own, rows that fail the condition left out."""
    session = Scripted([], **VERSIONS)
    tracking(session, where="zt <> 9").read({"version": 40, "at": None}, 100)
    statement, values = session.asked[0]
    assert statement == (
        "SELECT TOP (%(limit)s) e.v, e.op, r.c0, r.c1, r.c2, e.s0 FROM"
        " (SELECT SYS_CHANGE_VERSION AS v, SYS_CHANGE_OPERATION AS op, [id] AS e0, [id] AS s0"
        " FROM CHANGETABLE(CHANGES [S].[T], %(since)s) AS ct) AS e LEFT OUTER JOIN"
        " (SELECT [id] AS c0, [名称] AS c1, [rv] AS c2, [id] AS k0 FROM [S].[T] WHERE (zt <> 9)) AS r ON r.k0 = e.e0"
        " WHERE e.op = 'D' OR r.k0 IS NOT NULL ORDER BY e.v, e.e0"
    )
    assert values == {"since": 40, "limit": 100}


def test_change_tracking_tells_deletes_by_their_key() -> None:
    """A row and a delete, where transactions end, and a token for each that another change never has."""
    session = Scripted([(41, "U", 7, "甲", 1, 7), (41, "I", 8, "乙", 1, 8), (43, "D", None, None, None, 9)], **VERSIONS)
    changes = tracking(session).read({"version": 40, "at": None}, 100)
    assert changes.rows == [(7, "甲", 1), (8, "乙", 1), (9, None, None)]
    assert changes.ops == [Op.UPSERT, Op.UPSERT, Op.DELETE]
    assert changes.ends == [1, 2]
    assert changes.tokens is not None
    assert len(set(changes.tokens)) == 3
    assert changes.mark == {"version": 50, "at": None}
    assert not changes.more


def test_change_tracking_reads_on_within_a_version() -> None:
    """A transaction larger than a page is continued behind the last key; what came before it is not read again."""
    session = Scripted([(41, "U", 7, "甲", 1, 7)], [], **VERSIONS)
    stream = tracking(session)
    first = stream.read({"version": 40, "at": None}, 1)
    assert first.more
    assert first.ends == []
    assert first.mark == {"version": 41, "at": [7]}
    stream.read(first.mark, 1)
    statement, values = session.asked[1]
    assert "AND (e.v > %(version)s OR e.v = %(version)s AND e.e0 > %(k0)s)" in statement
    assert values == {"since": 40, "version": 41, "k0": 7, "limit": 1}


def test_change_tracking_notices_what_the_server_has_forgotten() -> None:
    """A mark before the retention is gone, never a silent jump."""
    with pytest.raises(SourceGone):
        tracking(Scripted([], **VERSIONS)).read({"version": 9, "at": None}, 100)
    assert tracking(Scripted([], **VERSIONS)).read({"version": 10, "at": None}, 100).rows == []


def test_change_tracking_wants_everything_in_place() -> None:
    """Switched on, with snapshots, and the key of the flow is the primary key."""
    assert tracking(Scripted(**VERSIONS)).begin() == {"version": 50, "at": None}
    with pytest.raises(SourceRefused, match="change tracking is off"):
        tracking(Scripted(CURRENT_VERSION=50, MIN_VALID=None)).begin()
    without = sqlserver()
    without.snapshots = False
    with pytest.raises(SourceRefused, match="snapshot isolation"):
        tracking(Scripted(**VERSIONS), without).begin()


@pytest.mark.parametrize(
    "mark, head, covered",
    [((50, None), 50, True), ((49, None), 50, False), ((50, [7]), 50, False), ((51, [7]), 50, True)],
)
def test_change_tracking_knows_what_it_has_read(mark: tuple[int, Any], head: int, covered: bool) -> None:
    """Part of a version is not all of it."""
    stream = tracking(Scripted())
    assert stream.covers({"version": mark[0], "at": mark[1]}, {"version": head, "at": None}) is covered


def test_a_rowversion_is_read_below_the_oldest_open_transaction() -> None:
    """Above the last, below the least that may still be uncommitted, compared as eight octets."""
    session = Scripted([(7, "甲", 21), (8, "乙", 25)], MIN_ACTIVE=31)
    stream = row_version(session)
    assert stream.begin() == 30
    changes = stream.read(20, 100)
    statement, values = session.asked[0]
    assert statement == (
        "SELECT TOP (%(limit)s) [id], [名称], CAST([rv] AS BIGINT) AS [rv] FROM [S].[T]"
        " WHERE [rv] > CAST(CAST(%(after)s AS BIGINT) AS BINARY(8)) AND [rv] < CAST(CAST(%(until)s AS BIGINT) AS BINARY(8))"
        " ORDER BY [rv]"
    )
    assert values == {"after": 20, "until": 31, "limit": 100}
    assert changes.mark == 30
    assert changes.tokens == ["21", "25"]


def test_a_full_page_of_rowversions_ends_at_its_last() -> None:
    """What lies behind it is read next; and a mark never goes back."""
    stream = row_version(Scripted([(7, "甲", 21)], [], MIN_ACTIVE=31))
    changes = stream.read(20, 1)
    assert (changes.mark, changes.more) == (21, True)
    assert stream.read(40, 1).mark == 40


def test_flashback_asks_for_committed_versions() -> None:
    """From the number after the mark up to now, in the order of commits, deletes before insertions of the same key."""
    session = Scripted([], flashback=900)
    flashback(session, where="zt <> 9").read({"scn": 800, "at": None}, 100)
    statement, values = session.asked[0]
    rank = "decode(versions_operation, 'D', 0, 'I', 1, 'U', 2)"
    assert statement == (
        'SELECT * FROM (SELECT versions_startscn AS ht_scn, versions_operation AS ht_op, "id" AS ht_c0, "名称" AS ht_c1,'
        ' "rv" AS ht_c2, "id" AS ht_k0 FROM "S"."T" VERSIONS BETWEEN SCN :since AND :now'
        " WHERE versions_startscn >= :since AND (versions_operation = 'D' OR (zt <> 9))"
        f' ORDER BY versions_startscn, "id", {rank}) WHERE ROWNUM <= :limit'
    )
    assert values == {"since": 801, "now": 900, "limit": 100}


def test_flashback_reads_on_within_a_commit() -> None:
    """Behind the last key and what was done to it."""
    session = Scripted([("801", "D", 7, "甲", 1, 7)], [("801", "I", 7, "乙", 2, 7)], flashback=900)
    stream = flashback(session)
    first = stream.read({"scn": 800, "at": None}, 1)
    assert first.rows == [(7, None, None)]
    assert first.mark == {"scn": 801, "at": [7, 0]}
    second = stream.read(first.mark, 5)
    statement, values = session.asked[1]
    assert 'versions_startscn = :scn AND ("id" > :k0 OR "id" = :k0 AND decode(' in statement
    assert values == {"since": 801, "now": 900, "scn": 801, "k0": 7, "rank": 0, "limit": 5}
    assert (second.ops, second.mark, second.ends) == ([Op.UPSERT], {"scn": 900, "at": None}, [0])
    assert first.tokens != second.tokens


@pytest.mark.parametrize("number", ["ORA-01555", "ORA-30052", "ORA-08180"])
def test_flashback_notices_what_the_server_has_forgotten(number: str) -> None:
    """Undo that is no longer there is a gap, never a silent jump."""
    session = Scripted(SourceRefused(why="snapshot too old", number=number), flashback=900)
    with pytest.raises(SourceGone):
        flashback(session).read({"scn": 800, "at": None}, 100)


def test_flashback_says_which_grant_is_lacking() -> None:
    """For the versions of the table, and for the number of the system."""
    session = Scripted(SourceRefused(why="insufficient privileges", number="ORA-01031"), flashback=900)
    with pytest.raises(SourceRefused) as caught:
        flashback(session).read({"scn": 800, "at": None}, 100)
    assert 'GRANT FLASHBACK ON "S"."T"' in caught.value.localised()[1]
    with pytest.raises(SourceRefused, match="system change number"):
        flashback(Scripted()).begin()


def test_flashback_begins_now() -> None:
    """With the number from the view where the package may not be used; nothing is asked when nothing can have changed."""
    assert flashback(Scripted([], current_scn="900")).begin() == {"scn": 900, "at": None}
    stream = flashback(Scripted(flashback=900))
    assert stream.read({"scn": 900, "at": None}, 5).rows == ()
    assert stream.covers({"scn": 900, "at": None}, stream.head())
    assert not stream.covers({"scn": 900, "at": [7, 0]}, stream.head())


@pytest.mark.parametrize("make", [tracking, flashback])
def test_names_with_a_colon_are_names(make: Callable[..., Any]) -> None:
    """A colon in the name of a table begins no parameter."""
    database: Any = sqlserver() if make is tracking else oracle_database()
    known = shape(database)
    table = Table("S", "a:b", known.table.columns, ("id",), known.table.unique, known.table.indexed, "")
    odd = Shape(**{**vars(known), "table": table})
    session = Scripted([], flashback=900, **VERSIONS)
    kind = ChangeTracking if make is tracking else Flashback
    mark = {"version": 40, "at": None, "scn": 800}
    kind(database, cast("Session", session), odd).read(mark, 5)
    assert "a:b" in session.asked[0][0]


def test_oracle_types_of_numbers_that_come_as_text() -> None:
    """A key that Oracle holds as NUMBER without precision is compared as a number."""
    made = oracle_database()
    number = Column("id", made.kind_of(oracle.NUMBER()), oracle.NUMBER(), False, "")
    assert "to_number" in str(made.bind(number, "k0"))
