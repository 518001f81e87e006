"""A first map for a table or file: which column probably is which field of the message. A person checks it afterwards.

A column is recognised by its name, by its comment, and by the initials of a Chinese title, which is how departments name their
columns. Nothing is guessed from values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from agent.app.pinyin import initials
from agent.settings.message_types import MessageField, MessageTypeFile

LIKELY: Final = 60
"""Points from which a column is taken for a field."""

_BRACKETED: Final = re.compile(r"[(（\[【][^)）\]】]*[)）\]】]")
_KEY_WORDS: Final = re.compile(r"编号|证号|号码|证件|标识|代码|单号|主键|\bid\b|_id$|^id_|code|number|\bno\b|_no$", re.IGNORECASE)
_ALIASES: Final = {
    "cn-id": ("sfzh", "sfzhm", "gmsfhm", "gmsfzh", "zjhm", "idcard", "身份证号", "身份证号码", "公民身份证号码"),
    "uscc": ("tyshxydm", "shxydm", "xydm", "信用代码", "社会信用代码"),
}
"""How columns with these identifiers are often named."""

_SCALE: Final = re.compile(r"(?:numeric|decimal|number)\s*\(\s*\d+\s*,\s*(\d+)\s*\)", re.IGNORECASE)
_EIGHT: Final = re.compile(r"char[a-z ]*\(\s*8\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the source: `type` in the source's own words, empty for a file."""

    name: str
    type: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """A table or file as it is. `key` is empty and `cursor` None where nothing suggests itself."""

    name: str
    columns: tuple[Column, ...]
    comment: str = ""
    key: tuple[str, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Possible:
    """How changes of a table can be seen now: mode and why; better modes and what is in their way; statements for the DBA."""

    mode: str
    why: str
    passed: Sequence[tuple[str, str]]
    grants: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a map. `column` is empty for a required field that was not found; `options` stand behind `from:`."""

    target: str
    column: str
    options: tuple[tuple[str, str], ...] = ()
    about: str = ""  # what the column or the field is, for the comment


@dataclass(frozen=True, slots=True)
class Proposal:
    """A map and a key. `lines` is empty for same-names; `spare` are columns and `missing` fields that found no partner."""

    lines: tuple[Line, ...]
    key: tuple[str, ...]
    guessed_key: bool
    missing: tuple[str, ...] = ()
    spare: tuple[Column, ...] = ()


def propose(described: Described, definition: MessageTypeFile | None, language: str) -> Proposal:
    """Return a map of the source to a message type, or of every column under its own name when there is no type."""
    if definition is None:
        lines = tuple(Line(column.name, column.name, about=column.comment) for column in described.columns)
        key, guessed = _key(described, [column.name for column in described.columns])
        return Proposal(lines, key, guessed)
    partners = match(described.columns, definition)
    lines = tuple(
        Line(name, column.name if column else "", _options(field, column), getattr(field.title, language))
        for name, field in definition.fields.items()
        if (column := partners.get(name)) or field.required
    )
    mapped = [line.column for line in lines if line.column]
    key, guessed = _key(described, mapped)
    return Proposal(
        lines,
        key,
        guessed,
        missing=tuple(line.target for line in lines if not line.column),
        spare=tuple(column for column in described.columns if column.name not in mapped),
    )


def match(columns: Iterable[Column], definition: MessageTypeFile) -> dict[str, Column]:
    """Return field → column, the best pairs first, each column once."""
    pairs = sorted(
        (
            (-points, order, name, column)
            for name, field in definition.fields.items()
            for order, column in enumerate(columns)
            if (points := likeness(name, field, column)) >= LIKELY
        ),
        key=lambda pair: pair[:3],
    )
    partners: dict[str, Column] = {}
    for _points, _order, name, column in pairs:
        if name not in partners and column not in partners.values():
            partners[name] = column
    return partners


def likeness(name: str, field: MessageField, column: Column) -> int:
    """Return how probably a column is a field: 0 to 100 points."""
    titles = [_plain(field.title.zh), _plain(field.title.en)]
    own, comment = _plain(column.name), _plain(column.comment)
    if own == _plain(name):
        return 100
    if own in titles or (comment and comment in titles):
        return 95
    if any(_holds(title, said) or _holds(said, title) for title in titles for said in (comment, own)):
        return 80
    return _by_habit(field, own, name)


def _holds(text: str, part: str) -> bool:
    """Tell whether a word contains another; two Chinese characters are a word, two letters are not."""
    return len(part) > (3 if part.isascii() else 1) and part in text


def _by_habit(field: MessageField, own: str, name: str) -> int:
    """Return the points of a column name that only habit connects with a field."""
    short = initials(_bare(field.title.zh))
    if own in _ALIASES.get(field.check or "", ()) or (len(short) > 1 and own == short):
        return 75
    if len(own) > 2 and short.startswith(own):
        return 65
    alike = SequenceMatcher(None, own, _plain(name)).ratio()
    return round(alike * 75) if len(own) > 3 else 0


def _plain(text: str) -> str:
    """Return a name or title without what people write in different ways: width, case, separators, what is in brackets."""
    return "".join(c for c in unicodedata.normalize("NFKC", _bare(text)).casefold() if c.isalnum())


def _bare(text: str) -> str:
    return _BRACKETED.sub("", text) or text


def _options(field: MessageField, column: Column | None) -> tuple[tuple[str, str], ...]:
    """Return what the type of the field asks for on the way."""
    if column is None:
        return ()
    if isinstance(field.codes, str):
        return (("codes", field.codes),)
    if field.type == "decimal":
        scale = _SCALE.search(column.type)
        return (("decimal", scale[1] if scale else "2"),)
    if field.type == "date":
        return (("date", _date_pattern(column)),)
    return ()


def _date_pattern(column: Column) -> str:
    kind = column.type.lower()
    if "timestamp" in kind or "datetime" in kind:
        return "YYYY-MM-DDTHH:mm:ss"
    return "YYYYMMDD" if _EIGHT.search(kind) else "YYYY-MM-DD"


def _key(described: Described, mapped: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the columns of the key, and whether they are only a guess."""
    if described.key and set(described.key) <= set(mapped):
        return described.key, False
    named = [
        column.name
        for column in described.columns
        if column.name in mapped and (_KEY_WORDS.search(column.name) or _KEY_WORDS.search(column.comment))
    ]
    return tuple(named[:1] or mapped[:1]), True
