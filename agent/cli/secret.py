"""`huitong secret`: store and list secrets by name. A value is read from the terminal or from stdin, never from an argument."""

from __future__ import annotations

import os
from typing import Final
from zoneinfo import ZoneInfo

import click

from agent.app.places import secret_names, secrets_of
from agent.cli.base import Session, argument, group, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.cli.words import clock_text
from agent.errors import Denied, SecretMissing, SettingsError
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile

_COLUMNS: Final = (N_("name"), N_("folder"), N_("stored at"))


@group("secret", N_("Store and list secrets; the configuration holds only their names."))
def secret() -> None:
    """Group of secret commands."""


def _settings(session: Session) -> AgentFile:
    return load_agent_settings([session.config]).value


@secret.command("set", help=N_("Store a secret. The value is asked for, or read from standard input, never from an argument."))
@argument("name", metavar=N_("NAME"))
@pass_session
def set_secret(session: Session, name: str) -> None:
    """Store one value."""
    settings = _settings(session)
    if session.output.stdin.isatty():
        value = click.prompt(_(N_("Value (not shown)")), hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = session.output.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        hint = N_("type the value, or pipe it in: huitong secret set {name} < FILE")
        raise SettingsError(N_("an empty secret is not stored"), hint=hint, name=name)
    secrets_of(settings, os.environ).put(name, value.encode())
    told = {"name": name, "used": name in secret_names(settings)}
    session.output.data(told, lambda: [_(N_("{name} is stored")).format(name=name)])
    if not told["used"]:
        session.output.say(_(N_("Nothing in the configuration refers to it yet: secret:{name}")).format(name=name))


@secret.command("list", help=N_("List the names of stored secrets and since when they are stored."))
@pass_session
def list_secrets(session: Session) -> None:
    """Show names and ages."""
    settings = _settings(session)
    files = secrets_of(settings, os.environ).files()
    if session.output.json:
        rows = [{"name": f.name, "folder": str(f.path.parent), "modified_at": f.modified_at.isoformat()} for f in files]
        session.output.data(rows, list)
        return
    zone = ZoneInfo(settings.agent.timezone)
    session.output.table(_COLUMNS, [(f.name, str(f.path.parent), clock_text(f.modified_at, zone)) for f in files])


@secret.command("check", help=N_("Check that every secret the configuration names has a value and is well guarded."))
@pass_session
def check(session: Session) -> ExitCode:
    """Try to read each secret."""
    settings = _settings(session)
    store = secrets_of(settings, os.environ)
    faults: dict[str, str] = {}
    names = secret_names(settings)
    for name in names:
        try:
            store.get(name)
        except (SecretMissing, Denied) as error:
            faults[name] = " → ".join(part for part in error.localised() if part)
    session.output.data(
        [{"name": name, "ok": name not in faults, "fault": faults.get(name, "")} for name in names],
        lambda: [f"× {name}  {faults[name]}" if name in faults else f"√ {name}" for name in names],
    )
    return ExitCode.FAILED if faults else ExitCode.OK


@secret.command("remove", help=N_("Delete a stored secret."))
@argument("name", metavar=N_("NAME"))
@pass_session
def remove(session: Session, name: str) -> ExitCode:
    """Delete one secret."""
    settings = _settings(session)
    if not session.output.confirm(_(N_("Delete the secret {name}?")).format(name=name)):
        return ExitCode.FAILED
    secrets_of(settings, os.environ).remove(name)
    session.output.data({"name": name, "removed": True}, lambda: [_(N_("{name} is deleted")).format(name=name)])
    return ExitCode.OK
