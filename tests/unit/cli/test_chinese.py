"""Chinese first: help pages, click's own words, errors, and columns that fit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.click_words import WORDS
from agent.cli.formatting import fold, pad, table
from agent.i18n import _, use_language
from agent.settings.width import display_width
from tests.unit.cli.kit import huitong

NOT_WORDS = re.compile(
    r"huitong( [a-z]+)?|--?[a-z-]+|/etc/[\w./]+|zh\|en|text\|json|agent\|hub\|message-type|(agent|hub)\.yaml|/etc/huitong|conf\.d|JSON( Schema)?|CSV|HT-\w+|"
    r"send\.\*[\w.*]*|tax\.deed@1|\.bak|# yaml-language-server: \$schema=|^  [a-z-]+  ",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    """Leave the language as it was."""
    yield
    use_language("en")


@pytest.mark.parametrize("arguments", [(), ("validate",), ("explain",), ("schema",), ("version",)], ids=" ".join)
def test_a_help_page_is_wholly_chinese(arguments: tuple[str, ...]) -> None:
    """Names of options, files and formats apart, no English word is left, click's own included."""
    result = huitong(*arguments, "--help", language="zh")
    assert result.code == 0
    assert "用法:" in result.stdout
    left = NOT_WORDS.sub(" ", result.stdout)
    assert re.findall(r"[A-Za-z]{2,}", left) == []


@pytest.mark.parametrize(
    "arguments",
    [("validte",), ("version", "--foo"), ("explain",), ("version", "x"), ("schema", "x"), ("--config",)],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_chinese(arguments: tuple[str, ...]) -> None:
    """The words of click are ours too."""
    result = huitong(*arguments, language="zh")
    assert result.code == 2
    assert re.search(r"Error|Usage|Missing|such|Try|Invalid|unexpected|requires", result.stderr) is None
    assert "错误" in result.stderr


def test_the_language_can_change_within_a_process() -> None:
    """One run in Chinese, the next in English."""
    assert "选项" in huitong("--help", language="zh").stdout
    assert "Options" in huitong("--help", language="en").stdout


def words_of_click() -> set[str]:
    found = set()
    for path in Path(click.__file__).parent.glob("*.py"):
        if path.stem in {"shell_completion", "_winconsole", "_termui_impl", "testing", "_compat"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "ngettext"}:
                texts = node.args[: 1 if node.func.id == "_" else 2]
                found |= {text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)}
    return found


DEVELOPERS = (
    "defined twice",
    "one parameter declaration",
    "Invalid start character",
    "Value must be an iterable",
    "%(prog)s",
    "Unknown color",
    "Unknown standard stream",
    "Choice({choices})",
    "values are required",
    "Boolean option",
    "Could not determine name",
    "DeprecationWarning",
    "No options defined",
)
"""Words that only a developer of commands can meet."""


def test_click_has_no_words_that_we_do_not_know() -> None:
    """A new release of click cannot bring English back unnoticed."""
    unknown = {word.expandtabs(4) for word in words_of_click()} - set(WORDS)
    assert {word for word in unknown if not any(part in word for part in DEVELOPERS)} == set()


@pytest.mark.parametrize("word", WORDS)
def test_click_speaks_chinese(word: str) -> None:
    """Each of its words has a translation with the same fields."""
    use_language("zh")
    assert _(word) != word
    assert set(re.findall(r"\{\w+", _(word))) == set(re.findall(r"\{\w+", word))


# -- columns ---------------------------------------------------------------------------------------------------------

TEXT = st.text(st.sampled_from("ab 汇通，。（）\n-"), max_size=60)


@given(text=TEXT, width=st.integers(4, 40))
def test_folded_text_fits_and_loses_nothing(text: str, width: int) -> None:
    """No line is wider than asked unless one word is, and all characters but white space are kept in order."""
    lines = fold(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert display_width(line) <= max(width, *(display_width(word) for word in re.findall(r"[ab-]+|.[，。）]*", line)), 0)


def test_chinese_is_broken_between_characters_but_not_before_a_stop() -> None:
    """A full stop stays with the word before it."""
    assert fold("检查配置，不改动。", 8) == ["检查配", "置，不改", "动。"]
    assert all(not line.startswith(("，", "。")) for line in fold("检查配置，不改动任何东西。好。", 10))


def test_a_table_is_aligned_by_columns_of_the_terminal() -> None:
    """Chinese and Latin cells line up; figures stand on the right."""
    lines = table(["流程", "今日"], [["不动产权属", "3,412"], ["tax", "7"]], right=[1])
    assert lines == ["流程         今日", "不动产权属  3,412", "tax             7"]
    assert {display_width(line) for line in lines} == {17}
    assert pad("汇", 4) == "汇  "
