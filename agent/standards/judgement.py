"""What a check says about one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from agent.i18n import N_


class Severity(StrEnum):
    """What follows: OK passes, WARN is kept and listed for a person to look at, ERROR puts the record aside."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A severity and, unless it is OK, the stable word for the reason."""

    severity: Severity
    reason: str = ""


OK: Final = Judgement(Severity.OK)


def warn(reason: str) -> Judgement:
    """Return a warning."""
    return Judgement(Severity.WARN, reason)


def error(reason: str) -> Judgement:
    """Return an error."""
    return Judgement(Severity.ERROR, reason)


REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cn_id_shape": N_("not a citizen id: 18 characters are needed, 17 digits and a digit or X"),
        "cn_id_birth_date": N_("not a citizen id: digits 7 to 14 are no date"),
        "cn_id_future": N_("not a citizen id: born after today"),
        "cn_id_check_digit": N_("not a citizen id: the last character does not agree with the others"),
        "cn_id_15_digits": N_("a citizen id of 15 digits, as issued before 1999: it has no check digit"),
        "uscc_shape": N_("not a social credit code: 18 characters are needed, digits and capital letters without I, O, S, V, Z"),
        "uscc_check": N_("not a social credit code: neither the check character nor the organisation code in it is right"),
        "uscc_check_outer": N_("to be verified: the check character is wrong, the organisation code in it is right"),
        "org_code_shape": N_("not an organisation code: 8 digits or capital letters and a check character are needed"),
        "org_code_check": N_("not an organisation code: the check character is wrong"),
        "region_shape": N_("not a region code: 6, 9 or 12 digits are needed"),
        "region_head": N_("the first two digits are no province"),
        "phone_shape": N_("does not look like a telephone number"),
        "excel_scientific": N_("a spreadsheet turned the number into scientific notation: its last digits are lost"),
        "excel_truncated": N_("ends in 000: a spreadsheet probably cut off the last digits"),
    }
)
"""Reason → catalogue key of its explanation."""
