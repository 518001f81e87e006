"""When a flow runs: `every` so often, or by a cron expression.

Weekdays are names, because their numbers mean different days in different programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

from agent.i18n import N_
from agent.settings.base import Misfit, Raw
from agent.settings.codes import Note
from agent.settings.types import Spelled, need_text

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRONTAB: Final = ("sun", *WEEKDAYS)  # crontab(5): 0 and 7 are Sunday

_FIELDS: Final = (
    (N_("minute"), 0, 59, ()),
    (N_("hour"), 0, 23, ()),
    (N_("day of month"), 1, 31, ()),
    (N_("month"), 1, 12, MONTHS),
    (N_("day of week"), 0, 0, WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class CronExpression:
    """A checked cron expression. Weekdays are names, so that no scheduler can read them differently."""

    minute: str
    hour: str
    day: str
    month: str
    weekday: str

    def __str__(self) -> str:
        return f"{self.minute} {self.hour} {self.day} {self.month} {self.weekday}"


def parse_cron(value: object) -> CronExpression:
    """Return the expression; each of the five fields is a list of `*`, `a`, `a-b`, with an optional `/step`."""
    text = need_text(value)
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise _wrong(text, Note(N_("it has {count} fields instead of five"), {"count": len(parts)}))
    for part, (name, low, high, words) in zip(parts, _FIELDS, strict=True):
        if not all(_item_fits(item, low, high, words) for item in part.split(",")):
            raise _wrong_field(text, parts, part, name, words)
    return CronExpression(*parts)


def _item_fits(item: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    body, slash, step = item.partition("/")
    if slash and (re.fullmatch(r"[0-9]{1,2}", step) is None or int(step) == 0):
        return False
    if body == "*":
        return True
    first, dash, last = body.partition("-")
    if not dash:
        return not slash and _rank(first, low, high, words) is not None
    start, end = _rank(first, low, high, words), _rank(last, low, high, words)
    return start is not None and end is not None and start <= end


def _rank(text: str, low: int, high: int, words: tuple[str, ...]) -> int | None:
    if text in words:
        return words.index(text) + 1
    if high and re.fullmatch(r"[0-9]{1,2}", text) and low <= int(text) <= high:
        return int(text)
    return None


def _wrong(text: str, why: Note, alternatives: tuple[str, ...] = (), hints: tuple[Note, ...] = ()) -> Exception:
    return Misfit("HT-C022", details={"value": text, "why": why}, alternatives=alternatives, hints=hints).error()


def _wrong_field(text: str, parts: list[str], part: str, name: str, words: tuple[str, ...]) -> Exception:
    if words is not WEEKDAYS or not any(character.isdigit() for character in part):
        return _wrong(text, Note(N_("{part} is not possible as {field}"), {"part": part, "field": Note(name)}))
    named = re.sub(r"(?<![/0-9])[0-7](?![0-9])", lambda digit: _CRONTAB[int(digit[0])], part)
    guess = (" ".join((*parts[:4], named)),) if all(_item_fits(item, 0, 0, WEEKDAYS) for item in named.split(",")) else ()
    hint = Note(N_("weekdays are written as names: in crontab 1 is Monday, in other programs Sunday or Tuesday"))
    return _wrong(text, Note(N_("the day of week {part} is a number"), {"part": part}), guess, (hint,))


Cron = Annotated[CronExpression, Spelled(N_("cron expression"), parse_cron, python=CronExpression)]


def one_schedule(raw: Raw) -> Iterator[Misfit]:
    """Yield a misfit unless exactly one of `every` and `cron` is given."""
    every, cron = raw.get("every") is not None, raw.get("cron") is not None
    if every == cron:
        yield Misfit("HT-C023", at=("cron",) if cron else (), on_key=cron, details={"names": "every, cron"})
