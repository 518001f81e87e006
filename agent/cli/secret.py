"""`huitong secret`: store and list secrets by name. A value is read from the terminal or from stdin, never from an argument."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from agent.app.parts import secrets_of
from agent.cli.base import Session, argument, group, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.errors import SecretMissing
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile
from agent.settings.types import SecretName


@group("secret", N_("Store and list secrets; the configuration holds only their names."))
def secret() -> None:
    """Group of secret commands."""


def _settings(session: Session) -> AgentFile:
    return load_agent_settings([session.config]).value


@secret.command("set", help=N_("Store a secret. The value is asked for, or read from standard input."))
@argument("name")
@pass_session
def set_secret(session: Session, name: str) -> None:
    """Store one value."""
    store = secrets_of(_settings(session), os.environ)
    if session.output.stdin.isatty():
        value = click.prompt(_(N_("Value (not shown)")), hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = session.output.stdin.read().removesuffix("\n")
    store.put(name, value.encode())


@secret.command("list", help=N_("List the names of stored secrets and since when they are stored."))
@pass_session
def list_secrets(session: Session) -> None:
    """Show names and ages."""
    files = secrets_of(_settings(session), os.environ).files()
    rows = [(file.name, str(file.path.parent), file.modified_at.isoformat(sep=" ", timespec="seconds")) for file in files]
    if session.output.json:
        session.output.data([dict(zip(("name", "folder", "modified_at"), row, strict=True)) for row in rows], list)
    else:
        session.output.table((N_("name"), N_("folder"), N_("stored at")), rows)


@secret.command("check", help=N_("Check that every secret the configuration names has a value and is well guarded."))
@pass_session
def check(session: Session) -> ExitCode:
    """Try to read each secret."""
    settings = _settings(session)
    store = secrets_of(settings, os.environ)
    faults: dict[str, str] = {}
    names = sorted(set(referenced(settings)))
    for name in names:
        try:
            store.get(name)
        except SecretMissing as error:
            faults[name] = " → ".join(part for part in error.localised() if part)
    session.output.data(
        [{"name": name, "ok": name not in faults, "fault": faults.get(name, "")} for name in names],
        lambda: [f"× {name}  {faults[name]}" if name in faults else f"√ {name}" for name in names],
    )
    return ExitCode.FAILED if faults else ExitCode.OK


@secret.command("remove", help=N_("Delete a stored secret."))
@argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Delete one secret."""
    if session.output.confirm(_(N_("Delete the secret {name}?")).format(name=name)):
        secrets_of(_settings(session), os.environ).remove(name)


def referenced(settings: AgentFile) -> Iterator[str]:
    """Yield the name of every secret that the settings refer to."""
    for section in (settings.agent, settings.hub, *settings.connections.values()):
        for field in type(section).model_fields:
            value = getattr(section, field)
            if isinstance(value, SecretName):
                yield value.name
