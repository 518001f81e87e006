"""Several files as one configuration: what they say together and where each field stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.i18n import N_
from agent.settings.base import Misfit
from agent.settings.codes import WARNINGS, Note, code_info
from agent.settings.document import Document, Found
from agent.settings.places import Extent, Loc, Place, SourceFile, dotted
from agent.settings.problems import Fix, Problem
from agent.settings.types import named_type


@dataclass(slots=True)
class Layout:
    """The merged configuration."""

    files: list[SourceFile]
    data: dict[str, object] = field(default_factory=dict)
    places: dict[Loc, Place] = field(default_factory=dict)
    sections: dict[int, Loc] = field(default_factory=dict)
    broken: set[Loc] = field(default_factory=set)
    found: list[Found] = field(default_factory=list)
    complete: bool = True

    def add(self, document: Document) -> None:
        """Take over what a document says, all of it."""
        self.places |= document.places
        self.sections |= document.sections
        self.note(document)

    def note(self, document: Document) -> None:
        """Take over what was found wrong with a document, not what it says."""
        self.broken |= document.broken
        self.found += document.found
        self.complete = self.complete and document.complete

    def add_members(self, document: Document, members: set[Loc]) -> None:
        """Take over some members of sections."""
        self.places |= {at: place for at, place in document.places.items() if at[:2] in members}
        self.sections |= {key: at for key, at in document.sections.items() if at[:2] in members}

    def report(self, misfit: Misfit, place: Place, loc: Loc) -> None:
        """Note a misfit under the name of a field."""
        self.found.append(Found(misfit, place.file, place.key, loc))

    def is_broken(self, loc: Loc) -> bool:
        """Return whether a place, or one above it, was reported already, so that its value means nothing."""
        return any(loc[:size] in self.broken for size in range(len(loc) + 1))

    def extent(self, loc: Loc, on_key: bool) -> tuple[SourceFile, Extent]:
        """Return what to mark for a place; the nearest section above when the place itself does not exist."""
        missing = loc not in self.places
        while loc not in self.places and loc:
            loc = loc[:-1]
        place = self.places.get(loc)
        if place is None or (not loc and missing):
            return self.files[0], Extent(1, 1, 1, 2)
        value = place.value
        spread = value.line != place.key.line or (value.line, value.column) == (value.end_line, value.end_column)
        return place.file, place.key if on_key or missing or spread else value

    def problem(self, misfit: Misfit, loc: Loc, *, allowed: Sequence[str] = (), fix: Fix | None = None) -> Problem:
        """Return a misfit of the value at `loc` as a problem with its place."""
        at = (*loc, *misfit.at)
        file, extent = self.extent(at, misfit.on_key)
        return placed(misfit, file, extent, at, allowed=allowed, fix=fix)


def placed(
    misfit: Misfit, file: SourceFile, extent: Extent, loc: Loc, *, allowed: Sequence[str] = (), fix: Fix | None = None
) -> Problem:
    """Return a misfit with a known extent as a problem."""
    column, end_column = extent.on_first_line(file)
    return Problem(
        code=misfit.code,
        level="warning" if misfit.code in WARNINGS else "error",
        file=file,
        line=extent.line,
        column=column,
        end_column=end_column,
        where=dotted(loc),
        says=Note(code_info(misfit.code).text, misfit.details),
        label=misfit.label,
        hints=misfit.hints,
        alternatives=misfit.alternatives,
        allowed=tuple(allowed),
        fix=fix,
    )


def merge(documents: Sequence[Document], shared: Sequence[str]) -> Layout:
    """Return the first document with the members of the `shared` sections of the others added."""
    main, *parts = documents
    layout = Layout([document.file for document in documents])
    layout.add(main)
    if isinstance(main.data, dict):
        layout.data = main.data
        for name in shared:
            if name in main.data and main.data[name] is None:
                main.data[name] = {}
    elif main.complete:
        layout.complete = False
        _report_shape(layout, main)
    for part in parts:
        _merge_part(layout, part, shared)
    return layout


def _report_shape(layout: Layout, document: Document) -> None:
    if document.data is None:
        what = Note(N_("the file is empty"))
    else:
        what = Note(N_("the file holds {actual} instead of sections"), {"actual": named_type(document.data)})
    hints = (Note(N_('a full-width "：" stands here; write ":" and a space')),) if "：" in str(document.data) else ()
    extent = document.places[()].value if () in document.places else Extent(1, 1, 1, 2)
    layout.found.append(Found(Misfit("HT-C010", details={"what": what}, hints=hints), document.file, extent))


def _merge_part(layout: Layout, part: Document, shared: Sequence[str]) -> None:
    layout.note(part)
    if part.data is None:
        return
    if not isinstance(part.data, dict):
        _report_shape(layout, part)
        return
    for name, members in part.data.items():
        place = part.places[(name,)]
        if name not in shared:
            misfit = Misfit("HT-C028", details={"name": name, "allowed": ", ".join(shared)})
            layout.report(misfit, place, (name,))
        elif isinstance(members, dict):
            _merge_section(layout, part, name, members)
        elif members is not None:
            details = {"expected": Note(N_("a section with fields")), "actual": named_type(members)}
            layout.report(Misfit("HT-C013", details=details), place, (name,))


def _merge_section(layout: Layout, part: Document, name: str, members: dict[str, object]) -> None:
    known = layout.data.setdefault(name, {})
    if not isinstance(known, dict):
        return
    layout.places.setdefault((name,), part.places[(name,)])
    layout.sections.setdefault(id(known), (name,))
    added: set[Loc] = set()
    for member, value in members.items():
        loc = (name, member)
        first = layout.places.get(loc)
        if member in known and first is not None:
            at = f"{first.file.path}:{first.key.line}:{first.key.column}"
            layout.report(Misfit("HT-C027", details={"name": member, "first": at}), part.places[loc], loc)
        else:
            known[member] = value
            added.add(loc)
    layout.add_members(part, added)
