"""The `map:` of a flow: left the field of the standard message, right where its value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, section, setting, texts
from agent.settings.choice import OneOf
from agent.settings.codes import Note
from agent.settings.date_pattern import DatePattern
from agent.settings.types import ColumnName, Spelled, named_type
from agent.standards.code_lists import code_list

SAME_NAMES: Final = "same-names"

Plain = str | int | bool | None
"""What a constant may be. A number with a fraction is written as text, so that it never becomes a float."""


def parse_plain(value: object) -> Plain:
    """Return a constant."""
    if value is None or isinstance(value, (str, int, bool)):
        return value
    guess = (f'"{value}"',) if isinstance(value, float) else ()
    expected = Note(N_("text, a whole number, or true or false"))
    raise Misfit("HT-C013", details={"expected": expected, "actual": named_type(value)}, alternatives=guess).error()


Constant = Annotated[Any, Spelled(N_("constant"), parse_plain, json_types=("string", "integer", "boolean", "null"))]

CheckName = Literal["cn-id", "uscc", "org-code", "region", "phone", "excel-damage"]
"""The checks of agent.standards, by name."""

CodeListName = Literal["education", "ethnicity", "marital-status", "political-status", "sex"]
"""The code lists of agent.standards, by name."""


def pick_codes(value: object) -> str:
    """Return the form of a `codes:`, the name of a list or a table."""
    if isinstance(value, (str, Mapping)):
        return "list" if isinstance(value, str) else "table"
    expected = Note(N_('the name of a code list, or a table such as {"1": active}'))
    raise Misfit("HT-C013", details={"expected": expected, "actual": named_type(value)}).error()


Codes = Annotated[
    CodeListName | Mapping[str, Constant],
    OneOf({"list": CodeListName, "table": Annotated[Mapping[str, Constant], Field(min_length=1)]}, pick_codes),
]


class MappedField(SettingsModel):
    """A field filled from a column, with what happens to the value on the way."""

    from_: ColumnName = setting(N_("column of the source"), alias="from", examples=("qlrzjh",))
    codes: Codes | None = setting(
        N_("code table: value of the source to value of the standard"),
        default=None,
        more=N_(
            "Or the name of a national code list, which takes codes and names. A value that is not in it is an error of that "
            "record."
        ),
        examples=('{"1": active, "2": cancelled}', "sex"),
    )
    date: DatePattern | None = setting(
        N_("how the source writes the date"),
        default=None,
        more=N_(
            "Of YYYY, MM or M, DD or D, HH or H, mm, ss, S for each digit of a fraction, Z for an offset, and separators; "
            "epoch-s or epoch-ms for numbers since 1970."
        ),
        examples=("YYYYMMDD",),
    )
    decimal: int | None = setting(
        N_("digits after the decimal point"),
        default=None,
        ge=0,
        le=18,
        more=N_("The value becomes an exact decimal number; more digits than these are an error of that record."),
        examples=("2",),
    )
    required: bool = setting(
        N_("must not be empty"),
        default=False,
        more=N_("Fields that the message type requires are required anyway."),
        examples=("true",),
    )
    check: CheckName | None = setting(
        N_("check of the value"),
        default=None,
        more=N_(
            "cn-id: citizen identity number (GB 11643). uscc: unified social credit code (GB 32100). org-code: organisation code "
            "(GB 11714). region: administrative division. phone: telephone number. excel-damage: a long number that lost its end."
        ),
        examples=("cn-id",),
    )
    trim: bool = setting(N_("remove white space at both ends"), default=False, examples=("true",))
    default: Constant = setting(N_("value when the source has none"), default=None, examples=('"0"',))
    on_fail: Literal["quarantine", "warn", "empty"] = setting(
        N_("when the value does not pass"),
        default="quarantine",
        more=N_(
            "quarantine: the record is put aside with the reason. warn: the value is sent as it is and counted. empty: the field "
            "is sent empty and counted."
        ),
        examples=("warn",),
    )

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """One value has one meaning, and a required field no default."""
        meanings = [name for name in ("codes", "date", "decimal") if raw.get(name) is not None]
        for name in meanings[1:]:
            yield Misfit("HT-C033", at=(name,), on_key=True, details={"name": name, "other": meanings[0]})
        if raw.get("required") is True and raw.get("default") is not None:
            yield Misfit("HT-C033", at=("default",), on_key=True, details={"name": "default", "other": "required"})

    def code_table(self) -> Mapping[str, Plain] | None:
        """Return what `codes` says as a table: value of the source → value of the standard."""
        return code_list(self.codes).translations if isinstance(self.codes, str) else self.codes


class ConstantField(SettingsModel):
    """A field that has the same value in every record."""

    const: Constant = setting(N_("the value"), examples=('"510100"',))


def _form(value: object) -> str:
    if isinstance(value, (str, MappedField, ConstantField)):
        return {str: "column", MappedField: "field", ConstantField: "const"}[type(value)]
    if not isinstance(value, Mapping):
        expected = Note(N_("the name of a column, or a section such as {from: COLUMN}"))
        raise Misfit("HT-C013", details={"expected": expected, "actual": named_type(value)}).error()
    if "const" in value and "from" in value:
        raise Misfit("HT-C033", at=("const",), on_key=True, details={"name": "const", "other": "from"}).error()
    return "const" if "const" in value else "field"


FieldForm = Annotated[
    str | MappedField | ConstantField, OneOf({"column": ColumnName, "field": MappedField, "const": ConstantField}, _form)
]


def _map_form(value: object) -> str:
    if isinstance(value, Mapping):
        return "fields"
    if value == SAME_NAMES:
        return SAME_NAMES
    expected = Note(N_("lines of the form STANDARD_FIELD: COLUMN, or same-names"))
    guess = (SAME_NAMES,) if isinstance(value, str) else ()
    raise Misfit("HT-C013", details={"expected": expected, "actual": named_type(value)}, alternatives=guess).error()


FlowMap = Annotated[
    Literal["same-names"] | Mapping[str, FieldForm],
    OneOf({SAME_NAMES: Literal["same-names"], "fields": Mapping[str, FieldForm]}, _map_form),
]
"""`same-names`, or target → FieldForm."""


def sources(raw: object) -> dict[str, str]:
    """Return target → column of a raw map, as far as it can be read; constants have no column."""
    columns: dict[str, str] = {}
    for target, form in section(raw).items():
        column = form if isinstance(form, str) else section(form).get("from")
        if isinstance(column, str):
            columns[target] = column
    return columns


def places_of(flow: Raw, column: str) -> Iterator[tuple[str | int, ...]]:
    """Yield where a raw flow names a column of its source: in `from`, then in the map."""
    source, fields = section(flow.get("from")), section(flow.get("map"))
    for name in ("key", "columns"):
        yield from (("from", name, index) for index, one in enumerate(texts(source.get(name))) if one == column)
    if source.get("cursor") == column:
        yield "from", "cursor"
    for target, one in sources(fields).items():
        if one == column:
            yield ("map", target) if isinstance(fields[target], str) else ("map", target, "from")


def key_misfits(raw: Raw) -> Iterator[Misfit]:
    """Yield what is wrong with the mapping of the key columns of a flow."""
    fields = raw.get("map")
    if not isinstance(fields, Mapping):
        return
    columns = sources(fields)
    key = texts(section(raw.get("from")).get("key"))
    for index, column in enumerate(key):
        if column not in columns.values():
            yield Misfit("HT-M005", at=("from", "key", index), details={"name": column})
    for target, column in columns.items():
        form = section(fields[target])
        if column in key and form.get("default") is not None:
            yield Misfit("HT-M006", at=("map", target, "default"), on_key=True, details={"what": Note(N_("given a default"))})
        if column in key and form.get("on_fail") == "empty":
            yield Misfit("HT-M006", at=("map", target, "on_fail"), details={"what": Note(N_("left empty"))})
