"""The codes of configuration problems: what each says, why it comes up and what to do.

The texts are catalogue keys in English with `{named}` fields. Codes are permanent: a code is never reused for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.i18n import N_, _


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence of the catalogue with its details; details that are notes themselves are translated too."""

    text: str
    details: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format_map(self.details) if self.details else self.text

    def localised(self) -> str:
        """Return the sentence in the language of the context."""
        if not self.details:
            return _(self.text)
        spoken = {name: value.localised() if isinstance(value, Note) else value for name, value in self.details.items()}
        return _(self.text).format_map(spoken)


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """One code: the sentence an operator sees, the usual cause, the fix."""

    code: str
    text: str
    cause: str
    fix: str


def _table(*rows: tuple[str, str, str, str]) -> dict[str, CodeInfo]:
    return {row[0]: CodeInfo(*row) for row in rows}


_FILES = _table(
    (
        "HT-C001",
        N_("cannot read the file: {why}"),
        N_("The file does not exist, or the account that runs the command may not read it."),
        N_("Check the path, its owner and its mode; the account is usually huitong."),
    ),
    (
        "HT-C002",
        N_("the file is not UTF-8"),
        N_("The file was saved as GBK/GB18030 (ANSI) or another encoding. Configuration files are UTF-8, with or without BOM."),
        N_("Save it as UTF-8 in the editor, or convert it: iconv -f GB18030 -t UTF-8 OLD > NEW"),
    ),
    (
        "HT-C003",
        N_("the file is larger than {limit}"),
        N_("A configuration file this large is most likely another file by mistake."),
        N_("Check the path; put flows into files of their own in conf.d/."),
    ),
    (
        "HT-C004",
        N_("the sections are nested more than {limit} deep"),
        N_("A bracket was left open, or text was pasted in the wrong place."),
        N_("Compare the indentation with the examples in config/examples/."),
    ),
    (
        "HT-C005",
        N_("not valid YAML: {why}"),
        N_("The text breaks the rules of YAML: a colon, a quote or a bracket is missing, or the indentation does not fit."),
        N_("Look at the marked place and at the line above it; after a colon there must be a space."),
    ),
    (
        "HT-C006",
        N_("a tab may not be used here"),
        N_("YAML is indented with spaces only."),
        N_("Replace the tab by spaces."),
    ),
    (
        "HT-C007",
        N_("{what} may not be used in a configuration file"),
        N_("Anchors (&name), aliases (*name), tags (!name) and merge keys (<<) make a file mean something else than it shows."),
        N_("Write the value out where it is needed; put text that begins with such a character in quotes."),
    ),
    (
        "HT-C008",
        N_('the field "{name}" occurs twice; the first is in line {first}'),
        N_("Two values for one field: only one of them could take effect."),
        N_("Remove one of them."),
    ),
    (
        "HT-C009",
        N_("{value}: a number that begins with 0 needs quotes"),
        N_("Without quotes the leading zero of a code would be lost, or the number would be read in another base."),
        N_('Put it in quotes if it is a code ("010"), drop the zero if it is a number. huitong validate --fix adds quotes.'),
    ),
    (
        "HT-C010",
        N_("{what}"),
        N_("A configuration file is one YAML document whose top level is sections such as agent: and send:."),
        N_("Compare with the examples in config/examples/."),
    ),
    (
        "HT-C027",
        N_('"{name}" is defined twice; the first is at {first}'),
        N_("The same connection or flow is defined in two files, for example in agent.yaml and in conf.d/."),
        N_("Remove one of them, or give one another name."),
    ),
    (
        "HT-C028",
        N_('"{name}" may not stand in a file of conf.d'),
        N_("Files in conf.d/ hold connections: and send: only; what belongs to the whole agent stands in the main file."),
        N_("Move this section to the main file."),
    ),
)

_FIELDS = _table(
    (
        "HT-C011",
        N_('the field "{name}" is missing'),
        N_("A field that has no default was left out."),
        N_("Add it. What it means and an example: huitong explain FIELD"),
    ),
    (
        "HT-C012",
        N_('there is no field named "{name}"'),
        N_("The name is misspelt, stands at the wrong indentation, or belongs to another section."),
        N_("Take one of the allowed fields. huitong validate --fix corrects unmistakable slips."),
    ),
    (
        "HT-C013",
        N_("needs {expected}, not {actual}"),
        N_("The value is of another type than the field."),
        N_("Write the value in the form that the hint shows; text that looks like a number goes in quotes."),
    ),
    (
        "HT-C014",
        N_('"{value}" is not one of the possible values'),
        N_("The field takes a value from a fixed list."),
        N_("Take one of the listed values."),
    ),
    (
        "HT-C015",
        N_("{value} is outside the allowed range: {range}"),
        N_("The value is smaller or larger, shorter or longer than the field allows."),
        N_("Take a value in the range."),
    ),
    (
        "HT-C016",
        N_('"{value}" is not a duration'),
        N_("A duration is a whole number and a unit: ms, s, m, h or d."),
        N_("Write for example 500ms, 30s, 10m, 2h or 1d."),
    ),
    (
        "HT-C017",
        N_('"{value}" is not a size'),
        N_("A size is a whole number and a unit: B, KiB, MiB, GiB or TiB."),
        N_("Write for example 512MiB or 2GiB."),
    ),
    (
        "HT-C018",
        N_('"{value}" cannot be used as {what}'),
        N_("Names that appear in file paths, on the wire or in SQL have a fixed form."),
        N_("Follow the form in the hint; `title` takes any language."),
    ),
    (
        "HT-C019",
        N_("a password or key may not stand in the file"),
        N_("The configuration is shown on screens and put into backups; secrets are kept apart and only named here."),
        N_("Write secret:NAME here and store the value with: huitong secret set NAME"),
    ),
    (
        "HT-C020",
        N_('"{value}" is not an absolute path'),
        N_("The service starts in another directory than the operator; a relative path would mean something else."),
        N_("Write the path from the root: /…"),
    ),
    (
        "HT-C021",
        N_('there is no time zone "{value}"'),
        N_("Time zones are named by place."),
        N_("In China: Asia/Shanghai"),
    ),
    (
        "HT-C022",
        N_('"{value}" is not a cron expression: {why}'),
        N_("A cron expression has five fields: minute, hour, day of month, month, day of week."),
        N_("Write for example 0 2 * * * (every day at 02:00) or 30 8 * * mon-fri."),
    ),
    (
        "HT-C023",
        N_("exactly one of {names} is needed"),
        N_("None of these fields is given, or more than one."),
        N_("Keep exactly one of them."),
    ),
    (
        "HT-C030",
        N_('"{value}" is not an address: {why}'),
        N_("The address is incomplete or of another kind."),
        N_("Write for example amqps://mq.hub.example.gov.cn:5671/exchange"),
    ),
    (
        "HT-C031",
        N_("configuration version {value} is not known to this release"),
        N_("The file was written for another release."),
        N_("This release reads version: 1."),
    ),
    (
        "HT-C032",
        N_('"{name}" needs "{other}" as well'),
        N_("The two fields only work together."),
        N_("Add the missing field or remove this one."),
    ),
    (
        "HT-C033",
        N_('"{name}" and "{other}" exclude each other'),
        N_("Both fields say something about the same thing."),
        N_("Keep one of them."),
    ),
    (
        "HT-C038",
        N_("{why}"),
        N_("The values of two fields do not fit together."),
        N_("Change one of them as the text says."),
    ),
)

_FLOWS = _table(
    (
        "HT-C024",
        N_('there is no connection named "{name}"'),
        N_("A flow names a connection that is not defined under connections:."),
        N_("Correct the name, or define the connection."),
    ),
    (
        "HT-C026",
        N_("cannot tell what kind of source this is"),
        N_("The kind is recognised by its fields: a table, or files."),
        N_("Give the fields of one kind of source; see huitong explain send.*.from"),
    ),
    (
        "HT-C029",
        N_("receiving data (receive:) is not part of this release"),
        N_("This release sends; delivery to a department comes in a later release."),
        N_("Remove the section receive: for now."),
    ),
    (
        "HT-C034",
        N_("the flow {other} already reads {what}"),
        N_("Two flows would take the same files from each other."),
        N_("Narrow the file pattern of one of them, or remove it."),
    ),
    (
        "HT-C035",
        N_('the connection "{name}" is used by no flow'),
        N_("It may be left over, or a flow names another connection by mistake."),
        N_("Remove it, or use it. This is only a warning."),
    ),
    (
        "HT-C036",
        N_("the connection to the hub is not encrypted"),
        N_("amqp:// sends the password and all data in clear text."),
        N_("Use amqps:// unless both ends are on this machine. This is only a warning."),
    ),
    (
        "HT-C037",
        N_("there is no flow yet"),
        N_("The section send: is empty: the agent would start, but send nothing."),
        N_("Add a flow, for example with: huitong init. This is only a warning."),
    ),
    (
        "HT-C039",
        N_("this is still the name that huitong init wrote"),
        N_("The node has no name of its own yet; the store keeps the one it is first started with."),
        N_("Write the code that the hub has given out. This is only a warning."),
    ),
)

_MAPPING = _table(
    (
        "HT-M001",
        N_('there is no message type "{name}"'),
        N_("The type or its version is misspelt, or its definition is not on this machine yet."),
        N_(
            "Take one of the known types, or put the hub's definition into the directory named by message_types:. Only a warning."
        ),
    ),
    (
        "HT-M002",
        N_('the message type {type} has no field "{name}"'),
        N_("On the left of a map stands the field of the standard message, on the right the column of the source."),
        N_("Take one of the fields of the message type: huitong explain TYPE@VERSION"),
    ),
    (
        "HT-M003",
        N_("the message type {type} needs these fields as well: {names}"),
        N_("The message type requires them in every record."),
        N_("Map each to a column, or give it a constant: FIELD: {const: VALUE}"),
    ),
    (
        "HT-M004",
        N_('the source has no column "{name}"'),
        N_("The column is misspelt (full-width brackets, for example) or was renamed at the source."),
        N_("Correct the name in the map; huitong preview FLOW shows the columns."),
    ),
    (
        "HT-M005",
        N_('the key column "{name}" is not mapped'),
        N_("The key travels with every record under its standard name; without a mapping it has none."),
        N_("Add a line to the map: STANDARD_FIELD: KEY_COLUMN"),
    ),
    (
        "HT-M006",
        N_("a key field may not be {what}"),
        N_("A key must be the same each time the record is read, and different for different records."),
        N_("Map the key column itself, without a constant, a default or on_fail: empty."),
    ),
    (
        "HT-M007",
        N_('"{value}" is not in the code list of {field}'),
        N_("The message type allows only the codes of its list."),
        N_("Take one of the listed codes."),
    ),
    (
        "HT-M008",
        N_('"{value}" is not a date pattern'),
        N_("A date pattern says how the source writes dates, with YYYY, MM, DD, HH, mm, ss."),
        N_("Write for example YYYYMMDD, YYYY-MM-DD or YYYY-MM-DD HH:mm:ss; MM are months, mm minutes."),
    ),
)

CODES: Final[Mapping[str, CodeInfo]] = {**_FILES, **_FIELDS, **_FLOWS, **_MAPPING}

WARNINGS: Final = frozenset(("HT-C035", "HT-C036", "HT-C037", "HT-C039", "HT-M001"))
"""Codes that do not keep the agent from starting; `--strict` makes them errors."""


def code_info(code: str) -> CodeInfo:
    """Return what is known of a code; KeyError for a code that is not in the tables."""
    return CODES[code]
