"""`huitong keys`: the keys this agent signs with, and the hub's keys it trusts.

A rotation has no gap: make a key, let the hub register it, use it, and remove the old one when nothing waits under it any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from agent.adapters.clock import SystemClock
from agent.app.access import GLANCE_SECS, ask_running
from agent.app.parts import keys_of, trust_of
from agent.app.trust import Trust
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.exit_codes import ExitCode
from agent.cli.validate import load_agent_settings
from agent.errors import HuitongError, SettingsError
from agent.events import Events
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile
from agent.wire.keys import ALGORITHMS, read_enrolment
from agent.wire.signature import KeyState, PublicKey

_STATES: Final = {KeyState.ACTIVE: N_("active"), KeyState.RETIRING: N_("retiring"), KeyState.REVOKED: N_("revoked")}
_COLUMNS: Final = (N_("signing key"), N_("algorithm"), N_("owner"), N_("state"))


@group("keys", N_("Signing keys of this agent, and keys of the hub it trusts."))
def keys() -> None:
    """Group of key commands."""


def _settings(session: Session) -> AgentFile:
    return load_agent_settings([session.config]).value


def _trust(settings: AgentFile) -> Trust:
    return trust_of(settings, SystemClock(), Events())


@keys.command("new", help=N_("Make a signing key. The first one is used at once, a later one after `huitong keys use`."))
@option(
    "--alg",
    type=click.Choice(ALGORITHMS),
    default="EdDSA",
    show_default=True,
    metavar="EdDSA|ES256",
    help=N_("signature algorithm"),
)
@pass_session
def new(session: Session, alg: str) -> None:
    """Make a key and say what to do with it."""
    made = keys_of(_settings(session)).new(alg)
    session.output.data({"kid": made.kid, "alg": made.alg, "current": made.current}, lambda: [made.kid])
    session.output.say(_(N_("Next: huitong keys export -o FILE, send the file to the hub, and read them this key by telephone.")))
    if not made.current:
        session.output.say(
            _(N_("When the hub has registered it: huitong keys use {kid}, then restart the agent.")).format(kid=made.kid)
        )


@keys.command("list", help=N_("List the keys of this agent and the trusted keys of the hub."))
@pass_session
def list_keys(session: Session) -> None:
    """Show own and trusted keys."""
    settings = _settings(session)
    own, trusted = keys_of(settings).list(), _trust(settings).keys()
    if session.output.json:
        rows = [{"kid": k.kid, "alg": k.alg, "owner": settings.agent.id, "state": "signs" if k.current else "kept"} for k in own]
        rows += [{"kid": k.kid, "alg": k.alg, "owner": k.owner, "state": str(k.state)} for k in trusted]
        session.output.data(rows, list)
        return
    cells = [(k.kid, k.alg, settings.agent.id, _(N_("signs")) if k.current else _(N_("kept"))) for k in own]
    session.output.table(_COLUMNS, [*cells, *((k.kid, k.alg, k.owner, _(_STATES[k.state])) for k in trusted)])


@keys.command("use", help=N_("Sign with this key from the next start on. The hub must know it first."))
@argument("kid", metavar=N_("KEY"))
@pass_session
def use(session: Session, kid: str) -> None:
    """Choose the key that signs."""
    keys_of(_settings(session)).use(kid)
    text = N_("{kid} signs from the next start on; what waits under an older key is signed anew")
    session.output.data({"kid": kid, "current": True}, lambda: [_(text).format(kid=kid)])


@keys.command("remove", help=N_("Delete a signing key that is no longer used. The hub retires it with: huitong hub keys retire"))
@argument("kid", metavar=N_("KEY"))
@pass_session
def remove(session: Session, kid: str) -> ExitCode:
    """Delete an old key."""
    store = keys_of(_settings(session))
    if not session.output.confirm(_(N_("Delete the private key {kid} for ever?")).format(kid=kid)):
        return ExitCode.FAILED
    store.remove(kid)
    session.output.data({"kid": kid, "removed": True}, lambda: [_(N_("{kid} is deleted")).format(kid=kid)])
    return ExitCode.OK


@keys.command("export", help=N_("Write the public halves of our keys, for the hub to register."))
@option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar=N_("FILE"), help=N_("file to write"))
@pass_session
def export(session: Session, target: Path | None) -> None:
    """Write the enrolment file."""
    settings = _settings(session)
    text = keys_of(settings).enrolment(settings.agent.id)
    if target is None:
        session.output.stdout.write(text.decode())
        return
    target.write_bytes(text)
    kids = [key.kid for key in keys_of(settings).list()]
    session.output.data({"file": str(target), "keys": kids}, lambda: [str(target)])


# -- keys of the hub -------------------------------------------------------------------------------------------------


@keys.command(
    "trust",
    help=N_(
        "Trust the public keys in a file of the hub, after comparing them with the hub by telephone.\nA running agent follows "
        "without a restart."
    ),
)
@argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar=N_("FILE"))
@pass_session
def trust(session: Session, file: Path) -> ExitCode:
    """Pin the hub's keys."""
    settings = _settings(session)
    owner, found = read_enrolment(file.read_bytes())
    if owner != settings.hub.code:
        raise SettingsError(
            N_("this file is of node {owner}, but hub.code is {code}"),
            hint=N_("ask the hub for its own file: huitong hub keys export"),
            owner=owner,
            code=settings.hub.code,
        )
    for line in _shown(found):
        session.output.say(line)
    if not session.output.confirm(_(N_("Are these the keys the hub reads to you?"))):
        return ExitCode.FAILED
    store = _trust(settings)
    for key in found:
        store.pin(key)
    _tell_agent(settings)
    kids = [key.kid for key in found]
    session.output.data({"owner": owner, "keys": kids}, lambda: [_(N_("trusted keys: {count}")).format(count=len(kids))])
    return ExitCode.OK


def _shown(found: Sequence[PublicKey]) -> Iterator[str]:
    for key in found:
        yield f"{key.owner}  {key.alg}  {key.kid}"


@keys.command("revoke", help=N_("Never again trust this key of the hub. Receipts that it signed no longer settle anything."))
@argument("kid", metavar=N_("KEY"))
@pass_session
def revoke(session: Session, kid: str) -> ExitCode:
    """Revoke a trusted key."""
    settings = _settings(session)
    if not session.output.confirm(_(N_("Revoke key {kid} for ever?")).format(kid=kid)):
        return ExitCode.FAILED
    _trust(settings).revoke(kid)
    _tell_agent(settings)
    session.output.data({"kid": kid, "state": "revoked"}, lambda: [_(N_("{kid} is revoked")).format(kid=kid)])
    return ExitCode.OK


def _tell_agent(settings: AgentFile) -> None:
    """Have a running agent look at once. It looks by itself too, so that nothing is wrong when it does not answer."""
    try:
        ask_running(settings, "keys.reload", within_secs=GLANCE_SECS)
    except HuitongError:
        return
