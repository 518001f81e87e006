"""What every settings model is built from.

A model is a frozen pydantic class whose fields are declared once with `setting(...)`: title, default, unit, example. From that
come validation, the JSON Schema, the field reference and `huitong explain`. Checks that look at more than one field override
`cross_check` and work on the raw section, so that they are reported together with every other problem of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from agent.settings.codes import Note, code_info

FIRST_RELEASE = "1.0"

Raw = Mapping[str, object]
"""A section as it stands in the file, before its fields were checked: any value may be of any type."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that is wrong with a section or value, before it has a place in a file.

    `at` leads from the section to the value that is wrong; `on_key` puts the caret under its name instead of its value.
    `alternatives` are what the operator may have meant, best first; `details` fill the text of the code.
    """

    code: str
    at: tuple[str | int, ...] = ()
    on_key: bool = False
    alternatives: tuple[str, ...] = ()
    label: Note | None = None
    hints: tuple[Note, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    def error(self) -> PydanticCustomError:
        """Return the exception a field validator raises; the loader gets the misfit back out of its context."""
        return PydanticCustomError("misfit", "{misfit}", {"misfit": self})

    def __str__(self) -> str:
        return f"{self.code} {Note(code_info(self.code).text, self.details)}"


@dataclass(slots=True)
class Survey:
    """What one validation run learns on the side; handed to pydantic as its context.

    Sections are known by the identity of their raw mapping, which the caller keeps alive.
    """

    models: dict[int, type[SettingsModel]] = field(default_factory=dict)
    misfits: list[tuple[int, Misfit]] = field(default_factory=list)


class SettingsModel(BaseModel):
    """Base of every section: frozen, strict, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    shared: ClassVar[tuple[str, ...]] = ()
    """The sections that further files may add members to."""

    @classmethod
    def cross_check(cls, raw: Raw) -> Iterator[Misfit]:
        """Yield what is wrong between the fields of this section; `raw` may hold anything, the fields are checked apart."""
        del raw
        return iter(())

    @model_validator(mode="before")
    @classmethod
    def _survey(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        survey = info.context
        if isinstance(survey, Survey):
            survey.models[id(raw)] = cls
            survey.misfits.extend((id(raw), misfit) for misfit in cls.cross_check(raw))
        else:
            for misfit in cls.cross_check(raw):
                raise misfit.error()
        return raw

    @classmethod
    def of(cls, **fields: object) -> Self:
        """Build a section in code, by the names that stand in YAML; a trailing underscore is dropped (`from_`)."""
        return cls.model_validate({name.rstrip("_"): value for name, value in fields.items()})


def setting(
    title: str,
    *,
    default: Any = ...,
    more: str = "",
    examples: tuple[str, ...] = (),
    alias: str | None = None,
    since: str = FIRST_RELEASE,
    **limits: Any,
) -> Any:
    """Declare one field: `title` is a short noun phrase, `more` what else an operator must know, `examples` are YAML text.

    Both texts are catalogue keys. `limits` go to pydantic (`ge`, `le`, `min_length`, `max_length`).
    """
    extra: dict[str, Any] = {"x-more": more, "x-examples": list(examples), "x-since": since}
    return Field(default, title=title, alias=alias, json_schema_extra=extra, **limits)


def texts(value: object) -> tuple[str, ...]:
    """Return the text members of a raw list, nothing when it is none; for cross checks."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()


def section(value: object) -> Raw:
    """Return a raw value as a section, an empty one when it is none; for cross checks."""
    return value if isinstance(value, Mapping) else {}
