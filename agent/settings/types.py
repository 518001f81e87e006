"""The value types of settings that are more than text, number or boolean.

Each is an annotation: the Python type behind it, a parser from the text that stands in YAML, and what the JSON Schema and the
field reference call it. Parsers raise `Misfit.error()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from agent.i18n import N_
from agent.settings.base import Misfit
from agent.settings.codes import Note, code_info
from agent.settings.suggest import near


@dataclass(frozen=True, slots=True)
class Spelled:
    """Annotation for a type that is spelt as text in YAML. `word` is its name in the reference, a catalogue key."""

    word: str
    parse: Callable[[object], Any]
    pattern: str = ""
    python: type = str
    show: Callable[[Any], str] = str
    json_types: tuple[str, ...] = ("string",)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        kinds = self.json_types[0] if len(self.json_types) == 1 else list(self.json_types)
        return {"type": kinds, "x-type": self.word} | ({"pattern": f"^({self.pattern})$"} if self.pattern else {})

    def _read(self, value: object) -> Any:
        return value if self.python is not str and isinstance(value, self.python) else self.parse(value)


def need_text(value: object) -> str:
    """Return `value` if it is text; otherwise raise what the operator must be told."""
    if isinstance(value, str):
        return value
    raise Misfit("HT-C013", details={"expected": Note(N_("text")), "actual": named_type(value)}).error()


def named_type(value: object) -> Note:
    """Return what an operator calls the type of a value."""
    match value:
        case None:
            return Note(N_("nothing"))
        case bool():
            return Note(N_("true or false"))
        case int() | float():
            return Note(N_("a number"))
        case str():
            return Note(N_("text"))
        case list() | tuple():
            return Note(N_("a list"))
        case _:
            return Note(N_("a section with fields"))


# -- durations and sizes ---------------------------------------------------------------------------------------------

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_duration(value: object) -> timedelta:
    """Return the duration that `30s`, `10m`, `2h`, `1d` or `500ms` says."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        guess = (f"{value}s",) if isinstance(value, int) and not isinstance(value, bool) else ()
        raise Misfit("HT-C016", details={"value": value}, alternatives=guess).error()
    return timedelta(milliseconds=int(match[1]) * _UNIT_MS[match[2]])


def format_duration(value: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back."""
    left = round(value / timedelta(milliseconds=1))
    unit = next(name for name in ("d", "h", "m", "s", "ms") if left % _UNIT_MS[name] == 0 and (left or name == "s"))
    return f"{left // _UNIT_MS[unit]}{unit}"


def parse_size(value: object) -> int:
    """Return the number of bytes that `512MiB` says."""
    match = re.fullmatch(r"([0-9]{1,12})(B|KiB|MiB|GiB|TiB)", value) if isinstance(value, str) else None
    if match is None:
        raise Misfit("HT-C017", details={"value": value}, alternatives=_size_guess(value)).error()
    return int(match[1]) * _UNIT_BYTES[match[2]]


def _size_guess(value: object) -> tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return (format_size(value),)
    match = re.fullmatch(r"([0-9]{1,12})\s*([KMGT])i?B?", value, re.IGNORECASE) if isinstance(value, str) else None
    return (f"{match[1]}{match[2].upper()}iB",) if match else ()


def format_size(value: int) -> str:
    """Return the shortest text that `parse_size` reads back."""
    unit = next(name for name in ("TiB", "GiB", "MiB", "KiB", "B") if value % _UNIT_BYTES[name] == 0 and (value or name == "B"))
    return f"{value // _UNIT_BYTES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Within:
    """Annotation: the value lies between two texts of its own type, both included."""

    least: str
    most: str
    read: Callable[[object], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-range": f"{self.least} … {self.most}"}

    def _check(self, value: Any) -> Any:
        if self.read(self.least) <= value <= self.read(self.most):
            return value
        shown = format_duration(value) if isinstance(value, timedelta) else format_size(value)
        raise Misfit("HT-C015", details={"value": shown, "range": f"{self.least} … {self.most}"}).error()


def lasting(least: str, most: str) -> Within:
    """Return the annotation that limits a duration."""
    return Within(least, most, parse_duration)


def sized(least: str, most: str) -> Within:
    """Return the annotation that limits a size."""
    return Within(least, most, parse_size)


Duration = Annotated[timedelta, Spelled(N_("duration"), parse_duration, r"[0-9]+(ms|s|m|h|d)", timedelta, format_duration)]
"""`30s` → timedelta."""

Size = Annotated[int, Spelled(N_("size"), parse_size, r"[0-9]+(B|KiB|MiB|GiB|TiB)", show=format_size)]
"""`512MiB` → bytes."""

# -- secrets and paths -----------------------------------------------------------------------------------------------

SECRET_NAME: Final = r"[a-z][a-z0-9_]{0,62}"  # noqa: S105 - the form of a name


@dataclass(frozen=True, slots=True)
class SecretName:
    """A reference to a secret, never its value."""

    name: str

    def __str__(self) -> str:
        return f"secret:{self.name}"


def parse_secret(value: object) -> SecretName:
    """Return the name in `secret:name`; anything else might be the secret itself and is never repeated."""
    match = re.fullmatch(f"secret:({SECRET_NAME})", value) if isinstance(value, str) else None
    if match is None:
        raise Misfit("HT-C019", hints=(Note(N_("a name is lower-case letters, digits and _")),)).error()
    return SecretName(match[1])


def parse_path(value: object) -> Path:
    """Return an absolute path."""
    text = need_text(value)
    if not text.startswith("/") or "\0" in text:
        raise Misfit("HT-C020", details={"value": text}).error()
    return Path(text)


Secret = Annotated[SecretName, Spelled(N_("name of a secret"), parse_secret, f"secret:{SECRET_NAME}", SecretName)]
AbsolutePath = Annotated[Path, Spelled(N_("absolute path"), parse_path, r"/.*", Path)]

# -- names -----------------------------------------------------------------------------------------------------------


def shaped(word: str, pattern: str, rule: str) -> Spelled:
    """Return the annotation of a text that must match `pattern` as a whole; `word` and `rule` are catalogue keys."""
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        text = need_text(value)
        if compiled.fullmatch(text) is None:
            raise Misfit("HT-C018", details={"value": text, "what": Note(word)}, hints=(Note(rule),)).error()
        return text

    return Spelled(word, parse, pattern)


NodeCode = Annotated[
    str, shaped(N_("node code"), r"[a-z0-9-]{2,32}", N_("2 to 32 lower-case letters, digits and -; assigned by the hub"))
]
FlowId = Annotated[
    str,
    shaped(N_("flow id"), r"[a-z][a-z0-9-]{0,62}", N_("lower-case letters, digits and -, a letter first, at most 63; permanent")),
]
ConnectionName = Annotated[
    str, shaped(N_("connection name"), r"[a-z][a-z0-9_-]{0,62}", N_("lower-case letters, digits, - and _, a letter first"))
]
MessageTypeName = Annotated[
    str,
    shaped(N_("message type"), r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+@[1-9][0-9]{0,3}", N_("for example realestate.ownership@2")),
]
Host = Annotated[
    str, shaped(N_("host"), r"/[^\0]+|[A-Za-z0-9._:-]{1,253}", N_("a host name or address, or the directory of a local socket"))
]
Listen = Annotated[
    str, shaped(N_("address and port"), r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", N_("for example 127.0.0.1:9464"))
]
DayHours = Annotated[
    str,
    shaped(
        N_("hours of the day"),
        r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]",
        N_("from and until, for example 22:00-06:00"),
    ),
]
ColumnName = Annotated[str, shaped(N_("column name"), r"[^\0]{1,256}", N_("the name as it stands in the source, case included"))]
TableName = Annotated[
    str, shaped(N_("table name"), r"[^\0.]{1,128}(\.[^\0.]{1,128}){0,2}", N_("table, or schema.table, without quotes"))
]


def parse_time_zone(value: object) -> str:
    """Return the name of a known time zone."""
    text = need_text(value)
    if text in available_timezones():
        ZoneInfo(text)
        return text
    hints = (Note(code_info("HT-C021").fix),)  # people in China look for a city of their own province
    raise Misfit("HT-C021", details={"value": text}, alternatives=near(text, available_timezones()), hints=hints).error()


TimeZone = Annotated[str, Spelled(N_("time zone"), parse_time_zone)]
