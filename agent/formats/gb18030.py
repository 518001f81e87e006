"""GB18030 as departments write it.

Three differences from Python's codec, which follows the tables of 2000 and 2005:

- A byte 0x80 where a character begins is the euro sign of Windows code page 936.
- Characters that those tables put into the private use area are given the code points that GB 18030-2022 assigns.
- So are private use code points that old GBK software wrote in their stead (䶮 of 龙天 as U+E863).

Other private use code points are the writer's own characters and stay as they are.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

CODEC: Final = "gb18030"
_EURO_BYTE: Final = 0x80
_EURO: Final = "€".encode(CODEC)
_CHARACTERS: Final = re.compile(rb"(?:[\x00-\x7f]|[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[\x30-\x39][\x81-\xfe][\x30-\x39]))*+")

# FE50–FE7E and FE80–FEA0 of GBK, in order; their private use code points are U+E815–U+E864.
_FE50: Final = (
    "⺁𠂇𠂉𠃌⺄㑳㑇⺈⺋龴㖞㘚㘎⺌⺗㥮㤘龵㧏㧟㩳㧐龶龷㭎㱮㳠⺧𡗗龸⺪䁖䅟⺮䌷⺳⺶⺷𢦏䎱"
    "䎬⺻䏝䓖䙡䙌龹䜣䜩䝼䞍⻊䥇䥺䥽䦂䦃䦅䦆䦟䦛䦷䦶龺𤇾䲣䲟䲠䲡䱷䲢䴓䴔䴕䴖䴗䴘䴙䶮龻"
)
_VERTICAL_FORMS: Final = "\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19"  # A6D9–A6DF, A6EC, A6ED, A6F3
_DESCRIPTIONS: Final = "〾⿰⿱⿲⿳⿴⿵⿶⿷⿸⿹⿺⿻"  # A989–A995

REAL_CODE_POINTS: Final = MappingProxyType(
    {
        0xE76C: "€",  # A2E3
        **dict(zip(range(0xE78D, 0xE797), _VERTICAL_FORMS, strict=True)),
        0xE7C7: "\u1e3f",  # A8BC
        0xE7C8: "\u01f9",  # A8BF
        **dict(zip(range(0xE7E7, 0xE7F4), _DESCRIPTIONS, strict=True)),
        **dict(zip(range(0xE815, 0xE865), _FE50, strict=True)),
    }
)
"""Private use code point → the character that GB 18030-2022 means."""

_PRIVATE_USE: Final = re.compile("[\ue76c\ue78d-\ue796\ue7c7\ue7c8\ue7e7-\ue7f3\ue815-\ue864]")


def decode(octets: bytes) -> tuple[str, int]:
    """Return the text and how many private use code points were replaced. Raises UnicodeDecodeError."""
    try:
        text = octets.decode(CODEC)
    except UnicodeDecodeError as error:
        text = _decode_with_euro(octets, error)
    return replace_private_use(text)


def replace_private_use(text: str) -> tuple[str, int]:
    """Return the text with real code points, and how many were replaced."""
    if text.isascii() or _PRIVATE_USE.search(text) is None:
        return text, 0
    return _PRIVATE_USE.subn(lambda found: REAL_CODE_POINTS[ord(found[0])], text)


def _decode_with_euro(octets: bytes, error: UnicodeDecodeError) -> str:
    pieces: list[bytes] = []
    at = 0
    while at < len(octets):
        run = _CHARACTERS.match(octets, at)
        assert run is not None  # it matches nothing, too
        at = run.end()
        pieces.append(run[0])
        if at < len(octets):
            if octets[at] != _EURO_BYTE:
                raise error
            pieces.append(_EURO)
            at += 1
    return b"".join(pieces).decode(CODEC)
