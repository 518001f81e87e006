"""Nothing in the documentation rots: every YAML block is read by the real loader, and what is generated is up to date.

A block fenced as `yaml` is a whole agent.yaml or a file of conf.d; `yaml fragment` is a part of one; `yaml hub` and
`yaml message-type` are those files; `yaml other` only has to be YAML.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from agent.errors import SettingsError
from agent.settings.document import Document, parse_document
from agent.settings.layout import placed
from agent.settings.load import assemble
from agent.settings.message_types import check_messages
from agent.settings.problems import Problem, render
from agent.settings.schemas import file_models
from connectors import BUILTIN

ROOT: Final = Path(__file__).resolve().parent.parent
MODELS: Final = file_models(BUILTIN)
FENCE: Final = re.compile(r"^(?P<indent> *)```ya?ml(?P<kind>[^\n]*)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
KINDS: Final = ("", "fragment", "hub", "message-type", "other")

OPEN_IN_A_FRAGMENT: Final = frozenset(("HT-C011", "HT-C023", "HT-C024", "HT-C035", "HT-C037", "HT-M003", "HT-M005"))
"""What a fragment may lack, because the rest of the file would say it."""

BASE: Final = """\
version: 1
agent: {id: demo-dept}
hub: {code: demo-hub, url: amqps://mq.example/exchange, password: secret:hub_password}
"""


@dataclass(frozen=True)
class Block:
    """One YAML block of a document."""

    path: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    return sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")))


def blocks() -> Iterator[Block]:
    for path in documents():
        text = path.read_text("utf-8")
        for match in FENCE.finditer(text):
            body = "".join(line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True))
            yield Block(path, text.count("\n", 0, match.start()) + 1, match["kind"].strip(), body)


def problems_of(block: Block) -> list[Problem]:
    document = parse_document(block.text, str(block))
    if block.kind == "other":
        return [placed(found.misfit, found.file, found.extent, found.loc) for found in document.found]
    if block.kind in MODELS:
        return problems_in([document], block.kind)
    if block.kind == "fragment":
        files = [completed(document, parse_document(BASE, "base"))]
        return [problem for problem in problems_in(files, "agent") if problem.code not in OPEN_IN_A_FRAGMENT]
    if isinstance(document.data, dict) and document.data.keys() <= {"connections", "send"}:
        return problems_in([parse_document(BASE, "base"), document], "agent")
    return problems_in([document], "agent")


def completed(fragment: Document, base: Document) -> Document:
    """Return the fragment with the sections of `base` that it does not have itself."""
    if isinstance(base.data, dict) and isinstance(fragment.data, dict):
        fragment.data = {**base.data, **fragment.data}
        fragment.places = {**base.places, **fragment.places}
        fragment.sections = {**base.sections, **fragment.sections, id(fragment.data): ()}
    return fragment


def problems_in(files: list[Document], model: str) -> list[Problem]:
    try:
        return list(assemble(files, MODELS[model], checks=[check_messages] if model == "agent" else []).warnings)
    except SettingsError as error:
        return [problem for problem in error.problems if isinstance(problem, Problem)]


BLOCKS: Final = list(blocks())


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_yaml_block_is_valid(block: Block) -> None:
    """What a reader copies from the documentation is accepted."""
    assert block.kind in KINDS
    assert "\n\n".join(render(problem) for problem in problems_of(block)) == ""


@pytest.mark.parametrize(
    "text, kind, codes",
    [
        ("agent: {id: demo-dept, titel: x}\n", "fragment", ["HT-C012"]),
        ("send: {a: {from: {files: /x/*.csv, encoding: x}}}\n", "fragment", ["HT-C014"]),
        ("delivery: {window: 100}\n", "fragment", []),
        ("delivery: {window: 100}\n", "", ["HT-C011", "HT-C011", "HT-C011", "HT-C037"]),
        ("send: {}\n", "", ["HT-C037"]),
        ("a: [\n", "other", ["HT-C005"]),
        ("services: {x: {image: y}}\n", "other", []),
        ("code: x.y\n", "message-type", ["HT-C011"] * 5),
    ],
)
def test_a_wrong_block_would_be_noticed(text: str, kind: str, codes: list[str]) -> None:
    """The check itself fails where it must."""
    assert [problem.code for problem in problems_of(Block(ROOT / "x.md", 1, kind, text))] == codes


def test_blocks_are_found_with_their_kind_and_line() -> None:
    """Fences may be indented and may say what kind of block they are."""
    text = "a\n\n  ```yaml fragment\n  a: 1\n  ```\n```yml\nb: 2\n```\n"
    assert [(match["kind"].strip(), match["text"]) for match in FENCE.finditer(text)] == [
        ("fragment", "  a: 1\n"),
        ("", "b: 2\n"),
    ]


def test_generated_files_are_up_to_date() -> None:
    """Schemas, field reference and error index are what the source says."""
    check = subprocess.run(
        [sys.executable, ROOT / "script" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


def test_both_languages_have_the_same_pages() -> None:
    """Each generated page exists in English and in Chinese, with the same number of headings."""
    for name in ("settings", "errors"):
        english, chinese = ((ROOT / "docs" / "reference" / f"{name}{suffix}.md").read_text("utf-8") for suffix in ("", ".zh-CN"))
        assert re.findall(r"^#+", english, re.MULTILINE) == re.findall(r"^#+", chinese, re.MULTILINE)
