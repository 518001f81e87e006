"""The checks a flow can name (`check: cn-id`), each for one value and for a whole column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.i18n import N_
from agent.standards import cn_id, excel, org_code, phone, region, uscc
from agent.standards.judgement import OK, Judgement

Flags = list[tuple[int, Judgement]]
"""Position and judgement of every value that is not OK, in ascending order."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `flag` judges a column and says the same as `judge` for each value; neither is asked about missing values."""

    name: str
    title: str  # catalogue key
    standard: str
    judge: Callable[[str], Judgement]
    flag: Callable[[Sequence[str]], Flags]


def _one_by_one(judge: Callable[[str], Judgement]) -> Callable[[Sequence[str]], Flags]:
    def flag(values: Sequence[str]) -> Flags:
        return [(position, judgement) for position, judgement in enumerate(map(judge, values)) if judgement is not OK]

    return flag


_ALL: Final = (
    Check("cn-id", N_("citizen id"), "GB 11643-1999", cn_id.judge, cn_id.flag),
    Check("uscc", N_("unified social credit code"), "GB 32100-2015", uscc.judge, uscc.flag),
    Check("org-code", N_("organisation code"), "GB 11714", org_code.judge, _one_by_one(org_code.judge)),
    Check("region", N_("region code"), "GB/T 2260", region.judge, _one_by_one(region.judge)),
    Check("phone", N_("telephone number"), "", phone.judge, _one_by_one(phone.judge)),
    Check("excel-damage", N_("long number that a spreadsheet may have damaged"), "", excel.judge, _one_by_one(excel.judge)),
)

CHECKS: Final[Mapping[str, Check]] = MappingProxyType({check.name: check for check in _ALL})
"""Name → check."""
