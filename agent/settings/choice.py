"""A value that has one of several forms. The form is picked first, so that a slip inside it is told in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union

from pydantic import Discriminator, GetCoreSchemaHandler, Tag
from pydantic_core import CoreSchema, core_schema

Pick = Callable[[object], str]
"""Raw value → name of the form. Raises `Misfit.error()` when the value has none."""


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """Annotation: the value has the one form that `pick` names.

    The names of forms appear in pydantic's locations as `<name>`, which no field is called.
    """

    forms: Mapping[str, Any]
    pick: Pick

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = tuple(Annotated[form, Tag(f"<{name}>")] for name, form in self.forms.items())
        chosen = members[0] if len(members) == 1 else Annotated[Union[members], Discriminator(self._tag)]  # noqa: UP007
        return core_schema.no_info_before_validator_function(self._screen, handler.generate_schema(chosen))

    def _tag(self, value: object) -> str:
        return f"<{self.pick(value)}>"

    def _screen(self, value: object) -> object:
        self.pick(value)
        return value
