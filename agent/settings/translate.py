"""What pydantic found → problems with a place, a suggestion and, where nothing can be misunderstood, a correction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic_core import ErrorDetails

from agent.i18n import N_
from agent.settings.base import Misfit, SettingsModel, Survey
from agent.settings.codes import Note
from agent.settings.layout import Layout
from agent.settings.places import Loc, dotted
from agent.settings.problems import Fix, Problem
from agent.settings.suggest import near, unmistakable
from agent.settings.types import named_type

_TAG: Final = re.compile(r"<[\w-]+>")
_YES_NO: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_FULL_WIDTH: Final = frozenset("：，“”‘’＂＇［］｛｝（）　")

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": N_("text"),
    "int_type": N_("a whole number"),
    "int_from_float": N_("a whole number"),
    "bool_type": N_("true or false"),
    "dict_type": N_("a section with fields"),
    "mapping_type": N_("a section with fields"),
    "model_type": N_("a section with fields"),
    "model_attributes_type": N_("a section with fields"),
    "tuple_type": N_("a list"),
    "list_type": N_("a list"),
}

_RANGES: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than_equal": ("ge", "≥ {limit}"),
    "less_than_equal": ("le", "≤ {limit}"),
    "too_short": ("min_length", N_("at least {limit}")),
    "too_long": ("max_length", N_("at most {limit}")),
    "string_too_short": ("min_length", N_("at least {limit} characters")),
    "string_too_long": ("max_length", N_("at most {limit} characters")),
}


class Translator:
    """Gives the findings of one validation run their places."""

    def __init__(self, layout: Layout, survey: Survey) -> None:
        self._layout = layout
        self._models: dict[Loc, type[SettingsModel]] = {}
        for key, model in survey.models.items():
            if key in layout.sections:
                self._models[layout.sections[key]] = model
        self._inside: dict[Loc, list[Loc]] = {}
        for loc in layout.places:
            self._inside.setdefault(loc[:-1], []).append(loc)

    def problems(self, errors: list[ErrorDetails]) -> Iterator[Problem]:
        """Yield the problems behind pydantic's errors."""
        meant: set[Loc] = set()
        for error in errors:
            if error["type"] == "extra_forbidden":
                loc, _ = self._place(error["loc"])
                problem = self._unknown_field(loc)
                meant.update((*loc[:-1], name) for name in problem.alternatives[:1])
                yield problem
        for error in errors:
            loc, on_key = self._place(error["loc"])
            if error["type"] == "extra_forbidden" or self._layout.is_broken(loc):
                continue
            if error["type"] != "missing":
                misfit = _misfit(error)
                yield self.problem(replace(misfit, on_key=misfit.on_key or on_key), loc)
            elif loc not in meant:  # otherwise it is there, misspelt, and was reported as that
                yield self.problem(self._missing(loc), loc[:-1])

    def problem(self, misfit: Misfit, loc: Loc) -> Problem:
        """Return a misfit as a problem, with what the text in the file adds to it."""
        place = self._layout.places.get((*loc, *misfit.at))
        literal = place.literal if place else None
        if literal is not None and place is not None and misfit.code == "HT-C013":
            quoted = self._needs_quotes(misfit, literal)
            if quoted:
                fix = Fix(place.value.line, place.value.column, place.value.end_column, quoted)
                return self._layout.problem(replace(misfit, alternatives=(quoted,)), loc, fix=fix)
            misfit = replace(misfit, alternatives=misfit.alternatives or _reading(misfit, literal))
        return self._layout.problem(_with_width_hint(misfit, literal), loc)

    def _place(self, raw: tuple[int | str, ...]) -> tuple[Loc, bool]:
        loc: Loc = ()
        for part in raw:
            if part == "[key]":
                return loc, True
            if isinstance(part, str) and _TAG.fullmatch(part) and (*loc, part) not in self._layout.places:
                continue
            loc = (*loc, part)
        return loc, False

    def _unknown_field(self, loc: Loc) -> Problem:
        name, parent = str(loc[-1]), loc[:-1]
        model = self._models.get(parent)
        allowed = field_names(model) if model else ()
        present = {str(at[-1]) for at in self._inside.get(parent, ()) if at}
        candidates = [field for field in allowed if field not in present]
        hints = tuple(self._belongs_elsewhere(name, parent))
        alternatives = () if hints else near(name, candidates)
        sure = None if hints else unmistakable(name, candidates)
        place = self._layout.places[loc]
        fix = Fix(place.key.line, place.key.column, place.key.end_column, sure) if sure else None
        misfit = Misfit("HT-C012", on_key=True, details={"name": name}, alternatives=alternatives, hints=hints)
        return replace(self._layout.problem(misfit, loc, allowed=sorted(allowed), fix=fix), where=dotted(parent))

    def _belongs_elsewhere(self, name: str, parent: Loc) -> Iterator[Note]:
        """Yield a hint when a section above or right below has a field of this name: the indentation slipped."""
        above = [parent[:size] for size in range(len(parent) - 1, -1, -1)]
        for loc in (*above, *self._inside.get(parent, ())):
            model = self._models.get(loc)
            if model is not None and name in field_names(model):
                where = dotted(loc) or Note(N_("the top level"))
                yield Note(N_('"{name}" is a field of {where}: check the indentation'), {"name": name, "where": where})
                return

    def _missing(self, loc: Loc) -> Misfit:
        model, name = self._models.get(loc[:-1]), str(loc[-1])
        hints: tuple[Note, ...] = ()
        if model is not None:
            field = next(info for key, info in model.model_fields.items() if (info.alias or key) == name)
            extra: Any = field.json_schema_extra
            example = extra["x-examples"][0] if extra and extra["x-examples"] else "…"
            hints = (
                Note(N_("{title}; for example  {example}"), {"title": Note(field.title or ""), "example": f"{name}: {example}"}),
            )
        return Misfit("HT-C011", on_key=True, details={"name": name}, hints=hints)

    def _needs_quotes(self, misfit: Misfit, literal: str) -> str:
        expected = misfit.details.get("expected")
        looks_typed = re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?|true|false", literal, re.IGNORECASE) is not None
        return f'"{literal}"' if looks_typed and isinstance(expected, Note) and expected.text == "text" else ""


def _misfit(error: ErrorDetails) -> Misfit:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "misfit":
        misfit = context["misfit"]
        assert isinstance(misfit, Misfit)
        return misfit
    if kind == "literal_error":
        return _not_listed(error["input"], context["expected"])
    if kind in _RANGES:
        return _out_of_range(kind, error["input"], context)
    if kind in _EXPECTED:
        return Misfit("HT-C013", details={"expected": Note(_EXPECTED[kind]), "actual": named_type(error["input"])})
    return Misfit("HT-C038", details={"why": error["msg"]})


def field_names(model: type[SettingsModel]) -> tuple[str, ...]:
    """Return the names of a section's fields as they stand in YAML."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _with_width_hint(misfit: Misfit, literal: str | None) -> Misfit:
    wide = sorted(_FULL_WIDTH & set(literal or ""))
    if not wide or misfit.code in ("HT-M004", "HT-M005"):
        return misfit
    hint = Note(N_("the text has full-width characters: {characters}"), {"characters": " ".join(wide)})
    return replace(misfit, hints=(*misfit.hints, hint))


def _reading(misfit: Misfit, literal: str) -> tuple[str, ...]:
    expected = misfit.details.get("expected")
    text = expected.text if isinstance(expected, Note) else ""
    if text == "true or false":
        known = _YES_NO.get(literal.lower())
        return (known,) if known else ()
    if text == "a list" and literal:
        return (f"[{literal}]",)
    return ()


def _not_listed(value: object, expected: str) -> Misfit:
    allowed = re.findall(r"'([^']*)'", expected) or [expected]
    hint = Note(N_("possible values: {values}"), {"values": ", ".join(allowed)})
    if isinstance(value, str):
        return Misfit("HT-C014", details={"value": value}, alternatives=near(value, allowed), hints=(hint,))
    return Misfit(
        "HT-C013", details={"expected": Note(N_("one of {values}"), {"values": ", ".join(allowed)}), "actual": named_type(value)}
    )


def _out_of_range(kind: str, value: object, context: Mapping[str, Any]) -> Misfit:
    limit, text = _RANGES[kind]
    return Misfit("HT-C015", details={"value": _measured(value), "range": Note(text, {"limit": context[limit]})})


def _measured(value: object) -> object:
    if isinstance(value, (tuple, list, dict)):
        return Note(N_("{count} entries"), {"count": len(value)})
    return f'"{value}"' if isinstance(value, str) else value
