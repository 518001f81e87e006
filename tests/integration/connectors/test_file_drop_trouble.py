"""A folder of CSV files when something is wrong: bad rows, odd files, no rights, crashes; on a real file system."""

from __future__ import annotations

import csv
import os
import pwd
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import failpoints
from agent.errors import SourceRefused, SourceUnavailable
from agent.events import FileArchived, FileRefused
from tests.integration.connectors.folder_kit import Bench

# -- rows and files that are not right ---------------------------------------------------------------------------------


def rejects(bench: Bench, name: str = "a.csv.rejected.csv") -> list[list[str]]:
    with (bench.folder / "rejected" / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_rows_that_fail_go_to_a_file_with_reasons(bench: Bench) -> None:
    """Rows that cannot be read or translated are written down with number, reason and content; the rest flow on."""
    bench.drop("a.csv", "1,x", "2,bad", "only one field too,many,here", "4,y")
    bench.drain()
    assert bench.ids() == ["1", "4"]
    header, *rows = rejects(bench)
    assert header[:2] == ["id", "name"]
    assert [row[2:4] for row in rows] == [["3", "required"], ["4", "field_count"]]
    assert rows[0][:2] == ["2", "bad"]
    assert rows[1][5] == "only one field too,many,here"
    (event,) = bench.recorder.of(FileArchived)
    assert (event.rows, event.rejected) == (3, 2)


def test_a_corrected_rejects_file_can_be_dropped_again(bench: Bench) -> None:
    """Our own columns behind the original ones are not taken for data."""
    bench.drop("a.csv", "1,x", "2,bad")
    bench.drain()
    text = (bench.folder / "rejected" / "a.csv.rejected.csv").read_bytes().replace(b"2,bad", b"2,good")
    bench.drop_bytes("a.corrected.csv", text)
    batch = bench.step()
    assert batch.columns == ("id", "name")
    assert list(batch.rows) == [("2", "good")]


def test_the_rejects_file_is_whole_after_a_crash(bench: Bench) -> None:
    """It is made of what is durable: killed in mid-file and before the archive, it has every rejected row, once."""
    bench.drop("a.csv", *(f"{n},{'bad' if n % 3 == 0 else 'x'}" for n in range(20)))
    for _ in range(2):
        bench.step(limit=6)
        bench.restart()
    while bench.read(limit=6).more:  # durable, but never committed
        pass
    bench.restart()
    assert [row[0] for row in rejects(bench)[1:]] == [str(n) for n in range(0, 20, 3)]
    assert bench.names("rejected") == {"a.csv.rejected.csv"}
    assert bench.names("archive") == {"a.csv"}


@pytest.mark.parametrize(
    "octets, reason",
    [
        (b"", "empty_file"),
        (b"\xff\xfei\x00d\x00", "utf_16"),
        (b"id;name\r\n1;x\r\n", "missing_column"),
        (b"id\r\n1\r\n", "missing_column"),
        (b"id,name,id\r\n1,x,2\r\n", "duplicate_column"),
        (b"PK\x03\x04\x00\x00\x00\x00", "nul_character"),
    ],
)
def test_a_bad_file_is_put_aside_whole_and_others_flow_on(bench: Bench, octets: bytes, reason: str) -> None:
    """A file without a usable header goes to the rejects with a reason beside it, and is one item in the quarantine."""
    bench.drop_bytes("a.csv", octets)
    bench.drop("b.csv", "1,x")
    bench.drain()
    assert bench.ids() == ["1"]
    assert [(item.token, item.reason) for item in bench.items.values()] == [("1:0", reason)]
    assert bench.names("rejected") == {"a.csv", "a.csv.reason.txt"}
    assert bench.names("archive") == {"b.csv"}
    assert bench.recorder.of(FileRefused)[0].reason == reason
    assert (bench.folder / "rejected" / "a.csv.reason.txt").read_text("utf-8-sig").strip()


def test_a_file_that_was_refused_can_be_dropped_again(bench: Bench) -> None:
    """The settings may have been wrong: a refused file is looked at again when it comes again."""
    bench.drop("a.csv", "1;x", header="id;name")
    bench.drain()
    bench.restart(delimiter=";")
    bench.drop("a.csv", "1;x", header="id;name")
    bench.drain()
    assert bench.ids() == ["1"]


@pytest.mark.parametrize("name", ["a\u202e.csv", "a\x07.csv", "a\n.csv", "\udcff.csv", "a\u200b.csv"])
def test_odd_names_are_told_and_left_alone(bench: Bench, name: str) -> None:
    """Names with control, bidi or invalid characters are not opened; they are told once, escaped."""
    (bench.folder / name).write_text("id,name\n1,x\n")
    bench.drop("b.csv", "2,y")
    for _ in range(3):
        bench.drain()
    assert bench.ids() == ["2"]
    (event,) = bench.recorder.of(FileRefused)
    assert event.reason == "odd_name"
    assert event.name.isprintable()


def test_what_is_no_plain_file_is_never_opened(bench: Bench, tmp_path: Path) -> None:
    """Links, pipes and sockets are told and left alone; a pipe does not block the reader."""
    secret = tmp_path / "secret.csv"
    secret.write_text("id,name\n1,secret\n")
    (bench.folder / "link.csv").symlink_to(secret)
    os.mkfifo(bench.folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.folder / "s.csv"))
        bench.drop("z.csv", "2,y")
        bench.drain()
    assert bench.ids() == ["2"]
    assert {event.name for event in bench.recorder.of(FileRefused)} == {"link.csv", "pipe.csv", "s.csv"}


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder, and no more rights than an ordinary user has."""
    folder = Path(tempfile.mkdtemp(prefix="huitong-test-", dir="/tmp"))
    user = os.geteuid()
    if user == 0:
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, nobody, -1)
        os.seteuid(nobody)
    yield folder
    os.seteuid(user)
    shutil.rmtree(folder)


def test_a_file_we_may_not_read_does_not_stop_the_others(ordinary: Path) -> None:
    """A file without permission is told once and tried again with every scan."""
    bench = Bench(ordinary)
    bench.open()
    path = bench.drop("a.csv", "1,x")
    path.chmod(0)
    bench.drop("b.csv", "2,y")
    bench.drain()
    bench.drain()
    assert bench.ids() == ["2"]
    assert [event.reason for event in bench.recorder.of(FileRefused)] == ["no_permission"]
    path.chmod(stat.S_IRUSR)
    bench.drain()
    assert bench.ids() == ["2", "1"]
    bench.source.close()


def test_an_archive_we_may_not_write_to_pauses_the_flow(ordinary: Path) -> None:
    """Without the right to put files away the source refuses, with what to do; nothing is lost."""
    bench = Bench(ordinary)
    bench.open()
    bench.drop("a.csv", "1,x")
    (bench.folder / "archive").chmod(0o555)
    with pytest.raises(SourceRefused) as caught:
        bench.drain()
    assert "right to write" in caught.value.hint
    (bench.folder / "archive").chmod(0o755)
    bench.restart()
    bench.drain()
    assert bench.ids() == ["1"]
    assert bench.names("archive") == {"a.csv"}
    bench.source.close()


def test_long_names_fit_wherever_they_go(bench: Bench) -> None:
    """A name as long as a file system allows is archived, rejected and numbered without exceeding it."""
    name = "名" * 83 + ".csv"
    assert len(name.encode()) == 253
    bench.drop("a.csv", "1,bad").rename(bench.folder / name)
    bench.drain()
    bench.drop("a.csv", "2,bad").rename(bench.folder / name)
    bench.drain()
    assert len(bench.names("archive")) == len(bench.names("rejected")) == 2
    assert bench.names() == set()


# -- crashes -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("point", ["C06", "C07"])
@pytest.mark.parametrize("ready", ["rename", "ok-file"])
def test_a_crash_while_archiving_loses_and_doubles_nothing(tmp_path: Path, point: str, ready: str) -> None:
    """Killed before or after the rename, every file is read once and archived in the end, with its rejects."""
    bench = Bench(tmp_path, ready=ready)
    bench.open()
    for number in range(5):
        bench.drop(f"a{number}.csv", f"{number},x", f"{number}0,bad")
        (bench.folder / f"a{number}.csv.ok").touch()
    kills = 0

    def kill(name: str) -> None:
        nonlocal kills
        if name == point:
            kills += 1
            raise Killed

    while kills < 3:
        failpoints.arm(kill)
        try:
            bench.drain()
        except Killed:
            failpoints.arm(None)
            bench.restart()
    failpoints.arm(None)
    bench.drain()
    assert bench.ids() == [str(n) for n in range(5)]
    assert {name for name in bench.names("archive") if name.endswith(".csv")} == {f"a{n}.csv" for n in range(5)}
    assert bench.names("rejected") == {f"a{n}.csv.rejected.csv" for n in range(5)}
    assert {name for name in bench.names() if name.endswith(".csv")} == set()
    bench.source.close()


def test_commits_that_a_crash_swallowed_are_made_good(bench: Bench) -> None:
    """Several files read and durable, none archived: after a restart all are, and none is read again."""
    for number in range(6):
        bench.drop(f"a{number}.csv", f"{number},x")
    while bench.read().more:
        pass
    assert len(bench.names()) == 6
    bench.restart()
    bench.drain()
    assert bench.ids() == [str(n) for n in range(6)]
    assert len(bench.names("archive")) == 6


def test_a_file_without_its_ready_file_is_put_away_after_a_crash(tmp_path: Path) -> None:
    """Several files durable, killed when the first has lost its ready file: no scan finds it any more, yet it is archived."""
    bench = Bench(tmp_path, ready="ok-file")
    bench.open()
    for number in range(3):
        bench.drop(f"a{number}.csv", f"{number},x", f"{number}0,bad")
        (bench.folder / f"a{number}.csv.ok").touch()
    while bench.read().more:
        pass

    def kill(name: str) -> None:
        if name == "C06":
            raise Killed

    failpoints.arm(kill)
    with pytest.raises(Killed):
        bench.source.commit(bench.position)
    failpoints.arm(None)
    assert bench.names() == {"a0.csv", "a1.csv", "a1.csv.ok", "a2.csv", "a2.csv.ok"}
    bench.restart()
    bench.drain()
    assert bench.ids() == ["0", "1", "2"]
    assert bench.names() == set()
    assert {name for name in bench.names("archive") if name.endswith(".csv")} == {f"a{n}.csv" for n in range(3)}
    assert bench.names("rejected") == {f"a{n}.csv.rejected.csv" for n in range(3)}
    bench.source.close()


def test_an_archive_that_cannot_be_written_stops_the_flow(bench: Bench) -> None:
    """A file that cannot be put away stays where it is, and that is said instead of reading on for ever."""
    bench.drop("a.csv", "1,x")
    (bench.folder / "archive").rmdir()
    (bench.folder / "archive").write_text("in the way")
    with pytest.raises(SourceUnavailable):
        bench.drain()
    assert bench.names() >= {"a.csv"}
    (bench.folder / "archive").unlink()
    bench.restart()
    bench.drain()
    assert bench.ids() == ["1"]
    assert bench.names("archive") == {"a.csv"}


def test_folders_on_another_file_system_are_refused(tmp_path: Path) -> None:
    """Moving by rename needs one file system: that is said at the start, and by check."""
    bench = Bench(tmp_path, archive_to="/dev/shm/huitong-test-archive")
    try:
        assert [f for f in bench.source.check() if not f.ok]
        with pytest.raises(SourceRefused):
            bench.open()
    finally:
        Path("/dev/shm/huitong-test-archive").rmdir()


# -- many and large ----------------------------------------------------------------------------------------------------


def test_many_files_are_taken_in_portions(bench: Bench) -> None:
    """A folder with more files than are taken at once is read completely, in order."""
    bench.source._folder._at_once = 50
    for number in range(300):
        (bench.folder / f"f{number}.csv").write_text(f"id,name\n{number},x\n")
    bench.drain()
    assert bench.ids() == [str(n) for n in range(300)]
    assert bench.names() == set()


@pytest.mark.parametrize("encoding", ["auto", "gb18030"])
def test_chinese_text_in_both_encodings(tmp_path: Path, encoding: str) -> None:
    """GB18030 is recognised, or taken as told, rare characters included."""
    bench = Bench(tmp_path, encoding=encoding)
    bench.open()
    bench.drop("a.csv", "1,䶮㐂𠮷", encoding="gb18030")
    bench.drain()
    assert [row[1] for row in bench.rows.values()] == ["䶮㐂𠮷"]
    bench.source.close()


def test_check_looks_and_touches_nothing(tmp_path: Path) -> None:
    """Check reads the head of the first file and names what lacks, without creating a folder."""
    bench = Bench(tmp_path)
    bench.drop("a.csv", "1,x", header="id,nam")
    findings = bench.source.check()
    (wrong,) = [f for f in findings if not f.ok]
    assert wrong.details["column"] == "name"
    assert [path.name for path in bench.folder.iterdir()] == ["a.csv"]
