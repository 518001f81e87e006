"""Opening a store: one process, one owner, one schema, safe files."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from agent.adapters.clock import SystemClock
from agent.adapters.store import SqliteStore, engine, reads, schema
from agent.adapters.store.lock import InstanceLock
from agent.adapters.store.reader import StoreReader
from agent.adapters.store.tables import metadata
from agent.errors import Busy, Denied, NotFound, SettingsError, StoreError
from agent.events import Events

ROOT = Path(__file__).resolve().parents[3]
REAL_OPEN_WRITER = engine.open_writer
pytestmark = pytest.mark.integration


def open_store(path: Path, agent_id: str = "510100-test-01") -> SqliteStore:
    return SqliteStore.open(path, agent_id=agent_id, clock=SystemClock(), events=Events(), low_water_bytes=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be."""
    return tmp_path / "state" / "store.db"


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return every object of a database with its definition, white space and quotes evened out."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    return {name: " ".join(sql.replace('"', "").replace(",", " ").split()) for name, sql in rows}


# -- one process -----------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_by_name(path: Path) -> None:
    """While one process has the store, another is told which one; when it ends, however it ends, the store is free."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from agent.adapters.store.lock import InstanceLock\n"
        "lock = InstanceLock(Path(sys.argv[1])).acquire()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    path.parent.mkdir()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, str(path.parent)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy) as caught:
            open_store(path)
        assert str(other.pid) in str(caught.value)
        other.kill()
    open_store(path).close()


def test_a_second_store_in_the_same_process_is_refused(path: Path) -> None:
    """The lock holds within a process too, and closing gives it back."""
    with closing(open_store(path)), pytest.raises(Busy):
        open_store(path)
    open_store(path).close()


def test_a_store_that_does_not_open_leaves_no_lock(path: Path) -> None:
    """A failed start gives the lock back."""
    open_store(path, "510100-a-01").close()
    with pytest.raises(SettingsError):
        open_store(path, "510100-b-01")
    with InstanceLock(path.parent):
        pass
    open_store(path, "510100-a-01").close()


# -- one owner -------------------------------------------------------------------------------------------------------


def test_a_store_belongs_to_one_agent(path: Path) -> None:
    """A store of another agent id is refused, naming both, and is not touched."""
    with closing(open_store(path, "510100-a-01")) as store:
        epoch = store.epoch
    with pytest.raises(SettingsError) as caught:
        open_store(path, "510100-b-01")
    assert "510100-a-01" in str(caught.value)
    assert "510100-b-01" in str(caught.value)
    with closing(open_store(path, "510100-a-01")) as store:
        assert store.epoch == epoch


def test_epoch_is_for_ever_and_instance_for_a_start(path: Path) -> None:
    """The epoch is minted with the store and stays; every start has an instance of its own."""
    seen = []
    for _ in range(2):
        with closing(open_store(path)) as store:
            seen.append((store.epoch, store.instance))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]
    assert [len(each) for each in seen[0]] == [32, 32]


# -- safe files ------------------------------------------------------------------------------------------------------


def test_files_can_be_read_by_the_owner_only(path: Path) -> None:
    """The folder, the database, its log and the lock are closed to other users."""
    with closing(open_store(path)) as store:
        store.open_flow("qszt")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(files) == {"store.db", "store.db-wal", "store.db-shm", "huitong.lock"}
    assert set(files.values()) == {0o600}


def test_settings_that_keep_the_promise_are_verified(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writing connection is in WAL mode, syncs every commit and checks foreign keys; a setting that does not hold is an error."""
    open_store(path).close()
    with closing(engine.open_writer(path)) as db:
        found = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
        assert not db.in_transaction
    monkeypatch.setattr(engine, "WAL_PAGES", 1 << 40)
    with pytest.raises(StoreError, match="wal_autocheckpoint"):
        engine.open_writer(path)


def test_a_reader_cannot_write(path: Path) -> None:
    """Nothing can be changed through a reading connection."""
    open_store(path).close()
    with closing(engine.open_reader(path)) as db, pytest.raises(engine.driver().OperationalError):
        db.execute("INSERT INTO meta (name, value) VALUES ('a', 'b')")


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    """A reader of a store that does not exist says so and makes none."""
    with pytest.raises(NotFound):
        StoreReader(tmp_path / "store.db")
    assert list(tmp_path.iterdir()) == []


def test_readers_are_lent_and_taken_back(path: Path) -> None:
    """Reading connections are used again, a broken one is not, and after close none is lent."""
    open_store(path).close()
    readers = reads.Readers(path)
    with readers.lend() as first:
        pass
    with readers.lend() as second, readers.lend() as third:
        assert second is first
        assert third is not first
    with pytest.raises(StoreError), readers.lend() as broken:
        broken.execute("SELECT * FROM no_such_table")
    with readers.lend() as fourth:
        assert fourth is not broken
        readers.close()
    with pytest.raises(engine.driver().ProgrammingError):
        fourth.execute("SELECT 1")
    with pytest.raises(StoreError), readers.lend():
        pass


def test_a_folder_that_cannot_be_written_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission for the state folder is Denied, with its name."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(Denied):
        open_store(tmp_path / "state" / "store.db")


def test_a_damaged_file_is_an_error_with_its_name(path: Path) -> None:
    """A file that is not a database is an error that names it; it is left as it is."""
    path.parent.mkdir()
    path.write_bytes(b"this is no database, only text of some length " * 100)
    with pytest.raises(StoreError, match=r"store\.db"):
        open_store(path)
    assert path.read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize("table", ["sqlite_master", "meta", "flow"])
def test_a_damaged_page_is_an_error_with_its_name(path: Path, table: str) -> None:
    """A store with garbage in its pages does not start, or stops as soon as it meets it; either way with our error."""
    open_store(path).close()
    with closing(engine.open_reader(path)) as db:
        pages = dict(db.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    where = (pages[table] - 1) * engine.PAGE_BYTES if table in pages else 100
    octets = bytearray(path.read_bytes())
    octets[where : where + 2000] = b"\xa5" * 2000
    path.write_bytes(octets)

    def use() -> None:
        with closing(open_store(path)) as store:
            store.open_flow("qszt")

    with pytest.raises(StoreError, match=r"store\.db"):
        use()


def test_a_damaged_body_is_not_sent(path: Path) -> None:
    """A body whose octets changed on the disk is noticed when it is read, and found by `check` where SQLite can tell."""
    from tests.contract.store.makers import step_of

    with closing(open_store(path)) as store:
        store.append(step_of(store.open_flow("qszt"), 1)).result()
    with closing(engine.open_writer(path)) as db:
        db.execute("UPDATE content SET body = CAST(replace(CAST(body AS TEXT), 'qszt', 'qszu') AS BLOB)")
    with closing(open_store(path)) as store, pytest.raises(StoreError, match="damaged"):
        store.pending("qszt", 0, 10)


# -- one schema ------------------------------------------------------------------------------------------------------


@pytest.fixture
def described(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database made from the tables in the code, without migrations."""
    database = create_engine(f"sqlite:///{tmp_path / 'described.db'}", module=engine.driver())
    with database.begin() as connection:
        metadata.create_all(connection)
    database.dispose()
    with closing(engine.open_reader(tmp_path / "described.db")) as db:
        yield db


def test_migrations_lead_to_the_tables_in_the_code(tmp_path: Path, described: sqlite3.Connection) -> None:
    """A migrated store has the very tables, indexes and triggers that the code describes, in the eyes of SQLite and Alembic."""
    path = tmp_path / "migrated.db"
    schema.migrate(path)
    with closing(engine.open_reader(path)) as migrated:
        assert schema_of(migrated) == schema_of(described)
    database = create_engine("sqlite://", module=engine.driver(), creator=lambda: engine.open_reader(path))
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.dispose()


def test_a_new_store_is_what_migrations_lead_to(path: Path, tmp_path: Path) -> None:
    """The snapshot that new stores are made from holds what all migrations together make, and is up to date."""
    schema.migrate(tmp_path / "migrated.db")
    open_store(path).close()
    with closing(engine.open_reader(tmp_path / "migrated.db")) as migrated, closing(engine.open_reader(path)) as new:
        assert schema_of(new) == schema_of(migrated)
        assert schema.version_of(new, path) == schema.version_of(migrated, path)
        assert schema.SNAPSHOT.read_text("utf-8") == schema.snapshot_of(migrated)


def test_the_newest_migration_is_the_schema_the_code_knows(path: Path) -> None:
    """The numbers of the migration files lead up to SCHEMA without a hole."""
    folder = Path(schema.__file__).with_name("migrations") / "versions"
    numbers = sorted(int(file.name[1:5]) for file in folder.glob("v*.py"))
    assert numbers == list(range(1, schema.SCHEMA + 1))
    open_store(path).close()
    with closing(engine.open_reader(path)) as db:
        assert schema.version_of(db, path) == (schema.SCHEMA, 1)


def test_a_store_of_today_is_opened_without_migrating(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is up to date is opened without the migration library."""
    open_store(path).close()

    def surprise(_: Path) -> None:
        raise AssertionError("a store of today was migrated")

    monkeypatch.setattr(schema, "migrate", surprise)
    open_store(path).close()


def test_an_older_program_works_on_a_newer_schema(path: Path) -> None:
    """A schema that is newer, but only added, is used as it is: binaries can be swapped back."""
    open_store(path).close()
    with closing(engine.open_writer(path)) as db:
        db.execute("ALTER TABLE flow ADD COLUMN new_thing INTEGER NOT NULL DEFAULT 7")
        db.execute("CREATE TABLE new_table (a INTEGER) STRICT")
        db.execute("UPDATE alembic_version SET version_num = ?", (f"{schema.SCHEMA + 1:04}",))
    with closing(open_store(path)) as store:
        assert store.open_flow("qszt").flow == "qszt"
        store.pause("qszt", "x")
    with closing(engine.open_reader(path)) as db:
        assert schema.version_of(db, path)[0] == schema.SCHEMA + 1


def test_a_schema_from_the_future_is_refused(path: Path) -> None:
    """A schema whose floor is above what this program knows is refused with both numbers, and left alone."""
    open_store(path).close()
    with closing(engine.open_writer(path)) as db:
        db.execute("UPDATE alembic_version SET version_num = '0009'")
        db.execute("UPDATE meta SET value = '8' WHERE name = 'schema_floor'")
    with pytest.raises(StoreError, match=r"schema 9.*knows 1"):
        open_store(path)


def test_a_strange_database_is_not_touched(path: Path) -> None:
    """A database that is no store of ours is refused and nothing is added to it."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(StoreError, match="not a Huitong store"):
        open_store(path)
    with closing(sqlite3.connect(path)) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["people"]


def deny_the_table_gap(path: Path) -> sqlite3.Connection:
    """Return a writing connection that cannot create one of the later tables."""
    db = REAL_OPEN_WRITER(path)
    create_table, deny = 2, 1
    db.set_authorizer(lambda action, name, *_: deny if (action, name) == (create_table, "gap") else 0)
    return db


@pytest.mark.parametrize("way", [schema.create, schema.migrate])
def test_a_schema_is_made_whole_or_not_at_all(way: Callable[[Path], None], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making or migrating a schema that breaks half way fails with our error, leaves nothing, and the next start completes it."""
    path.parent.mkdir()
    monkeypatch.setattr(engine, "open_writer", deny_the_table_gap)
    with pytest.raises(Denied):
        way(path)
    monkeypatch.undo()
    with closing(engine.open_reader(path)) as db:
        assert schema_of(db) == {}
    open_store(path).close()


def test_an_older_store_is_migrated_when_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with an older schema is migrated at the start, not made anew."""
    open_store(path).close()
    migrated: list[Path] = []
    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    monkeypatch.setattr(schema, "migrate", migrated.append)
    open_store(path).close()
    assert migrated == [path]


# -- from another process ---------------------------------------------------------------------------------------------


def test_another_process_reads_while_the_agent_runs_and_after(path: Path) -> None:
    """`StoreReader` answers in another process while the store is open for writing, and after it was closed."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from agent.adapters.store.reader import StoreReader\n"
        "reader = StoreReader(Path(sys.argv[1]))\n"
        "print(reader.identity()[0], len(reader.flows()))\n"
        "reader.close()\n"
    )

    def ask() -> str:
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout

    with closing(open_store(path)) as store:
        store.open_flow("a")
        assert ask() == "510100-test-01 1\n"
        store.open_flow("b")
        assert ask() == "510100-test-01 2\n"
    assert ask() == "510100-test-01 2\n"
    open_store(path).close()
