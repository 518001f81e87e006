"""Every field of a settings model, for the field reference, `huitong explain` and the JSON Schema."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agent.i18n import N_
from agent.settings.base import SettingsModel
from agent.settings.choice import OneOf
from agent.settings.codes import Note
from agent.settings.types import Spelled, Within, format_duration, format_size


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One field. `path` is as `huitong explain` takes it, with `*` for names that operators choose.

    `form` says in which form of its section the field exists (`from: file_drop`), empty when there is one form only.
    """

    path: str
    title: str
    more: str
    type: Note
    required: bool
    default: str | None
    examples: tuple[str, ...]
    range: Note | None
    choices: tuple[str, ...]
    since: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What an annotation amounts to."""

    type: Note
    choices: tuple[str, ...] = ()
    range: Note | None = None
    show: Any = None
    members: tuple[tuple[str, str, Any], ...] = ()  # (path suffix, form, annotation) to describe in their turn


@dataclass(slots=True)
class _Limits:
    least: object = None
    most: object = None
    shortest: int | None = None
    longest: int | None = None
    extra: list[object] = field(default_factory=list)


def field_docs(model: type[SettingsModel], prefix: str = "") -> Iterator[FieldDoc]:
    """Yield the fields of a model and of the sections in it, in the order of their declaration."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        shape = _shape(info.annotation, tuple(info.metadata))
        yield _doc(path, info, shape)
        yield from _members(path, shape)


def _members(path: str, shape: _Shape, form: str = "") -> Iterator[FieldDoc]:
    for suffix, name, annotation in shape.members:
        inner = form or name
        if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
            for doc in field_docs(annotation, f"{path}{suffix}."):
                yield replace(doc, form=doc.form or inner)
        else:
            yield from _members(f"{path}{suffix}", _shape(annotation, ()), inner)


def _doc(path: str, info: FieldInfo, shape: _Shape) -> FieldDoc:
    extra: Any = info.json_schema_extra
    return FieldDoc(
        path=path,
        title=info.title or "",
        more=extra["x-more"],
        type=shape.type,
        required=info.is_required(),
        default=None if info.is_required() else _default(info, shape),
        examples=tuple(extra["x-examples"]),
        range=shape.range,
        choices=shape.choices,
        since=extra["x-since"],
    )


def _default(info: FieldInfo, shape: _Shape) -> str | None:
    value = info.default
    if value is None or value is PydanticUndefined or isinstance(value, SettingsModel) or value in ({}, (), ""):
        return None
    return plain_default(value, shape.show)


def plain_default(value: object, show: Any = None) -> str:
    """Return a default as it would be written in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return format_duration(value)
    return str(show(value)) if show else str(value)


def _shape(annotation: Any, metadata: tuple[Any, ...]) -> _Shape:
    if get_origin(annotation) is Annotated:
        inner, *own = get_args(annotation)
        return _shape(inner, (*own, *metadata))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if len(parts) == 1:
            return _shape(parts[0], metadata)
    for item in metadata:
        if isinstance(item, OneOf):
            return _choice_shape(item)
    limits = _limits(metadata)
    for item in metadata:
        if isinstance(item, Spelled):
            return _Shape(Note(item.word), range=_range(limits), show=item.show)
    return replace(_plain_shape(annotation), range=_range(limits))


def _choice_shape(choice: OneOf) -> _Shape:
    forms = tuple(("", name, form) for name, form in choice.forms.items())
    words = Note(N_("one of several forms: {forms}"), {"forms": ", ".join(choice.forms)})
    return _Shape(words, members=forms)


def _plain_shape(annotation: Any) -> _Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _Shape(Note(N_("one of the listed values")), choices=tuple(str(value) for value in arguments))
    if origin is tuple:
        return _Shape(Note(N_("list: {item}"), {"item": _shape(arguments[0], ()).type}))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = _shape(arguments[1], ())
        members = inner.members or (("", "", arguments[1]),)
        return _Shape(
            Note(N_("section with names of your own")), members=tuple((f".*{at}", form, type_) for at, form, type_ in members)
        )
    if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
        return _Shape(Note(N_("section")), members=(("", "", annotation),))
    words = {str: N_("text"), int: N_("whole number"), bool: N_("true or false")}
    return _Shape(Note(words.get(annotation, N_("any value"))))


def _limits(metadata: tuple[Any, ...]) -> _Limits:
    limits = _Limits()
    for item in metadata:
        match item:
            case annotated_types.Ge(ge=value):
                limits.least = value
            case annotated_types.Le(le=value):
                limits.most = value
            case annotated_types.MinLen(min_length=value):
                limits.shortest = value
            case annotated_types.MaxLen(max_length=value):
                limits.longest = value
            case Within():
                limits.extra.append(item)
            case _:
                pass
    return limits


def _range(limits: _Limits) -> Note | None:
    for item in limits.extra:
        if isinstance(item, Within):
            return Note("{least} … {most}", {"least": item.least, "most": item.most})
    if limits.least is not None or limits.most is not None:
        return Note("{least} … {most}", {"least": limits.least, "most": "" if limits.most is None else limits.most})
    if limits.longest is not None or (limits.shortest or 0) > 1:
        return Note(N_("length {least} … {most}"), {"least": limits.shortest or 0, "most": limits.longest or ""})
    return None


def find_fields(docs: list[FieldDoc], wanted: str) -> list[FieldDoc]:
    """Return the fields an operator may mean: the whole path, with names in place of `*`, or its last parts."""
    wanted = re.sub(r"\.\d+(?=\.|$)", "", wanted.strip("."))
    exact = [doc for doc in docs if fnmatchcase(wanted, doc.path) or doc.path == wanted]
    if exact:
        return exact
    loose = re.compile(r"(.*\.)?" + r"\.(\*\.)?".join(re.escape(part).replace(r"\*", ".*") for part in wanted.split(".")))
    return [doc for doc in docs if loose.fullmatch(doc.path)]


__all__ = ["FieldDoc", "field_docs", "find_fields", "format_size", "plain_default"]
