"""How the source writes dates: `YYYYMMDD`, `YYYY-M-D HH:mm:ss`, `epoch-ms`.

What is accepted here is exactly what the mapping can compile; a test holds the two together.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from agent.i18n import N_
from agent.settings.base import Misfit
from agent.settings.types import Spelled, need_text

EPOCHS: Final = ("epoch-s", "epoch-ms")

_TOKENS: Final = re.compile(r"YYYY|MM?|DD?|HH?|mm?|ss?|S+|Z|.", re.DOTALL)
_UNITS: Final = "YMDHmsS"  # from coarse to fine
_OTHER_CLOCKS: Final = (("HH24", "HH"), ("hh24", "HH"), ("hh", "HH"), ("MM", "mm"), ("MI", "mm"), ("mi", "mm"), ("SS", "ss"))
_OTHER_SPELLINGS: Final = (("yyyy", "YYYY"), ("%Y", "YYYY"), ("%m", "MM"), ("%d", "DD"), ("%H", "HH"), ("%M", "mm"), ("%S", "ss"))


def parse_date_pattern(value: object) -> str:
    """Return a pattern of YYYY, MM, DD, HH, mm, ss, S, Z and separators, or the name of a count since 1970."""
    text = need_text(value)
    if text in EPOCHS or _is_pattern(text):
        return text
    guess = _respelt(text)
    alternatives = (guess,) if guess != text and _is_pattern(guess) else ()
    raise Misfit("HT-M008", details={"value": text}, alternatives=alternatives).error()


def _is_pattern(text: str) -> bool:
    units = []
    for part in _TOKENS.findall(text):
        if part[0] in _UNITS + "Z" and part != "Y":
            units.append(part[0])
        elif re.match(r"[A-Za-z0-9]", part) and part != "T":
            return False
    clock = [unit for unit in units if unit != "Z"]
    complete = set(clock) == set(_UNITS[: len(clock)]) and len(clock) not in (0, 4)
    return complete and (units.count("Z") == 0 or (units.count("Z") == 1 and "H" in units))


def _respelt(text: str) -> str:
    """Return a pattern written in the manner of Java, Oracle or C in ours."""
    for theirs, ours in _OTHER_SPELLINGS:
        text = text.replace(theirs, ours)
    date, gap, time = re.fullmatch(r"([^\sT]*)([\sT]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    for theirs, ours in _OTHER_CLOCKS:
        time = time.replace(theirs, ours)
    return f"{date.upper()}{gap}{time}"


DatePattern = Annotated[str, Spelled(N_("date pattern"), parse_date_pattern)]
