"""GB code lists: sex, marital status, ethnicity, education, political status. Data files beside this module, read when asked for.

Local systems use private variants under the same names (1 female and 2 male, 0 for 群众, codes without leading zero) [S]. So a
value is translated only when it is exactly a code, a name or a known other name; everything else needs a table of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

import msgspec

NAMES: Final = ("education", "ethnicity", "marital-status", "political-status", "sex")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    name: str
    aliases: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    standard: str
    confidence: str
    codes: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list. `codes` is code → name; `translations` is everything that is accepted → code, codes themselves included."""

    name: str
    title: str
    standard: str
    codes: Mapping[str, str]
    translations: Mapping[str, str]


@cache
def code_list(name: str) -> CodeList:
    """Return the list of that name. Raises KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    octets = resources.files("agent.standards").joinpath("data", f"{name}.json").read_bytes()
    file = msgspec.json.decode(octets, type=_File)
    spelt = {spelling: entry.code for entry in file.codes for spelling in (entry.code, entry.name, *entry.aliases)}
    codes = {entry.code: entry.name for entry in file.codes}
    return CodeList(file.name, file.title, file.standard, MappingProxyType(codes), MappingProxyType(spelt))
