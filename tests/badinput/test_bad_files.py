"""Files that are odd outside: their names, what they really are, and what happens to them while they are read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.events import FileArchived, FileChanged, FileRefused
from connectors.file_drop import folder as folder_module
from connectors.file_drop.content import Content
from connectors.file_drop.folder import Folder
from tests.badinput.kit import AFTER, BEFORE, NEIGHBOURS, put
from tests.planted.ledgers import require
from tests.planted.line import Line, line
from tests.planted.scenarios import dropped

pytestmark = pytest.mark.timeout(60)

GOOD = b"id,name\nodd,a\n"
ODD = {"odd": [{"id": "odd", "name": "a"}]}


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """The folder that is watched."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def department(tmp_path: Path, blank: Path, drop: Path) -> Iterator[Line]:
    """A department that watches the folder, in which two good files lie."""
    put(drop, BEFORE, "before", "张三", {})
    put(drop, AFTER, "after", "李四", {})
    with line(tmp_path, lambda own: dropped(own, drop), like=blank) as own:
        yield own


def refused(own: Line) -> dict[str, str]:
    """Return the files that were left alone or put aside, and why."""
    return {event.name: event.reason for event in own.recorder.of(FileRefused)}


# -- names -----------------------------------------------------------------------------------------------------------

READ: dict[str, str] = {
    "Chinese": "登记信息（第一批）.csv",
    "spaces": " a  b .csv",
    "a formula": "=1+1.csv",
    "an option": "--help.csv",
    "a command": "$(reboot) `id`; rm -rf ~.csv",
    "quotes": "a'b\"c.csv",
    "a backslash": "a\\..\\b.csv",
    "braces": "{0.__class__}{name}.csv",
    "percent signs": "%s%n%00.csv",
    "dots": "a..b...csv",
    "brackets": "[a-z]*?.csv",
    "a tilde in front": "~a.csv",
    "an ampersand": "a&b<c>.csv",
    "emoji": "\U0001f600.csv",
    "rare characters": "䶮𠮷.csv",
    "combining characters": "e\u0301\u0301.csv",
    "digits without end": "9" * 240 + ".csv",
    "digits of another script": "٣٤²③.csv",
    "255 octets": "x" * 251 + ".csv",
    "255 octets in Chinese": "登" * 83 + "ab.csv",
    "two suffixes": "a.csv.csv",
    "an escaped path": "_%2f..%2fetc%2fpasswd.csv",
}

LEFT: dict[str, tuple[bytes, str]] = {
    "a line feed": (b"a\nb.csv", "odd_name"),
    "a carriage return": (b"a\rb.csv", "odd_name"),
    "an escape sequence": (b"\x1b[2Ja.csv", "odd_name"),
    "a bell": (b"a\x07.csv", "odd_name"),
    "text turned round": ("a\u202egpj.csv".encode(), "odd_name"),
    "invisible characters": ("a\u200b\u200db.csv".encode(), "odd_name"),
    "a line separator": ("a\u2028b.csv".encode(), "odd_name"),
    "a byte order mark": ("\ufeffa.csv".encode(), "odd_name"),
    "no UTF-8": (b"\xff\xfe.csv", "odd_name"),
    "GBK": ("登记.csv".encode("gbk"), "odd_name"),
    "half a surrogate": (b"\xed\xa0\x80.csv", "odd_name"),
}

NOT_OURS = {
    "hidden": b".a.csv",
    "being copied": b"a.csv.part",
    "being written": b"a.csv.tmp",
    "being downloaded": b"a.csv.crdownload",
    "backup": b"a.csv~",
    "other suffix": b"a.CSV",
    "no suffix": b"a",
}


@pytest.mark.parametrize("name", READ)
def test_an_odd_name_is_a_name(name: str, department: Line, drop: Path) -> None:
    """A file with an odd but printable name is read and archived under it."""
    (drop / READ[name]).write_bytes(GOOD)
    department.capture()
    department.settle()
    require(department, {**NEIGHBOURS, **ODD})
    assert (drop / "archive" / READ[name]).read_bytes() == GOOD


@pytest.mark.parametrize("name", LEFT)
def test_a_name_that_deceives_is_left_alone(name: str, department: Line, drop: Path) -> None:
    """A file whose name is no plain text is left where it is, told once and escaped; its neighbours flow."""
    octets, reason = LEFT[name]
    path = drop / os.fsdecode(octets)
    path.write_bytes(GOOD)
    department.capture()
    department.capture()
    department.settle()
    require(department, NEIGHBOURS)
    ((shown, why),) = refused(department).items()
    assert why == reason
    assert shown.isprintable()
    assert len(department.recorder.of(FileRefused)) == 1
    assert path.read_bytes() == GOOD


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_file_that_is_not_meant_is_not_touched(name: str, department: Line, drop: Path) -> None:
    """Hidden and unfinished files, and those the pattern does not match, stay without a word."""
    path = drop / os.fsdecode(NOT_OURS[name])
    path.write_bytes(GOOD)
    department.capture()
    department.settle()
    require(department, NEIGHBOURS)
    assert path.read_bytes() == GOOD
    assert refused(department) == {}


# -- what they really are --------------------------------------------------------------------------------------------


def link_outside(path: Path) -> None:
    (path.parent.parent / "secret").write_bytes(GOOD)
    path.symlink_to(path.parent.parent / "secret")


def link_inside(path: Path) -> None:
    (path.parent / ".real").write_bytes(GOOD)
    path.symlink_to(path.parent / ".real")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


KINDS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "a link to a file outside": (link_outside, "not_a_plain_file"),
    "a link to a file inside": (link_inside, "not_a_plain_file"),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere"), "not_a_plain_file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "not_a_plain_file"),
    "a link to the store": (lambda path: path.symlink_to(path.parent.parent / "outbox0.db"), "not_a_plain_file"),
    "a link to endless zeros": (lambda path: path.symlink_to("/dev/zero"), "not_a_plain_file"),
    "a pipe": (os.mkfifo, "not_a_plain_file"),
    "a socket": (unix_socket, "not_a_plain_file"),
    "a folder": (Path.mkdir, None),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_plain_file_is_never_opened(name: str, department: Line, drop: Path) -> None:
    """Links, pipes and sockets are left alone and told once; nothing hangs, and nothing behind them is read."""
    make, reason = KINDS[name]
    path = drop / "odd.csv"
    make(path)
    department.capture()
    department.capture()
    department.settle()
    require(department, NEIGHBOURS)
    assert refused(department) == ({"odd.csv": reason} if reason else {})
    assert os.path.lexists(path)


# -- what happens to them while they are read ------------------------------------------------------------------------

Meddle = Callable[[Path], object]


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more,b\n")


def replaced(path: Path) -> None:
    other = path.with_name(".other")
    other.write_bytes(b"id,name\nother,b\n")
    other.rename(path)


MEDDLE: dict[str, tuple[Meddle, dict[str, list[dict[str, str]]]]] = {
    "it vanishes": (Path.unlink, {}),
    "it becomes a link": (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), {}),
    "it becomes a folder": (lambda path: (path.unlink(), path.mkdir()), {}),
    "it grows": (append, {**ODD, "more": [{"id": "more", "name": "b"}]}),
    "it is cut": (lambda path: os.truncate(path, 11), {}),
    "it is emptied": (lambda path: os.truncate(path, 0), {}),
    "it is written anew": (lambda path: path.write_bytes(b"id,name\nnew,b\n"), {"new": [{"id": "new", "name": "b"}]}),
    "another takes its place": (replaced, {"other": [{"id": "other", "name": "b"}]}),
}

REASONS = {"it is cut": ["field_count"], "it is emptied": ["empty_file"]}


@pytest.mark.parametrize("name", MEDDLE)
def test_a_file_that_changes_before_it_is_opened(
    name: str, department: Line, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between scan and opening anything may happen: what is there then, whole, is what counts."""
    meddle, expected = MEDDLE[name]
    path = drop / "odd.csv"
    path.write_bytes(GOOD)
    whole, done = Folder.open, []

    def open_late(self: Folder, wanted: str) -> int | None:
        if wanted == "odd.csv" and not done:
            done.append(meddle(path))
        return whole(self, wanted)

    monkeypatch.setattr(Folder, "open", open_late)
    department.capture()
    department.capture()
    department.settle()
    require(department, {**NEIGHBOURS, **expected}, put_aside=REASONS.get(name, ()))


@pytest.mark.parametrize(
    "name", ["it grows", "it is cut", "it is emptied", "it is written anew", "it vanishes", "another takes its place"]
)
def test_a_file_that_changes_while_it_is_read(name: str, department: Line, drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was digested and before its rows are given out: never half of the old and half of the new."""
    meddle, expected = MEDDLE[name]
    path = drop / "odd.csv"
    path.write_bytes(GOOD)
    whole, done = Content.start, []

    def start(self: Content, *arguments: object) -> object:
        begun = whole(self, *arguments)  # type: ignore[arg-type]
        if not done and self.digest and path.samefile(f"/proc/self/fd/{self._stream.fileno()}"):
            done.append(meddle(path))
        return begun

    monkeypatch.setattr(Content, "start", start)
    department.capture()
    department.capture()
    department.settle()
    kept = {"it vanishes": ODD, "another takes its place": {**ODD, **expected}}.get(name, expected)
    require(department, {**NEIGHBOURS, **kept}, put_aside=REASONS.get(name, ()))
    assert done


def test_a_file_we_may_not_read_is_left_alone(department: Line, drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is told once and stays; when the permission is given it is read."""
    (drop / "odd.csv").write_bytes(GOOD)
    whole = os.open

    def no_permission(path: Path, *arguments: int, **named: int) -> int:
        if str(path).endswith("odd.csv"):
            raise PermissionError(13, "Permission denied", path)
        return whole(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module.os, "open", no_permission)
        department.capture()
        department.settle()
    require(department, NEIGHBOURS)
    assert refused(department) == {"odd.csv": "no_permission"}
    department.capture()
    department.settle()
    require(department, {**NEIGHBOURS, **ODD})


def test_the_same_name_again_is_another_drop(department: Line, drop: Path) -> None:
    """The same content again is no news, other content is; both files are archived, none over the other."""
    expected = dict(NEIGHBOURS)
    for content in (GOOD, GOOD, b"id,name\nodd,b\n"):
        (drop / "odd.csv").write_bytes(content)
        department.capture()
    department.settle()
    expected["odd"] = [{"id": "odd", "name": "a"}, {"id": "odd", "name": "b"}]
    require(department, expected)
    assert sorted(path.read_bytes() for path in (drop / "archive").glob("odd*.csv")) == sorted([GOOD, GOOD, b"id,name\nodd,b\n"])
    assert len([event for event in department.recorder.of(FileArchived) if event.name == "odd.csv"]) == 2


def test_a_folder_that_vanishes_is_waited_for(department: Line, drop: Path) -> None:
    """Without its folder the flow waits; when it is there again, everything is read."""
    department.capture()
    drop.rename(drop.with_name("away"))
    department.capture_service.tick()
    for _ in range(5):
        department.capture_service.wake()
        department.capture_service.run_once()
    drop.with_name("away").rename(drop)
    (drop / "odd.csv").write_bytes(GOOD)
    department.clock.advance(120.0)
    department.capture()
    department.settle()
    require(department, {**NEIGHBOURS, **ODD})
    assert department.recorder.of(FileChanged) == []


CASES = [*READ, *LEFT, *NOT_OURS, *KINDS, *MEDDLE, *MEDDLE]
