"""What an operator wrote under `map:`, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from types import EllipsisType

from agent.model import Value


class OnFail(StrEnum):
    """What becomes of a record with a value that does not pass."""

    QUARANTINE = "quarantine"  # the record is put aside
    WARN = "warn"  # the value is sent as it is, and listed
    EMPTY = "empty"  # the value counts as missing, and is listed


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of the message: `source` names its column, or `const` is its value in every record.

    At most one of `codes` (a table, or the name of a GB code list), `date` (a pattern such as YYYYMMDD, YYYY/M/D or epoch-ms),
    `decimal` (digits behind the point), `integer` and `boolean` converts the value.

    Missing is NULL and, where it can mean nothing else, the empty text: for every conversion, for `required` and for `default`.
    In a plain field without those, NULL and the empty text stay what they are. `required` is not softened by `on_fail`.
    """

    target: str
    source: str | None = None
    _: KW_ONLY
    const: Value | EllipsisType = ...
    codes: Mapping[str, Value] | str | None = None
    date: str | None = None
    decimal: int | None = None
    integer: bool = False
    boolean: bool = False
    trim: bool = False
    required: bool = False
    default: Value = None
    check: str | None = None
    max_length: int | None = None  # characters
    on_fail: OnFail = OnFail.QUARANTINE

    def __post_init__(self) -> None:
        if (self.decimal is not None and self.decimal < 0) or (self.max_length is not None and self.max_length < 1):
            raise ValueError(f"{self.target}: decimal and max_length count digits and characters")


@dataclass(frozen=True, slots=True)
class MapSpec:
    """All fields in the order of the message, the key as source columns, and the zone of times that have none.

    `same_names` adds every column that no field reads, under its own name.
    """

    fields: tuple[FieldSpec, ...]
    key: tuple[str, ...]
    same_names: bool = False
    timezone: str = "Asia/Shanghai"

    def columns(self) -> tuple[str, ...]:
        """Return the source columns that are needed, each once; none means all there are."""
        if self.same_names:
            return ()
        named = (field.source for field in self.fields if field.source is not None)
        return tuple(dict.fromkeys((*self.key, *named)))
