"""Definitions of message types: what a standard message of a type and version consists of.

Those that ship with the product lie in config/message-types; a wheel carries them beside this module. An operator's folder
(`message_types:`) comes first, because the hub may hand out a definition before the next release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from agent.errors import SettingsError
from agent.i18n import N_
from agent.settings.base import Misfit, Raw, SettingsModel, section, setting
from agent.settings.choice import OneOf
from agent.settings.codes import Note
from agent.settings.load import load
from agent.settings.map_fields import CheckName, CodeListName, pick_codes, sources
from agent.settings.problems import Problem
from agent.settings.suggest import near
from agent.settings.types import shaped
from agent.standards.code_lists import code_list

MessageTypes = Mapping[str, "MessageTypeFile"]
"""`code@version` → definition."""

TypeCode = Annotated[
    str, shaped(N_("message type"), r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+", N_("for example realestate.ownership"))
]
FieldName = Annotated[
    str, shaped(N_("field name"), r"[a-z][a-z0-9_]{0,62}", N_("lower-case letters, digits and _, a letter first"))
]
ResourceCode = Annotated[
    str,
    shaped(N_("resource code"), r"[1-9][0-9]{5}[0-9A-Za-z]*/[0-9A-Za-z]+", N_("as in the catalogue, for example 307001/000123")),
]
AbsoluteUri = Annotated[str, shaped(N_("absolute URI"), r"[a-z][a-z0-9+.-]*:[^\s]+", N_("for example https://HOST/PATH"))]


Meanings = Annotated[
    CodeListName | Mapping[str, str],
    OneOf({"list": CodeListName, "table": Annotated[Mapping[str, str], Field(min_length=1)]}, pick_codes),
]


class Title(SettingsModel):
    """A title in both languages."""

    zh: str = setting(N_("in Chinese"), examples=("不动产单元号",), min_length=1)
    en: str = setting(N_("in English"), examples=("real-estate unit number",), min_length=1)


class MessageField(SettingsModel):
    """One field of a message type."""

    title: Title = setting(N_("title"), examples=("{zh: 不动产单元号, en: real-estate unit number}",))
    type: Literal["text", "integer", "decimal", "date", "datetime", "boolean", "code"] = setting(
        N_("type of the value"), examples=("text",)
    )
    required: bool = setting(N_("must be in every record"), default=False, examples=("true",))
    max_length: int | None = setting(N_("characters, at most"), default=None, ge=1, le=1_000_000, examples=("28",))
    codes: Meanings | None = setting(
        N_("possible codes, each with its meaning"),
        default=None,
        more=N_("For type: code. Or the name of a national code list."),
        examples=("{active: 现势}", "sex"),
    )
    check: CheckName | None = setting(N_("check of the value"), default=None, examples=("cn-id",))

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Codes and the type code belong together."""
        if raw.get("type") == "code" and raw.get("codes") is None:
            yield Misfit("HT-C032", at=("type",), details={"name": "type: code", "other": "codes"})
        if raw.get("codes") is not None and raw.get("type") in ("text", "integer", "decimal", "date", "datetime", "boolean"):
            yield Misfit("HT-C032", at=("codes",), on_key=True, details={"name": "codes", "other": "type: code"})

    def code_table(self) -> Mapping[str, str] | None:
        """Return the possible codes, each with its meaning."""
        return code_list(self.codes).codes if isinstance(self.codes, str) else self.codes


class MessageTypeFile(SettingsModel):
    """The definition of one message type in one version."""

    code: TypeCode = setting(N_("message type"), examples=("realestate.ownership",))
    version: int = setting(N_("version"), ge=1, le=9999, examples=("2",))
    title: Title = setting(N_("title"), examples=("{zh: 不动产权属, en: real-estate ownership}",))
    resource: ResourceCode = setting(N_("code of the resource in the catalogue"), examples=("307001/000001",))
    dataschema: AbsoluteUri = setting(
        N_("URI of this type and version, sent with every message"), examples=("https://HOST/TYPE/2",)
    )
    fields: Mapping[FieldName, MessageField] = setting(N_("fields"), min_length=1)

    @property
    def name(self) -> str:
        """`code@version`, as flows name it."""
        return f"{self.code}@{self.version}"

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that every record must have."""
        return tuple(name for name, field in self.fields.items() if field.required)


_PACKAGED: Final = Path(__file__).with_name("message-types")
_CHECKOUT: Final = Path(__file__).parents[2] / "config" / "message-types"


def shipped_folder() -> Path:
    """Return the folder of the definitions that are part of this release."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def load_message_types(extra: Path | None = None) -> MessageTypes:
    """Return the shipped definitions and those in `extra`, which win. Raises SettingsError with every problem in them."""
    known: dict[str, MessageTypeFile] = {}
    problems: list[object] = []
    for folder in (shipped_folder(), *((extra,) if extra else ())):
        for path in sorted(folder.glob("*.yaml")):
            try:
                definition = _read(path, path.stat().st_mtime_ns)
                known[definition.name] = definition
            except SettingsError as error:
                problems += error.problems
    if problems:
        raise SettingsError(problems=tuple(problems))
    return known


@lru_cache(maxsize=256)
def _read(path: Path, _changed_at: int) -> MessageTypeFile:
    """Read one definition; a command asks for all of them more than once, and parsing YAML is what it waits for."""
    return load([path], MessageTypeFile).value


def check_messages(raw: Raw) -> Iterator[Misfit | Problem]:
    """Check the flows of a raw agent.yaml against the definitions at hand; a `Check` of the loader."""
    extra = raw.get("message_types")
    folder = Path(extra) if isinstance(extra, str) and extra.startswith("/") else None
    if folder is not None and not folder.is_dir():
        yield Misfit("HT-C001", at=("message_types",), details={"why": Note(N_("there is no such folder"))})
    try:
        known = load_message_types(folder)
    except SettingsError as error:
        yield from (problem for problem in error.problems if isinstance(problem, Problem))
        return
    for flow, body in section(raw.get("send")).items():
        yield from _flow_misfits(("send", flow), section(body), known)


def _flow_misfits(loc: tuple[str, ...], flow: Raw, known: MessageTypes) -> Iterator[Misfit]:
    name, fields = flow.get("message"), flow.get("map")
    if not isinstance(name, str) or "@" not in name:
        return
    definition = known.get(name)
    if definition is None:
        hints = (Note(N_("known are: {names}"), {"names": ", ".join(sorted(known))}),)
        yield Misfit("HT-M001", at=(*loc, "message"), details={"name": name}, alternatives=near(name, known), hints=hints)
    elif isinstance(fields, Mapping):
        yield from _map_misfits((*loc, "map"), fields, definition)


def _map_misfits(loc: tuple[str, ...], fields: Raw, definition: MessageTypeFile) -> Iterator[Misfit]:
    for target, form in fields.items():
        field = definition.fields.get(target)
        if field is None:
            guess = near(target, [name for name in definition.fields if name not in fields])
            details = {"type": definition.name, "name": target}
            hint = Note(N_("its fields are: {names}"), {"names": ", ".join(definition.fields)})
            hints = (*_swapped(fields, target, definition), hint)
            yield Misfit("HT-M002", at=(*loc, target), on_key=True, details=details, alternatives=guess, hints=hints)
        elif (codes := field.code_table()) is not None:
            yield from _code_misfits((*loc, target), section(form), target, codes)
    missing = [name for name in definition.required if name not in fields]
    if missing:
        yield Misfit("HT-M003", at=loc, on_key=True, details={"type": definition.name, "names": ", ".join(missing)})


def _swapped(fields: Raw, target: str, definition: MessageTypeFile) -> Iterator[Note]:
    if sources(fields).get(target) in definition.fields:
        yield Note(N_("left stands the field of the message, right the column of the source: these two are swapped"))


def _code_misfits(loc: tuple[str, ...], form: Raw, target: str, codes: Mapping[str, str]) -> Iterator[Misfit]:
    hint = Note(N_("possible values: {values}"), {"values": ", ".join(codes)})
    written: dict[tuple[str, ...], object] = {("codes", source): value for source, value in section(form.get("codes")).items()}
    written |= {(name,): form[name] for name in ("const", "default") if form.get(name) is not None}
    for at, value in written.items():
        if value is not None and value not in codes:
            guess = near(str(value), codes)
            yield Misfit("HT-M007", at=(*loc, *at), details={"value": value, "field": target}, alternatives=guess, hints=(hint,))
