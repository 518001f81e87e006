"""Configuration files → a settings model, or every problem of the run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from agent.errors import SettingsError
from agent.settings.base import Misfit, Raw, SettingsModel, Survey
from agent.settings.document import Document, Found, read_document
from agent.settings.layout import Layout, merge, placed
from agent.settings.problems import Fix, Problem
from agent.settings.translate import Translator

T = TypeVar("T", bound=SettingsModel)

Check = Callable[[Raw], Iterable[Misfit | Problem]]
"""A check of the whole configuration that needs more than the configuration; `at` of its misfits counts from the top."""

_FOLLOWS_FROM_ERRORS: Final = frozenset(("HT-C035",))
_NEEDS_EVERY_FILE: Final = frozenset(("HT-C024", "HT-C035", "HT-C037"))


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """Settings without errors, the files they came from, and what is only worth a warning."""

    value: T
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...]
    layout: Layout

    def problem(self, misfit: Misfit) -> Problem:
        """Return something found later (a column the source does not have) as a problem with its place in the files."""
        return self.layout.problem(misfit, ())


def load(paths: Sequence[Path], model: type[T], *, checks: Sequence[Check] = ()) -> Loaded[T]:
    """Read files into a settings model. The first is the main file; the others add members to the model's `shared` sections.

    Raises SettingsError whose `problems` are all problems of the run, warnings included, in the order of the files.
    """
    return assemble([read_document(path) for path in paths], model, checks=checks)


def assemble(documents: Sequence[Document], model: type[T], *, checks: Sequence[Check] = ()) -> Loaded[T]:
    """Do what `load` does with documents that were read already."""
    layout = merge(documents, model.shared)
    value, problems = _validate(layout, model)
    problems += [_found_problem(found) for found in layout.found]
    problems += _check(layout, checks)
    if not layout.complete:
        problems = [problem for problem in problems if not _hangs_on_missing_file(problem)]
    if any(problem.level == "error" for problem in problems):
        problems = [problem for problem in problems if problem.code not in _FOLLOWS_FROM_ERRORS]
    ordered = _in_order(layout, problems)
    if value is None or any(problem.level == "error" for problem in ordered):
        raise SettingsError(problems=ordered)
    return Loaded(value, tuple(Path(document.file.path) for document in documents), ordered, layout)


def _validate(layout: Layout, model: type[T]) -> tuple[T | None, list[Problem]]:
    survey, errors, value = Survey(), [], None
    try:
        value = model.model_validate(layout.data, context=survey)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    translator = Translator(layout, survey)
    crossed = [
        translator.problem(misfit, layout.sections.get(section, ()))
        for section, misfit in survey.misfits
        if not layout.is_broken((*layout.sections.get(section, ()), *misfit.at))
    ]
    places = {(problem.path, problem.line, problem.column) for problem in crossed}
    single = [problem for problem in translator.problems(errors) if not _explained(problem, places)]
    return value, crossed + single


def _explained(problem: Problem, places: set[tuple[str, int, int]]) -> bool:
    """Return whether a cross check says something better about an unknown field."""
    return problem.code == "HT-C012" and (problem.path, problem.line, problem.column) in places


def _check(layout: Layout, checks: Sequence[Check]) -> Iterator[Problem]:
    for check in checks:
        for found in check(layout.data):
            if isinstance(found, Problem):
                yield found
            elif not layout.is_broken(found.at):
                yield layout.problem(found, ())


def _found_problem(found: Found) -> Problem:
    fix = None
    if found.quote:
        literal = found.file.line(found.extent.line)[found.extent.column - 1 : found.extent.end_column - 1]
        fix = Fix(found.extent.line, found.extent.column, found.extent.end_column, f'"{literal}"')
    return placed(found.misfit, found.file, found.extent, found.loc, fix=fix)


def _hangs_on_missing_file(problem: Problem) -> bool:
    """Return whether a problem may only be there because a file could not be read to its end."""
    return problem.code in _NEEDS_EVERY_FILE or (problem.code == "HT-C011" and "." not in problem.where)


def _in_order(layout: Layout, problems: list[Problem]) -> tuple[Problem, ...]:
    rank = {id(file): index for index, file in enumerate(layout.files)}
    return tuple(sorted(problems, key=lambda one: (rank.get(id(one.file), len(rank)), one.path, one.line, one.column, one.code)))
