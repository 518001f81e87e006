"""What the suites of bad input share: text in both languages, files of a department, and what became of them."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import HuitongError
from agent.i18n import _, use_language
from agent.model import Quarantined
from tests.planted.ledgers import History, require
from tests.planted.line import FLOW, line
from tests.planted.scenarios import dropped

_CHINESE = re.compile("[\u4e00-\u9fff]")


def in_both_languages(text: str, details: Mapping[str, object]) -> tuple[str, str]:
    """Return a text in English and in Chinese, its fields filled in; fails when one of them is not there."""
    english, chinese = (_rendered(language, text, details) for language in ("en", "zh"))
    assert english, "no text"
    assert _CHINESE.search(chinese), f"no Chinese for {text!r}"
    return english, chinese


def _rendered(language: str, text: str, details: Mapping[str, object]) -> str:
    context = contextvars.copy_context()
    context.run(use_language, language)
    return context.run(lambda: _(text).format_map(dict(details)))


def explained(item: Quarantined) -> None:
    """Fail unless a quarantined item tells a person what is wrong, in both languages, and keeps its bytes."""
    assert re.fullmatch(r"[a-z][a-z0-9_]+", item.reason)
    assert re.fullmatch(r"HT-[A-Z][0-9]{3}", item.code)
    in_both_languages(item.text, item.details)


def complained(error: HuitongError) -> None:
    """Fail unless an error says what happened and what to do, in both languages."""
    in_both_languages(error.text, error.details)
    if error.hint:
        in_both_languages(error.hint, error.details)


# -- files -----------------------------------------------------------------------------------------------------------

BEFORE, AFTER = "a-before.csv", "z-after.csv"
NEIGHBOURS: History = {
    "before": [{"id": "before", "name": "张三"}],
    "after": [{"id": "after", "name": "李四"}],
}


@dataclass(frozen=True)
class BadFile:
    """A file and what has to become of it: the rows that arrive, the reasons of those that do not, where the file ends up."""

    octets: bytes | Callable[[], bytes]
    reasons: Sequence[str] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False  # refused whole
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The octets, made when they are wanted."""
        return self.octets() if callable(self.octets) else self.octets


def deliver(folder: Path, blank: Path, bad: BadFile, name: str = "m-bad.csv") -> None:
    """Drop a bad file between two good ones, let everything go its way, and check all ledgers."""
    drop = folder / "drop"
    drop.mkdir()
    with line(folder, lambda own: dropped(own, drop, **bad.settings), like=blank) as own:
        put(drop, BEFORE, "before", "张三", bad.settings)
        (drop / name).write_bytes(bad.content)
        put(drop, AFTER, "after", "李四", bad.settings)
        own.capture()
        own.settle()
        arrived = {key: [{"id": key, "name": value}] for key, value in bad.rows.items()}
        require(own, {**NEIGHBOURS, **arrived}, put_aside=bad.reasons)
        for item in own.reader.items(FLOW, limit=1000):
            explained(item.input)
        filed_away(drop, bad, name)


def put(drop: Path, name: str, key: str, value: str, settings: Mapping[str, object]) -> None:
    """Drop a good file in the layout of the flow."""
    delimiter = str(settings.get("delimiter", ","))
    encoding = str(settings.get("encoding", "utf-8")).replace("auto", "utf-8")
    above = "标题\n" * (int(str(settings.get("header_row", 1))) - 1)
    text = f"{above}id{delimiter}name\n{key}{delimiter}{value}\n"
    (drop / name).write_bytes(text.encode(encoding))


def filed_away(drop: Path, bad: BadFile, name: str) -> None:
    """Fail unless the bad file is in exactly one place, octet for octet, beside the reasons for what was not taken of it."""
    archived, rejected = drop / "archive" / name, drop / "rejected" / name
    assert [archived.exists(), rejected.exists(), (drop / name).exists()] == [not bad.whole, bad.whole, False]
    assert (rejected if bad.whole else archived).read_bytes() == bad.content
    if bad.whole:
        assert _CHINESE.search((drop / "rejected" / f"{name}.reason.txt").read_text("utf-8-sig"))
    elif bad.reasons:
        listed = (drop / "rejected" / f"{name}.rejected.csv").read_text("utf-8-sig", "replace")
        for reason in bad.reasons:
            assert reason in listed
