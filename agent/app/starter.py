"""What `huitong init` writes: a first agent.yaml with a comment on every field, and files with one flow.

The comments come from the settings themselves, in the language of the operator, so that they cannot fall behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.app.propose import Column, Described, Line, Proposal
from agent.i18n import N_, _
from agent.settings.agent_file import UNNAMED, AgentFile
from agent.settings.reference import FieldDoc, field_docs
from agent.settings.scalars import lost_zero, resolve
from agent.settings.width import display_width

_PLAIN: Final = re.compile(r"[\w/](?:[\w./()（）-]*[\w./()（）-])?")
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff\U000e0000-\U0010ffff]")
_WIDTH: Final = 100
_SECTIONS: Final = ("agent", "hub", "delivery")

FILL_IN: Final = N_("FILL-IN")
"""What stands where an operator has to write the name of a column."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known already when a first configuration is written. `given` are values by their path, `agent.id` for example."""

    language: str
    given: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # everything under here instead of /etc, /var and /run; for a trial


def scalar(value: str) -> str:
    """Return text as it is written in YAML, in any place: plain where that means the same text, otherwise in double quotes."""
    plain = _PLAIN.fullmatch(value) is not None and resolve(value) == value and not lost_zero(value)
    return value if plain else _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def block_scalar(value: str) -> str:
    """Return text as it is written behind a field on a line of its own, where colons and spaces inside are harmless."""
    parts = re.split(r":(?=\S)| ", value)
    harmless = all(map(_PLAIN.fullmatch, parts)) and scalar(parts[0]) == parts[0] and resolve(value) == value
    return value if harmless else scalar(value)


def connection_value(name: str, value: str) -> str:
    """Return a field of a connection as it is written in YAML."""
    return value if name == "port" else block_scalar(value)


# -- agent.yaml ------------------------------------------------------------------------------------------------------


def agent_text(facts: Facts) -> str:
    """Return a complete agent.yaml; what has to be filled in stands uncommented, everything else as a comment."""
    values = {**_placeholders(facts), **facts.given}
    docs = list(field_docs(AgentFile))
    lines = [*_comment(_(N_("Configuration of a Huitong agent. Check it with: huitong validate"))), ""]
    lines += ["version: 1", ""]
    for name in _SECTIONS:
        section = [doc for doc in docs if doc.path.startswith(f"{name}.")]
        title = next(doc.title for doc in docs if doc.path == name)
        lines += [*_comment(_(title)), *_section(name, section, values), ""]
    lines += [*_message_types(docs), "", *_connections(), "", *_send()]
    return "\n".join(lines) + "\n"


def _placeholders(facts: Facts) -> dict[str, str]:
    values = {
        "agent.id": f"000000-{UNNAMED}",
        "agent.language": facts.language,
        "hub.code": UNNAMED,
        "hub.url": "amqps://mq.hub.example.gov.cn:5671/exchange",
        "hub.password": "secret:hub_password",
    }
    if facts.folder is None:
        return values
    places = {
        "agent.state_dir": "state",
        "agent.keys_dir": "keys",
        "agent.secrets_dir": "secrets",
        "agent.control_socket": "agent.sock",
        "hub.trust": "trust",
    }
    return values | {path: str(facts.folder / name) for path, name in places.items()}


def _section(name: str, docs: Sequence[FieldDoc], values: Mapping[str, str]) -> Iterator[str]:
    written = any(doc.path in values for doc in docs)
    yield f"{name}:" if written else f"# {name}:"
    for doc in docs:
        own = doc.path.removeprefix(f"{name}.")
        yield from _comment(_about_field(doc), indent=2)
        if doc.path in values:
            yield f"  {own}: {block_scalar(values[doc.path])}"
        else:
            shown = doc.default if doc.default is not None else (doc.examples or ("",))[0]
            yield f"  # {own}: {shown}" if written else f"#   {own}: {shown}"


def _about_field(doc: FieldDoc) -> str:
    return _(N_("{title}. {more}")).format(title=_(doc.title), more=_(doc.more)) if doc.more else _(doc.title)


def _message_types(docs: Sequence[FieldDoc]) -> Iterator[str]:
    doc = next(doc for doc in docs if doc.path == "message_types")
    yield from _comment(_about_field(doc))
    yield f"# message_types: {doc.examples[0]}"


def _connections() -> Iterator[str]:
    yield from _comment(_(N_("Connections to sources, by name. Nothing but SELECT is needed.")))
    yield "# connections:"
    for line in ("registry:", "  type: postgres", "  host: 10.1.2.3", "  database: registry", "  user: huitong_ro"):
        yield f"#   {line}"
    yield "#     password: secret:registry_password"


def _send() -> Iterator[str]:
    yield from _comment(
        _(
            N_(
                "Flows up. Each may have a file of its own in conf.d/; huitong init --from-table CONNECTION/TABLE or --from-csv "
                "FILE writes one from the columns that are there."
            )
        )
    )
    yield "send: {}"


# -- a flow ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowDraft:
    """A flow to be written: `source` are the lines of its `from:` block as (name, YAML text, comment)."""

    flow: str
    title: str
    message: str
    source: Sequence[tuple[str, str, str]]
    described: Described
    proposal: Proposal
    known_type: bool
    same_names: bool = False
    connection: tuple[str, Mapping[str, str]] | None = None  # a new connection: its name and fields


def flow_text(draft: FlowDraft) -> str:
    """Return a file for conf.d with one flow."""
    lines = [*_comment(_head(draft)), ""]
    if draft.connection is not None:
        name, fields = draft.connection
        lines += [
            "connections:",
            f"  {name}:",
            *(f"    {key}: {connection_value(key, value)}" for key, value in fields.items()),
            "",
        ]
    lines += ["send:", f"  {draft.flow}:", f"    title: {block_scalar(draft.title)}"]
    lines.append(f"    message: {draft.message}" + ("" if draft.known_type else f"  # {_(_UNKNOWN_TYPE)}"))
    lines.append("    from:")
    lines += _aligned([(f"      {name}: {text}", comment) for name, text, comment in draft.source])
    lines += ["    map: same-names"] if draft.same_names else [f"    map:  # {_(_MAP)}", *_map_lines(draft)]
    lines += [f"      # {line}" if line else "      #" for line in _spare_lines(draft)]
    return "\n".join(lines).rstrip() + "\n"


_UNKNOWN_TYPE: Final = N_("the type and version the hub knows; huitong explain TYPE@VERSION shows the fields")
_MAP: Final = N_("left the field of the message, right the column of the source")


def _head(draft: FlowDraft) -> str:
    text = N_("Written by huitong init from {name}. Check every line, then: huitong validate --connect; huitong preview {flow}")
    return _(text).format(name=draft.described.name, flow=draft.flow)


def _map_lines(draft: FlowDraft) -> list[str]:
    return _aligned([(f"      {_target(line.target)}: {_form(line)}", _about(line)) for line in draft.proposal.lines])


def _target(name: str) -> str:
    return scalar(name)


def _form(line: Line) -> str:
    if not line.column:
        return _(FILL_IN)
    if not line.options:
        return scalar(line.column)
    options = ", ".join(f"{name}: {text}" for name, text in (("from", scalar(line.column)), *line.options))
    return f"{{{options}}}"


def _about(line: Line) -> str:
    if line.column:
        return line.about
    return _(N_("required: {title}; write the name of its column")).format(title=line.about)


def _spare_lines(draft: FlowDraft) -> Iterator[str]:
    """Yield comments on the columns that are not used; with same-names, on those that are."""
    columns = draft.described.columns if draft.same_names else draft.proposal.spare
    if columns:
        yield _(N_("columns: {names}") if draft.same_names else N_("columns that are not used: {names}")).format(
            names=", ".join(map(_named, columns))
        )


def _named(column: Column) -> str:
    return f"{column.name} ({column.comment})" if column.comment else column.name


def _aligned(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Return lines with their comments one below the other, where they are not too long."""
    width = min(max((display_width(text) for text, comment in lines if comment), default=0), 60)
    return [
        f"{text}{' ' * (width - display_width(text))}  # {' '.join(comment.split())}" if comment else text
        for text, comment in lines
    ]


def _comment(text: str, indent: int = 0) -> list[str]:
    blank = " " * indent
    return [f"{blank}# {line}" for line in _folded(text, _WIDTH - indent - 2)]


def _folded(text: str, width: int) -> list[str]:
    """Fold at spaces and after Chinese stops."""
    lines, line = [], ""
    for part in re.findall(r"[^ ，。；：、]*[ ，。；：、]?", text):
        if display_width(line) + display_width(part.rstrip()) > width and line:
            lines.append(line.rstrip())
            line = ""
        line += part
    return [*lines, line.rstrip()] if line.strip() else lines
