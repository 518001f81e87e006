"""`huitong init`: a first configuration, or a flow from a live table or a CSV file. What is written has passed the loader."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agent.cli.base import Session, command, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.errors import Denied, SettingsError
from agent.i18n import N_, _, language
from agent.settings.agent_file import AgentFile
from agent.settings.compose import agent_settings_model
from agent.settings.document import Document, parse_document, read_document
from agent.settings.files import PARTS_FOLDER, configuration_files
from agent.settings.load import Loaded, assemble
from agent.settings.message_types import MessageTypeFile, check_messages, load_message_types
from connectors import BUILTIN

if TYPE_CHECKING:
    from agent.app.propose import Described, Possible, Proposal
    from agent.app.starter import FlowDraft

STDOUT: Final = Path("-")
_FLOW: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TYPES: Final = tuple(BUILTIN["database"].connections)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for."""

    target: Path | None
    message: str
    flow: str
    facts: Mapping[str, str]  # of agent.yaml, by path
    folder: Path | None
    connection: Mapping[str, str]  # fields of a new connection


@command(
    "init",
    help=N_(
        "Write a first configuration, or a flow from a live table or a CSV file.\nWithout --from-… a complete agent.yaml with a "
        "comment on every field. With it a file for conf.d, with the columns that are there and a proposal for the map. Nothing "
        "is overwritten without asking, and nothing is written that huitong validate would refuse."
    ),
)
@option("--from-table", metavar=N_("CONNECTION/TABLE"), help=N_("write a flow from the columns of a table"))
@option("--from-csv", type=click.Path(path_type=Path), metavar=N_("FILE"), help=N_("write a flow from the header of a CSV file"))
@option("--message", default="", metavar=N_("TYPE@VERSION"), help=N_("message type whose fields the map fills"))
@option("--flow", default="", metavar=N_("FLOW"), help=N_("id of the flow; default from the name of the table or file"))
@option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar=N_("FILE"),
    help=N_("file to write; - for standard output"),
)
@option("--id", "code", default="", metavar=N_("CODE"), help=N_("node code of this agent"))
@option("--title", default="", metavar=N_("NAME"), help=N_("name shown on screens"))
@option("--hub", default="", metavar=N_("CODE"), help=N_("node code of the hub"))
@option("--url", default="", metavar="URL", help=N_("address of the message broker"))
@option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar=N_("FOLDER"),
    help=N_("keep everything under this folder instead of /etc, /var and /run; for a trial"),
)
@option("--type", "kind", type=click.Choice(_TYPES), metavar="|".join(_TYPES), help=N_("type of a new connection"))
@option("--host", default="", metavar=N_("HOST"), help=N_("its host"))
@option("--port", default="", metavar=N_("NUMBER"), help=N_("its port"))
@option("--database", default="", metavar=N_("NAME"), help=N_("its database"))
@option("--user", default="", metavar=N_("NAME"), help=N_("its account"))
@option("--secret", default="", metavar=N_("NAME"), help=N_("name of the secret with its password"))
@option("--path", default="", metavar=N_("FILE"), help=N_("its file, for sqlite"))
@pass_session
def init(session: Session, /, from_table: str | None, from_csv: Path | None, **given: Any) -> ExitCode:
    """Write what was asked for."""
    wanted = Wanted(
        target=given["target"],
        message=given["message"],
        flow=given["flow"],
        facts=_filled({path: given[name] for name, path in _FACTS.items()}),
        folder=given["folder"],
        connection=_filled({field: given[name] for name, field in _FIELDS.items()}) if given["kind"] else {},
    )
    if from_table and from_csv:
        raise click.UsageError(_(N_("either --from-table or --from-csv")))
    if from_table:
        return _from_table(session, wanted, from_table)
    return _from_csv(session, wanted, from_csv) if from_csv else _plain(session, wanted)


_FACTS: Final = {"code": "agent.id", "title": "agent.title", "hub": "hub.code", "url": "hub.url"}
_FIELDS: Final = {
    "kind": "type",
    "host": "host",
    "port": "port",
    "database": "database",
    "user": "user",
    "secret": "password",
    "path": "path",
}
"""Option → field of agent.yaml, and of a new connection."""


def _filled(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: f"secret:{value}" if name == "password" else value for name, value in values.items() if value}


# -- agent.yaml ------------------------------------------------------------------------------------------------------


def _plain(session: Session, wanted: Wanted) -> ExitCode:
    target = wanted.target or session.config
    text = _starter(wanted)
    _load([parse_document(text, str(target))])
    if not _write(session, target, text):
        return ExitCode.FAILED
    told_all = wanted.facts.keys() >= _OWN_FACTS
    _tell(session, target, {}, _NEXT if told_all else (_FILL_IN, *_NEXT))
    return ExitCode.OK


def _starter(wanted: Wanted) -> str:
    from agent.app.describe import absolute  # noqa: PLC0415 - formats; help pages do without
    from agent.app.starter import Facts, agent_text  # noqa: PLC0415 - as above

    return agent_text(Facts(language(), wanted.facts, absolute(wanted.folder) if wanted.folder else None))


_OWN_FACTS: Final = {"agent.id", "hub.code", "hub.url"}
_FILL_IN: Final = N_("fill in agent.id, hub.code and hub.url in {file}, as the hub gave them to you")
_NEXT: Final = (
    N_("huitong secret set hub_password"),
    N_("huitong keys new; huitong keys export -o agent.keys: send this file to the hub"),
    N_("huitong keys trust HUB-FILE: the file with the keys of the hub"),
    N_("huitong init --from-table CONNECTION/TABLE or --from-csv FILE: a first flow"),
    N_("huitong validate --connect; huitong preview FLOW"),
    N_("systemctl enable --now huitong-agent; huitong status"),
)
_MOVE: Final = N_("move {file} to {folder}: flows elsewhere are not read")
_NEXT_FLOW: Final = (
    N_("check every line of {file}"),
    N_("huitong validate --connect; huitong preview {flow}"),
    N_("systemctl restart huitong-agent; huitong status"),
)


# -- a flow ----------------------------------------------------------------------------------------------------------


def _from_table(session: Session, wanted: Wanted, place: str) -> ExitCode:
    from agent.app.describe import describe_connection, possible_on  # noqa: PLC0415 - as above
    from agent.app.starter import block_scalar  # noqa: PLC0415 - as above

    name, _slash, table = place.partition("/")
    if not table:
        raise click.UsageError(_(N_("--from-table takes CONNECTION/TABLE, for example registry/public.person")))
    target, flow = _target(session, wanted, table)
    base = _base(session, wanted, target)
    new = (name, wanted.connection or _defined_in(target, name))
    settings = _load([*base, _connection_part(*new)] if new[1] else base).value
    described = describe_connection(settings, os.environ, name, table)
    proposal, definition = _proposed(settings, wanted, described)
    block = {"connection": name, "table": table, "key": proposal.key, "cursor": described.cursor, "every": "30s"}
    possible = possible_on(settings, os.environ, name, flow, block)
    cursor = [("cursor", block_scalar(described.cursor), "")] if described.cursor else []
    walks = possible.mode == "compare"
    source = [
        ("connection", name, ""),
        ("table", block_scalar(table), described.comment),
        ("key", _list(proposal.key), _(_GUESSED_KEY) if proposal.guessed_key else ""),
        *cursor,
        ("mode", "auto", _(N_("now: {mode}")).format(mode=possible.mode)),
        ("every", "10m" if walks else "30s", _(_NO_CURSOR) if walks else ""),
    ]
    draft = _draft(flow, described, proposal, definition, source, connection=new if new[1] else None)
    return _write_flow(session, target, base, draft, possible)


def _from_csv(session: Session, wanted: Wanted, path: Path) -> ExitCode:
    from agent.app.describe import absolute, describe_csv  # noqa: PLC0415 - as above
    from agent.app.starter import block_scalar  # noqa: PLC0415 - as above

    described, encoding, delimiter = describe_csv(path)
    target, flow = _target(session, wanted, path.stem)
    base = _base(session, wanted, target)
    proposal, definition = _proposed(_load(base).value, wanted, described)
    files = str(absolute(path).parent / f"*{path.suffix}")
    source = [
        ("files", block_scalar(files), _(N_("every file of this kind in the folder"))),
        ("ready", "stable", _(N_("a file is read when it has stopped growing; surer: ok-file, rename"))),
        ("encoding", encoding.value, ""),
        *([("delimiter", json.dumps(delimiter), "")] if delimiter != "," else []),
        ("key", _list(proposal.key), _(_GUESSED_KEY) if proposal.guessed_key else ""),
        ("then", "archive", _(N_("read files go to archive/, rows that are not accepted to rejected/ with the reason"))),
    ]
    draft = _draft(flow, described, proposal, definition, source, same_names=definition is None)
    return _write_flow(session, target, base, draft)


_GUESSED_KEY: Final = N_("a guess: the columns that together name one record for ever")
_NO_CURSOR: Final = N_("no column shows when a row was changed: the whole table is read and compared each time")


def _target(session: Session, wanted: Wanted, name: str) -> tuple[Path, str]:
    """Return the file to write and the id of its flow."""
    flow = wanted.flow or flow_id(name)
    return wanted.target or _parts_folder(session) / f"{flow}.yaml", flow


def _parts_folder(session: Session) -> Path:
    return configuration_files(session.config)[0].parent / PARTS_FOLDER


def _base(session: Session, wanted: Wanted, target: Path) -> list[Document]:
    """Return the configuration that the new file joins; a starter where there is none yet."""
    files = configuration_files(session.config)
    if not files[0].exists():
        return [parse_document(_starter(wanted), str(files[0]))]
    return [read_document(file) for file in files if file != target]


def _defined_in(target: Path, connection: str) -> Mapping[str, str]:
    """Return the fields of a connection that the file to be written anew holds so far; none when it does not."""
    found = read_document(target).data if target.exists() else None
    sections = found.get("connections") if isinstance(found, dict) else None
    fields = sections.get(connection) if isinstance(sections, dict) else None
    return {str(name): str(value) for name, value in fields.items()} if isinstance(fields, dict) else {}


def _connection_part(name: str, fields: Mapping[str, str]) -> Document:
    from agent.app.starter import connection_value  # noqa: PLC0415 - as above

    lines = ["connections:", f"  {name}:", *(f"    {key}: {connection_value(key, text)}" for key, text in fields.items())]
    return parse_document("\n".join(lines) + "\n", _(N_("options of the command")))


def _list(names: Sequence[str]) -> str:
    from agent.app.starter import scalar  # noqa: PLC0415 - as above

    return f"[{', '.join(map(scalar, names))}]"


def _proposed(settings: AgentFile, wanted: Wanted, described: Described) -> tuple[Proposal, MessageTypeFile | None]:
    from agent.app.propose import propose  # noqa: PLC0415 - as above

    definition = load_message_types(settings.message_types).get(wanted.message) if wanted.message else None
    if wanted.message and definition is None:
        raise SettingsError(
            N_("the message type {name} is not known here"),
            hint=N_("list and look: huitong explain TYPE@VERSION; put the definition of the hub into the folder message_types"),
            name=wanted.message,
        )
    proposal = propose(described, definition, language())
    if not proposal.key:
        raise SettingsError(
            N_("no column of {source} looks like a field of {type}"),
            hint=N_("leave --message away to get all columns, and map them by hand"),
            source=described.name,
            type=wanted.message,
        )
    return proposal, definition


def _draft(
    flow: str,
    described: Described,
    proposal: Proposal,
    definition: MessageTypeFile | None,
    source: Sequence[tuple[str, str, str]],
    *,
    connection: tuple[str, Mapping[str, str]] | None = None,
    same_names: bool = False,
) -> FlowDraft:
    from agent.app.starter import FlowDraft  # noqa: PLC0415 - as above

    own = getattr(definition.title, language()) if definition else ""
    return FlowDraft(
        flow=flow,
        title=described.comment or own or described.name,
        message=definition.name if definition else f"department.{flow}@1",
        source=source,
        described=described,
        proposal=proposal,
        known_type=definition is not None,
        same_names=same_names,
        connection=connection,
    )


def flow_id(name: str) -> str:
    """Return a flow id made from the name of a table or file; Chinese by its initials."""
    from agent.app.pinyin import initials  # noqa: PLC0415 - as above

    last = name.rpartition(".")[2]
    spoken = last if last.isascii() else initials(last)
    plain = re.sub(r"[^a-z0-9]+", "-", spoken.lower()).strip("-")[:63].strip("-")
    return plain if _FLOW.fullmatch(plain) else f"flow-{plain}".strip("-")[:63]


def _write_flow(
    session: Session, target: Path, base: Sequence[Document], draft: FlowDraft, possible: Possible | None = None
) -> ExitCode:
    from agent.app.starter import flow_text  # noqa: PLC0415 - as above

    text = flow_text(draft)
    _load([*base, parse_document(text, str(target) if target != STDOUT else _(N_("the new file")))])
    if not _write(session, target, text):
        return ExitCode.FAILED
    missing = list(draft.proposal.missing)
    if missing:
        said = _(N_("No column was found for: {names}. Write their columns into the file.")).format(names=", ".join(missing))
        session.output.say(said)
    about: dict[str, Any] = {"flow": draft.flow, "key": list(draft.proposal.key), "missing": missing}
    if possible is not None:
        about |= {"mode": possible.mode, "grants": list(possible.grants)}
        for line in _said_of(possible, draft.flow):
            session.output.say(line)
    folder = _parts_folder(session)
    found_there = target.resolve().parent == folder.resolve()
    _tell(session, target, about, _NEXT_FLOW if found_there else (_MOVE, *_NEXT_FLOW), folder=folder)
    return ExitCode.OK


def _said_of(possible: Possible, flow: str) -> Iterator[str]:
    """Yield how changes will be seen, how they could be seen better, and what a DBA has to grant."""
    yield _(N_("Changes will be seen by mode {mode}.")).format(mode=possible.mode)
    for mode, why in possible.passed:
        yield _(N_("Mode {mode} would be better: {why}.")).format(mode=mode, why=_(why).rstrip("。."))
    if possible.passed:
        yield _(N_("What a DBA creates for it is printed by: huitong source ddl {flow}")).format(flow=flow)
    if possible.grants:
        yield _(N_("The account needs no more than this, from the DBA:"))
        yield from (f"  {grant};" for grant in possible.grants)


# -- checking and writing --------------------------------------------------------------------------------------------


def _load(documents: Sequence[Document]) -> Loaded[AgentFile]:
    """Load documents as `huitong validate` would. Raises SettingsError with their problems."""
    return assemble(documents, agent_settings_model(BUILTIN), checks=[check_messages])


def _write(session: Session, target: Path, text: str) -> bool:
    if target == STDOUT:
        session.output.stdout.write(text)
        return True
    if target.exists() and not session.output.confirm(_(N_("{file} exists. Overwrite it?")).format(file=target)):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except PermissionError as error:
        raise Denied(path=target) from error
    except OSError as error:
        raise SettingsError(N_("{path} cannot be written: {why}"), path=target, why=error.strerror or str(error)) from error
    return True


def _tell(session: Session, target: Path, about: Mapping[str, Any], steps: Sequence[str], **facts: object) -> None:
    if target == STDOUT:
        return
    told = [_(step).format(file=target, flow=about.get("flow", ""), **facts) for step in steps]
    session.output.data({"file": str(target), **about, "next": told}, lambda: _lines(target, told))


def _lines(target: Path, steps: Sequence[str]) -> Iterator[str]:
    yield _(N_("{file} is written. Next:")).format(file=target)
    yield from (f"  {number}. {step}" for number, step in enumerate(steps, 1))
