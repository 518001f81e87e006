"""What becomes of files: complete ones are read once and archived, bad rows and bad files put aside, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SourceGone, SourceUnavailable
from agent.events import FileArchived, FileChanged, FileRepeated
from tests.integration.connectors.folder_kit import Bench

# -- reading and archiving ---------------------------------------------------------------------------------------------


def test_files_are_read_in_natural_order_and_archived(bench: Bench) -> None:
    """`a2` comes before `a10`; when everything is durable the files are in the archive."""
    for number in (10, 9, 1, 2):
        bench.drop(f"a{number}.csv", f"{number},x")
    bench.drain()
    assert bench.ids() == ["1", "2", "9", "10"]
    assert bench.names() == set()
    assert bench.names("archive") == {"a1.csv", "a2.csv", "a9.csv", "a10.csv"}
    archived = bench.recorder.of(FileArchived)
    assert [(event.name, event.rows, event.rejected) for event in archived][:2] == [("a1.csv", 1, 0), ("a2.csv", 1, 0)]


def test_nothing_is_archived_before_it_is_durable(bench: Bench) -> None:
    """Reading a file to its end moves nothing; the commit does."""
    bench.drop("a.csv", "1,x")
    batch = bench.read()
    assert bench.read().rows == ()
    assert bench.names() == {"a.csv"}
    bench.source.commit(batch.position)
    assert bench.names("archive") == {"a.csv"}


def test_tokens_are_drop_and_row(bench: Bench) -> None:
    """A row is known by the ordinal of its drop and the number a spreadsheet shows."""
    bench.drop("a.csv", "1,x", "", "2,y")
    bench.drop("b.csv", "3,z")
    bench.drain()
    assert list(bench.rows) == ["1:2", "1:4", "2:2"]


def test_a_large_file_is_read_in_pages_and_resumed_in_its_midst(bench: Bench) -> None:
    """After a restart reading goes on at the very row, and every row comes once."""
    bench.drop("a.csv", *(f"{n},x" for n in range(100)))
    for _ in range(4):
        bench.step(limit=7)
        bench.restart()
    bench.drain(limit=7)
    assert bench.ids() == [str(n) for n in range(100)]
    assert bench.names("archive") == {"a.csv"}


def test_a_header_alone_is_a_file_without_records(bench: Bench) -> None:
    """An export of nothing is archived as any other."""
    bench.drop("a.csv")
    bench.drain()
    assert bench.names("archive") == {"a.csv"}


def test_the_archive_overwrites_nothing(bench: Bench) -> None:
    """A name that is taken in the archive gets the number of the drop."""
    for content in "xyz":
        bench.drop("a.csv", f"1,{content}")
        bench.drain()
    assert bench.names("archive") == {"a.csv", "a.2.csv", "a.3.csv"}
    assert b"1,x" in (bench.folder / "archive" / "a.csv").read_bytes()


def test_other_files_are_left_alone(bench: Bench) -> None:
    """Hidden files, unfinished names and what does not match are not looked at."""
    for name in (".a.csv", "a.csv.part", "a.csv.tmp", "a.csv~", "a.txt", "b.CSV"):
        (bench.folder / name).write_text("id,name\n1,x\n")
    (bench.folder / "folder.csv").mkdir()
    bench.drain()
    assert bench.ids() == []
    assert len(bench.names()) == 6


# -- the same and not the same -----------------------------------------------------------------------------------------


def test_the_same_file_again_is_archived_and_gives_nothing(bench: Bench) -> None:
    """A name that comes again with the content it had last time is no news, also after a restart."""
    bench.drop("a.csv", "1,x")
    bench.drain()
    bench.restart()
    bench.drop("a.csv", "1,x")
    bench.drain()
    assert bench.ids() == ["1"]
    assert len(bench.recorder.of(FileRepeated)) == 1
    assert bench.names() == set()


def test_the_same_name_with_another_content_is_a_new_drop(bench: Bench) -> None:
    """Changed content is read whole; so is the old content when it comes back after another."""
    for content in ("x", "y", "x"):
        bench.drop("a.csv", f"1,{content}")
        bench.drain()
    assert [row[1] for row in bench.rows.values()] == ["x", "y", "x"]


def test_the_same_content_under_another_name_is_a_new_drop(bench: Bench) -> None:
    """Names matter: two departments may send equal files."""
    bench.drop("a.csv", "1,x")
    bench.drop("b.csv", "1,x")
    bench.drain()
    assert list(bench.rows) == ["1:2", "2:2"]


def test_files_can_stay_where_they_are(tmp_path: Path) -> None:
    """With `then: keep` nothing is moved, nothing is read twice, and what changes is read again."""
    bench = Bench(tmp_path, then="keep")
    bench.open()
    bench.drop("a.csv", "1,x", "2,bad")
    bench.drain()
    bench.restart()
    bench.drain()
    assert bench.ids() == ["1"]
    assert bench.names() == {"a.csv"}
    assert bench.names("rejected") == {"a.csv.rejected.csv"}
    assert bench.names("archive") == set()
    (bench.folder / "a.csv").touch()
    bench.drain()
    assert bench.ids() == ["1"]
    bench.drop("a.csv", "1,y")
    bench.drain()
    assert bench.ids() == ["1", "1"]
    bench.source.close()


# -- readiness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ok", ["a.csv.ok", "a.ok"])
def test_an_ok_file_says_when(tmp_path: Path, ok: str) -> None:
    """A file waits for its ok file; both are archived, the ok file first, so that it vouches for nothing else."""
    bench = Bench(tmp_path, ready="ok-file")
    bench.open()
    bench.drop("a.csv", "1,x")
    bench.drop("b.csv", "2,x")
    bench.drain()
    assert bench.ids() == []
    (bench.folder / ok).touch()
    bench.drain()
    assert bench.ids() == ["1"]
    assert bench.names() == {"b.csv"}
    assert bench.names("archive") == {"a.csv", ok}
    bench.source.close()


def test_a_stable_file_is_seen_twice_unchanged(tmp_path: Path) -> None:
    """Size and time must not change for the time that is set, measured by our clock."""
    bench = Bench(tmp_path, ready="stable", stable_for="10s")
    bench.open()
    path = bench.drop("a.csv", "1,x")
    bench.drain()
    bench.clock.advance(6)
    with path.open("a") as file:
        file.write("2,y\n")
    bench.drain()
    bench.clock.advance(6)
    bench.drain()
    assert bench.ids() == []
    while bench.source.wait(0.05):  # news of the file itself
        pass
    bench.clock.advance(4)
    assert bench.source.wait(60) is True  # it is time to look again
    bench.drain()
    assert bench.ids() == ["1", "2"]
    bench.source.close()


def test_news_of_a_file_end_the_wait(bench: Bench) -> None:
    """Where the system tells of new files, a file is noticed at once."""
    bench.drain()
    bench.source.wait(0)
    bench.drop("a.csv", "1,x")
    assert bench.source.wait(30) is True


def test_the_scan_finds_what_no_event_told(bench: Bench) -> None:
    """Without any event, and with a dead observer, files are found all the same."""
    bench.source._watch.stop()
    bench.drop("a.csv", "1,x")
    bench.drain()
    assert bench.ids() == ["1"]


def test_a_folder_that_is_replaced_is_watched_again(bench: Bench) -> None:
    """After the folder was moved away and made anew, files and events are noticed again."""
    bench.folder.rename(bench.folder.with_name("old"))
    with pytest.raises(SourceUnavailable):
        bench.drain()
    bench.folder.mkdir()
    (bench.folder / "archive").mkdir()
    bench.drain()
    bench.source.wait(0)
    bench.drop("a.csv", "1,x")
    assert bench.source.wait(30) is True
    bench.drain()
    assert bench.ids() == ["1"]


# -- files that change -------------------------------------------------------------------------------------------------


def test_a_file_that_is_written_to_while_it_is_read_starts_over(bench: Bench) -> None:
    """Truncated or rewritten in place: nothing of the mixture is given out, and the new content is a drop of its own."""
    path = bench.drop("a.csv", *(f"{n},old" for n in range(20)))
    bench.step(limit=5)
    path.write_bytes(b"id,name\r\n100,new\r\n")
    bench.drain(limit=5)
    assert bench.ids() == [*(str(n) for n in range(5)), "100"]
    (event,) = bench.recorder.of(FileChanged)
    assert (event.name, event.rows) == ("a.csv", 5)
    assert bench.names("archive") == {"a.csv"}


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(bench: Bench) -> None:
    """The open file keeps its content; what took its name is a drop of its own, and is the one that is archived."""
    bench.drop("a.csv", *(f"{n},old" for n in range(20)))
    bench.step(limit=5)
    bench.drop("a.csv", "100,new")
    bench.drain(limit=5)
    assert bench.ids() == [*(str(n) for n in range(20)), "100"]
    assert b"100,new" in (bench.folder / "archive" / "a.csv").read_bytes()


def test_a_file_that_was_replaced_during_a_restart_starts_over(bench: Bench) -> None:
    """After a restart the digest tells that it is another content: it is read whole, as a new drop."""
    bench.drop("a.csv", *(f"{n},old" for n in range(20)))
    bench.step(limit=5)
    bench.drop("a.csv", "100,new")
    bench.restart()
    bench.drain(limit=5)
    assert bench.ids() == [*(str(n) for n in range(5)), "100"]
    assert len(bench.recorder.of(FileChanged)) == 1


def test_a_file_that_disappears_in_its_midst_is_a_lost_position(bench: Bench) -> None:
    """Rows that were not read are gone with it: that is a gap, never silence."""
    path = bench.drop("a.csv", *(f"{n},x" for n in range(20)))
    bench.step(limit=5)
    path.unlink()
    bench.source.close()
    bench.source = bench.build()
    bench.open()
    with pytest.raises(SourceGone):
        bench.drain(limit=5)


def test_a_new_file_under_the_name_of_one_that_is_not_archived_yet(bench: Bench) -> None:
    """Between reading and commit another file takes the name: it is not archived unread."""
    bench.drop("a.csv", "1,old")
    batch = bench.read()
    bench.drop("a.csv", "2,new")
    bench.source.commit(batch.position)
    assert bench.names() == {"a.csv"}
    bench.drain()
    assert bench.ids() == ["1", "2"]
    assert bench.names("archive") == {"a.csv"}
