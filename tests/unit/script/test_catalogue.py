"""The Chinese catalogue's own tool, on a small source tree."""

from __future__ import annotations

import gettext
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "script" / "catalogue.py"
SOURCE = """
from agent.i18n import N_, _
TEXT = N_("the flow {flow} is paused")
LONG = N_(
    "two lines\\n"
    "of text"
)
def show(name: str) -> str:
    return _("hello") + _(name) + f"{name}: {_(N_('in braces'))}"
"""


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, at work on a tree with one module."""
    spec = importlib.util.spec_from_file_location("catalogue_tool", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "some.py").write_text(SOURCE)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PO", tmp_path / "agent" / "locale" / "huitong.po")
    return tool


def translate(tool: ModuleType, tmp_path: Path, **more: str) -> int:
    lines = {
        "the flow {flow} is paused": "流 {flow} 已暂停",
        "two lines\\nof text": "两行\\n文字",
        "hello": "你好",
        "in braces": "括号里",
        **more,
    }
    table = tmp_path / "some.tsv"
    table.write_text("".join(f"{english}\t{chinese}\n" for english, chinese in lines.items()))
    code: int = tool.main(["merge", str(table)])
    return code


def test_every_marked_text_is_found(catalogue: ModuleType) -> None:
    """Literals in N_ and _ are texts, joined ones too; variables are not."""
    assert set(catalogue.source_texts()) == {"the flow {flow} is paused", "two lines\nof text", "hello", "in braces"}


def test_a_translated_tree_passes_and_is_readable(
    catalogue: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After merge the check passes, and the compiled catalogue translates, line ends included."""
    assert translate(catalogue, tmp_path) == 0
    assert catalogue.main(["check"]) == 0, capsys.readouterr().err
    catalogue.main(["compile"])
    with (tmp_path / "agent" / "locale" / "huitong.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert compiled.gettext("two lines\nof text") == "两行\n文字"


def test_extracting_again_changes_nothing(catalogue: ModuleType, tmp_path: Path) -> None:
    """The file holds no dates or line numbers: extracting twice gives the same octets."""
    translate(catalogue, tmp_path)
    first = catalogue.PO.read_bytes()
    (tmp_path / "agent" / "some.py").write_text("\n\n" + SOURCE)
    catalogue.main(["extract"])
    assert catalogue.PO.read_bytes() == first
    assert b"Date" not in first


@pytest.mark.parametrize(
    "change, complaint",
    [
        ('NEW = N_("new text")', "not in the catalogue: 'new text'"),
        (None, "no longer in the source: 'hello'"),
    ],
)
def test_a_difference_between_source_and_catalogue_fails(
    catalogue: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str | None, complaint: str
) -> None:
    """A text without an entry and an entry without a text are both failures."""
    translate(catalogue, tmp_path)
    source = tmp_path / "agent" / "some.py"
    source.write_text(SOURCE + change if change else SOURCE.replace('_("hello")', '""'))
    assert catalogue.main(["check"]) == 1
    assert complaint in capsys.readouterr().err


def test_an_untranslated_text_fails(catalogue: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty translation is a failure that names text and file."""
    catalogue.main(["extract"])
    assert catalogue.main(["check"]) == 1
    assert "not translated: 'hello' (agent/some.py)" in capsys.readouterr().err


def test_a_translation_keeps_the_fields(catalogue: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A translation that renames a {field} is a failure."""
    translate(catalogue, tmp_path, **{"the flow {flow} is paused": "流 {name} 已暂停"})
    assert catalogue.main(["check"]) == 1
    assert "other {fields}" in capsys.readouterr().err


def test_a_line_without_a_use_is_named(catalogue: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Merging says which lines are broken or belong to no text."""
    translate(catalogue, tmp_path, **{"gone": "没了", "no translation": ""})
    told = capsys.readouterr()
    assert "not in the source: gone" in told.err
    assert "2 lines without a use" in told.out
