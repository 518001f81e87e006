"""One YAML file → plain data, and the place of every field.

The parser's events are composed here rather than by PyYAML's loaders: nothing is constructed, nothing is shared, depth is
bounded, field names are always text, and every problem that does not stop the parser is collected instead of raised.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml
from yaml import events as ev

from agent.i18n import N_
from agent.settings import syntax
from agent.settings.base import Misfit
from agent.settings.codes import Note
from agent.settings.places import Extent, Loc, Place, SourceFile
from agent.settings.scalars import lost_zero, resolve
from agent.settings.types import format_size

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 24


@dataclass(frozen=True, slots=True)
class Found:
    """A misfit and where in the file it stands."""

    misfit: Misfit
    file: SourceFile
    extent: Extent
    loc: Loc = ()
    quote: bool = False  # putting the marked text in quotes cures it


@dataclass(slots=True)
class Document:
    """What one file says. `data` is made of dict, tuple and scalars; `broken` are places whose value is not known."""

    file: SourceFile
    data: object = None
    places: dict[Loc, Place] = field(default_factory=dict)
    sections: dict[int, Loc] = field(default_factory=dict)  # id of a dict in data → where it stands
    broken: set[Loc] = field(default_factory=set)
    found: list[Found] = field(default_factory=list)
    complete: bool = True  # False: the parser had to stop


class _Stopped(Exception):
    """The rest of the file cannot be read."""


def read_document(path: Path) -> Document:
    """Read and parse a file; every problem is in `found`, nothing is raised."""
    try:
        with path.open("rb") as stream:
            octets = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return _unreadable(path, Misfit("HT-C001", details={"why": _why(error)}))
    if len(octets) > MAX_BYTES:
        return _unreadable(path, Misfit("HT-C003", details={"limit": format_size(MAX_BYTES)}))
    try:
        return parse_document(octets.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        return _undecodable(path, octets, error)


def parse_document(text: str, path: str) -> Document:
    """Parse the text of a file."""
    document = Document(SourceFile(path, tuple(text.splitlines())))
    try:
        _Composer(document).compose(_events(text))
    except _Stopped:
        document.complete = False
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        document.complete = False
        slip = syntax.explain(error, document.file.lines)
        misfit = Misfit(slip.code, details={"why": slip.why}, hints=slip.hints)
        document.found.append(Found(misfit, document.file, Extent(slip.line, slip.column, slip.line, slip.column + 1)))
    return document


def _events(text: str) -> Iterator[ev.Event]:
    """Yield the parser's events. A character beyond Unicode in an escape, which Python refuses, is given its place."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            event: ev.Event = loader.get_event()  # type: ignore[no-untyped-call]
            yield event
    except (ValueError, OverflowError) as error:
        if isinstance(error, yaml.YAMLError):
            raise
        raise yaml.MarkedYAMLError(problem="found unknown escape", problem_mark=loader.get_mark()) from error


def _why(error: OSError) -> Note:
    known = {
        errno.ENOENT: N_("there is no such file; huitong init writes a first one"),
        errno.EACCES: N_("this account may not read it"),
        errno.EISDIR: N_("it is a folder"),
    }
    return Note(known.get(error.errno or 0, "{why}"), {"why": error.strerror or type(error).__name__})


def _unreadable(path: Path, misfit: Misfit) -> Document:
    document = Document(SourceFile(str(path), ()), complete=False)
    document.found.append(Found(misfit, document.file, Extent(1, 1, 1, 2)))
    return document


def _undecodable(path: Path, octets: bytes, error: UnicodeDecodeError) -> Document:
    text = octets.decode("gb18030", "replace")
    document = Document(SourceFile(str(path), tuple(text.splitlines())), complete=False)
    line = octets.count(b"\n", 0, error.start) + 1
    column = len(octets[octets.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
    document.found.append(Found(Misfit("HT-C002"), document.file, Extent(line, column, line, column + 1)))
    return document


class _Composer:
    """Turns the event stream of one file into its document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._file = document.file

    def compose(self, stream: Iterator[ev.Event]) -> None:
        documents = 0
        for event in stream:
            if isinstance(event, ev.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    why = Note(N_("a second document (---) begins here; a file holds one"))
                    self._report(Misfit("HT-C010", details={"what": why}), _extent(event))
                    raise _Stopped
                root = next(stream)
                self._document.data = self._value(root, stream, (), _extent(root))

    def _value(self, event: ev.Event, stream: Iterator[ev.Event], loc: Loc, key: Extent) -> object:
        if len(loc) > MAX_DEPTH:
            self._report(Misfit("HT-C004", details={"limit": MAX_DEPTH}), _extent(event), loc)
            raise _Stopped
        self._refuse_node_properties(event, loc)
        match event:
            case ev.ScalarEvent():
                return self._scalar(event, loc, key)
            case ev.SequenceStartEvent():
                return self._sequence(event, stream, loc, key)
            case ev.MappingStartEvent():
                return self._mapping(event, stream, loc, key)
            case _:  # an alias: reported above
                self._place(loc, key, _extent(event))
                return None

    def _scalar(self, event: ev.ScalarEvent, loc: Loc, key: Extent) -> object:
        extent = _extent(event)
        plain = event.style is None and event.tag is None
        self._place(loc, key, extent, event.value if plain else None)
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            self._report(
                Misfit("HT-C005", details={"why": Note(N_("an escape names half a character"))}), extent, loc, broken=True
            )
            return ""
        if plain and lost_zero(event.value):
            self._report(Misfit("HT-C009", details={"value": event.value}), extent, loc, broken=True, quote=True)
            return event.value
        return resolve(event.value) if plain else event.value

    def _sequence(self, event: ev.Event, stream: Iterator[ev.Event], loc: Loc, key: Extent) -> tuple[object, ...]:
        items: list[object] = []
        start = _extent(event)
        while not isinstance(event := next(stream), ev.SequenceEndEvent):
            items.append(self._value(event, stream, (*loc, len(items)), _extent(event)))
        self._place(loc, key, _until(start, event))
        return tuple(items)

    def _mapping(self, event: ev.Event, stream: Iterator[ev.Event], loc: Loc, key: Extent) -> dict[str, object]:
        fields: dict[str, object] = {}
        start = _extent(event)
        self._document.sections[id(fields)] = loc
        while not isinstance(event := next(stream), ev.MappingEndEvent):
            name, extent = self._name(event, stream, loc), _extent(event)
            if name is None or name in fields:
                if name is not None:
                    self._report_repeated(name, loc, extent)
                _skip(next(stream), stream)
            else:
                fields[name] = None
                fields[name] = self._value(next(stream), stream, (*loc, name), extent)
        self._place(loc, key, _until(start, event))
        return fields

    def _name(self, event: ev.Event, stream: Iterator[ev.Event], loc: Loc) -> str | None:
        """Return the name of a field, None when it cannot be one. Names are text as written, never numbers or booleans."""
        if not isinstance(event, ev.ScalarEvent):
            self._report(
                Misfit("HT-C007", details={"what": Note(N_("a list, section or alias as the name of a field"))}), _extent(event)
            )
            _skip(event, stream)
            return None
        self._refuse_node_properties(event, loc)
        if event.value == "<<" and event.style is None:
            self._report(Misfit("HT-C007", details={"what": Note(N_("the merge key <<"))}), _extent(event))
            return None
        if event.value == "" or any("\ud800" <= character <= "\udfff" for character in event.value):
            self._report(Misfit("HT-C005", details={"why": Note(N_("a field without a name"))}), _extent(event))
            return None
        return event.value

    def _refuse_node_properties(self, event: ev.Event, loc: Loc) -> None:
        if isinstance(event, ev.AliasEvent):
            what = Note(N_("the alias *{name}"), {"name": event.anchor})
        elif getattr(event, "anchor", None) is not None:
            what = Note(N_("the anchor &{name}"), {"name": getattr(event, "anchor", "")})
        elif getattr(event, "tag", None) is not None:
            what = Note(N_("the tag {name}"), {"name": getattr(event, "tag", "")})
        else:
            return
        self._report(Misfit("HT-C007", details={"what": what}), _extent(event), loc, broken=True)

    def _report_repeated(self, name: str, loc: Loc, extent: Extent) -> None:
        first = self._document.places.get((*loc, name))
        line = first.key.line if first else extent.line
        self._report(Misfit("HT-C008", details={"name": name, "first": line}), extent, (*loc, name))

    def _report(self, misfit: Misfit, extent: Extent, loc: Loc = (), *, broken: bool = False, quote: bool = False) -> None:
        self._document.found.append(Found(misfit, self._file, extent, loc, quote))
        if broken:
            self._document.broken.add(loc)

    def _place(self, loc: Loc, key: Extent, value: Extent, literal: str | None = None) -> None:
        self._document.places[loc] = Place(self._file, key, value, literal)


def _extent(event: ev.Event) -> Extent:
    start, end = event.start_mark, event.end_mark
    assert start is not None, "the parser marks every event"
    assert end is not None, "the parser marks every event"
    return Extent(start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def _until(start: Extent, event: ev.Event) -> Extent:
    end = _extent(event)
    return Extent(start.line, start.column, end.end_line, end.end_column)


def _skip(event: ev.Event, stream: Iterator[ev.Event]) -> None:
    """Read past the node that begins with `event`."""
    depth = 0
    while True:
        if isinstance(event, (ev.SequenceStartEvent, ev.MappingStartEvent)):
            depth += 1
        elif isinstance(event, (ev.SequenceEndEvent, ev.MappingEndEvent)):
            depth -= 1
        if depth == 0:
            return
        event = next(stream)
