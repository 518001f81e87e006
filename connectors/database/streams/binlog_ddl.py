"""What a statement in the binary log means for a table.

Changes of rows stand there as rows. Statements are definitions, the ends of transactions, and what is logged as text because
somebody switched the format: that cannot be followed. Where a statement can be read in two ways, it is taken to concern us.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.i18n import N_


class Meaning(Enum):
    """What a statement does, as far as the capture of one table is concerned."""

    NOTHING = "nothing"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    XA_START = "xa start"
    XA_COMMIT = "xa commit"
    XA_ROLLBACK = "xa rollback"
    TRUNCATE = "truncate"
    ALTER = "alter"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Said:
    """A meaning; `why` what came after cannot be told (LOST), or the name of the transaction (XA)."""

    meaning: Meaning
    text: str = ""


_WORD: Final = re.compile(r"/\*(?:M?!\d*)|\*/|`(?:[^`]|``)*`|'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|[\w$]+|\S", re.DOTALL)
_COMMENT: Final = re.compile(r"/\*(?!M?!).*?\*/|--(?=\s)[^\n]*|#[^\n]*", re.DOTALL)
_XA: Final = re.compile(r"XA\s+(START|BEGIN|COMMIT|ROLLBACK)\s+X'([0-9a-f]*)'\s*,\s*X'([0-9a-f]*)'\s*,\s*(\d+)", re.IGNORECASE)
_XA_MEANINGS: Final = {
    "START": Meaning.XA_START,
    "BEGIN": Meaning.XA_START,
    "COMMIT": Meaning.XA_COMMIT,
    "ROLLBACK": Meaning.XA_ROLLBACK,
}
_LOOKED_AT: Final = 4000
"""Characters of a definition that are looked at; statements that change rows are searched whole for the table's name."""

_CHANGE: Final = re.compile(
    r"(?:\s|/\*.*?\*/)*(?:insert|update|delete|replace|load|with|call|do|select|set|"
    r"analyze\s+(?:format|insert|update|delete|replace))\b",
    re.IGNORECASE | re.DOTALL,
)
"""How statements begin that change rows; MariaDB writes SET STATEMENT before some."""

_NOTHING: Final = Said(Meaning.NOTHING)


def meaning_of(text: str, default_schema: str, schema: str, table: str) -> Said:
    """Return what a statement means for `schema`.`table`."""
    start = text.lstrip()[:12].upper()
    simple = {"BEGIN": Meaning.BEGIN, "COMMIT": Meaning.COMMIT, "ROLLBACK": Meaning.ROLLBACK}.get(start.rstrip("; \n"))
    if simple is not None:
        return Said(simple)
    if start.startswith("XA "):
        found = _XA.search(text)
        return Said(_XA_MEANINGS[found[1].upper()], f"{found[2].lower()},{found[3].lower()},{found[4]}") if found else _NOTHING
    if _CHANGE.match(text):
        named = _holds(text, table) and (default_schema.casefold() == schema.casefold() or _holds(text, schema))
        return (
            Said(Meaning.LOST, N_("a change of rows was logged as a statement, not as rows (binlog_format)"))
            if named
            else _NOTHING
        )
    if not _holds(text, table) and not _holds(text, schema):
        return _NOTHING
    return _Statement(_words(text), default_schema.casefold(), schema.casefold(), table.casefold()).said()


def _holds(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE) is not None


def _words(text: str) -> list[str]:
    bare = _COMMENT.sub(" ", text[:_LOOKED_AT])
    return [word for word in _WORD.findall(bare) if not word.startswith("/*") and word != "*/"]


def _name(token: str) -> str:
    if token[:1] in '`"' and len(token) > 1:
        return token[1:-1].replace(token[0] * 2, token[0]).casefold()
    return token.casefold()


class _Statement:
    """A statement cut into words."""

    def __init__(self, words: Sequence[str], default_schema: str, schema: str, table: str) -> None:
        self._words = [word.casefold() for word in words]
        self._names = [_name(word) for word in words]
        self._default, self._schema, self._table = default_schema, schema, table

    def said(self) -> Said:
        first = self._words[0] if self._words else ""
        match first:
            case "truncate":
                return Said(Meaning.TRUNCATE) if self._is_ours(2 if self._words[1:2] == ["table"] else 1) else _NOTHING
            case "drop":
                return self._drop()
            case "rename":
                return self._lost_if(self._mentioned(), N_("the table was renamed, or another took its name"))
            case "create":
                replaced = (
                    self._words[1:3] == ["or", "replace"] and "temporary" not in self._words[:4] and "table" in self._words[:4]
                )
                at = self._after_options(self._words.index("table") + 1) if replaced else 0
                return self._lost_if(replaced and self._is_ours(at), N_("the table was created anew"))
            case "alter":
                return self._alter()
            case _:
                return _NOTHING

    def _drop(self) -> Said:
        if self._words[1:2] in (["database"], ["schema"]):
            at = self._after_options(2)
            return self._lost_if(self._names[at : at + 1] == [self._schema], N_("the table was dropped"))
        if self._words[1:2] not in (["table"], ["tables"]):  # temporary tables among them
            return _NOTHING
        return self._lost_if(self._mentioned(), N_("the table was dropped"))

    def _alter(self) -> Said:
        if "table" not in self._words[:4] or not self._mentioned():
            return _NOTHING
        at = self._words.index("table") + 1
        pairs = list(zip(self._words[at:], [*self._words[at + 1 :], ""], strict=True))
        moved = any(a == "rename" and b not in ("column", "index", "key") for a, b in pairs)
        swapped = any(
            a in ("exchange", "truncate", "drop", "discard", "import") and b in ("partition", "tablespace") for a, b in pairs
        )
        if moved:
            return Said(Meaning.LOST, N_("the table was renamed, or another took its name"))
        if swapped:
            return Said(
                Meaning.LOST, N_("partitions or files of the table were exchanged, without a trace of the rows in the log")
            )
        return Said(Meaning.ALTER)

    def _after_options(self, at: int) -> int:
        """Return where the name stands behind IF [NOT] EXISTS."""
        if self._words[at : at + 1] != ["if"]:
            return at
        return at + (3 if self._words[at + 1 : at + 2] == ["not"] else 2)

    def _is_ours(self, at: int) -> bool:
        """Tell whether the name that begins at a word is that of our table."""
        if self._words[at + 1 : at + 2] == ["."]:
            return self._names[at : at + 3] == [self._schema, ".", self._table]
        return self._names[at : at + 1] == [self._table] and self._default in (self._schema, "")

    def _mentioned(self) -> bool:
        """Tell whether the name of our table stands anywhere."""
        for at, name in enumerate(self._names):
            if name != self._table:
                continue
            qualified = at >= 2 and self._words[at - 1] == "."
            if self._names[at - 2] == self._schema if qualified else self._default in (self._schema, ""):
                return True
        return False

    @staticmethod
    def _lost_if(condition: bool, why: str) -> Said:
        return Said(Meaning.LOST, why) if condition else _NOTHING
