"""Why a value cannot be sent. Never the value itself: it may be somebody's name or number."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from agent.errors import BadRecord
from agent.i18n import N_
from agent.mapping.shape import shape
from agent.model import Value
from agent.standards.judgement import REASONS as CHECK_REASONS


class Unfit(Exception):
    """Raised while one value is converted; the mapper makes a `BadRecord` of it."""

    def __init__(self, reason: str, **details: object) -> None:
        self.reason = reason
        self.details = details
        super().__init__(reason)


class Irregular(ValueError):
    """Raised while a column is converted at once: something in it needs a closer look."""


REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "required": N_("the value is missing"),
        "key_missing": N_("the key is missing"),
        "too_long": N_("{length} characters, {limit} are the limit"),
        "code_unknown": N_("not in the code table; it looks like {shape}"),
        "date_format": N_("not written as {pattern}; it looks like {shape}"),
        "date_invalid": N_("there is no such date or time; it looks like {shape}"),
        "decimal_format": N_("not a number; it looks like {shape}"),
        "decimal_grouping": N_("a number with separators between its digits; it looks like {shape}"),
        "decimal_fullwidth": N_("a number in full-width characters; it looks like {shape}"),
        "decimal_exponent": N_("a number in scientific notation; it looks like {shape}"),
        "decimal_scale": N_("more than {scale} digits behind the point; it looks like {shape}"),
        "integer_format": N_("not a whole number; it looks like {shape}"),
        "boolean_format": N_("neither yes nor no; it looks like {shape}"),
        "not_a_number": N_("infinite, or not a number"),
        "nul_character": N_("contains the character U+0000"),
        "lone_surrogate": N_("contains half of a character (a surrogate)"),
        "type_unsupported": N_("a value of type {type} cannot be sent"),
        **CHECK_REASONS,
    }
)
"""Reason → catalogue key of its explanation. The field stands beside it in the error."""


def bad_record(unfit: Unfit, field: str, column: str, value: Value) -> BadRecord:
    """Return the error of a field: reason, field, column and the shape of the value."""
    return BadRecord(
        REASONS[unfit.reason], reason=unfit.reason, field=field, hint=None, column=column, shape=shape(value), **unfit.details
    )
