"""`huitong keys`: the keys this agent signs with, and the hub's keys it trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from agent.app.parts import keys_of, trust_of
from agent.cli.base import Session, argument, group, option, pass_session
from agent.cli.validate import load_agent_settings
from agent.errors import SettingsError
from agent.i18n import N_, _
from agent.settings.agent_file import AgentFile
from agent.wire.keys import ALGORITHMS, read_enrolment
from agent.wire.signature import KeyState, PublicKey


@group("keys", N_("Signing keys of this agent, and keys of the hub it trusts."))
def keys() -> None:
    """Group of key commands."""


def _settings(session: Session) -> AgentFile:
    return load_agent_settings([session.config]).value


@keys.command("new", help=N_("Make a signing key. The first one is used at once, a later one after `huitong keys use`."))
@option("--alg", type=click.Choice(ALGORITHMS), default="EdDSA", show_default=True, help=N_("signature algorithm"))
@pass_session
def new(session: Session, alg: str) -> None:
    """Make a key and say what to do with it."""
    made = keys_of(_settings(session)).new(alg)
    session.output.data({"kid": made.kid, "alg": made.alg, "current": made.current}, lambda: [made.kid])
    session.output.say(_(N_("Next: huitong keys export -o FILE, send the file to the hub, and read them this key by telephone.")))


@keys.command("list", help=N_("List the keys of this agent and the trusted keys of the hub."))
@pass_session
def list_keys(session: Session) -> None:
    """Show own and trusted keys."""
    settings = _settings(session)
    own, trusted = keys_of(settings).list(), trust_of(settings).keys()
    columns = (N_("key"), N_("algorithm"), N_("owner"), N_("state"))
    rows = [(key.kid, key.alg, settings.agent.id, _(N_("signs")) if key.current else _(N_("kept"))) for key in own]
    rows += [(key.kid, key.alg, key.owner, _(_STATES[key.state])) for key in trusted]
    if session.output.json:
        session.output.data([dict(zip(("kid", "alg", "owner", "state"), row, strict=True)) for row in rows], list)
    else:
        session.output.table(columns, rows)


_STATES = {KeyState.ACTIVE: N_("active"), KeyState.RETIRING: N_("retiring"), KeyState.REVOKED: N_("revoked")}


@keys.command("use", help=N_("Sign with this key from the next start on. The hub must know it first."))
@argument("kid")
@pass_session
def use(session: Session, kid: str) -> None:
    """Choose the key that signs."""
    keys_of(_settings(session)).use(kid)


@keys.command("export", help=N_("Write the public halves of our keys, for the hub to register."))
@option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar=N_("FILE"), help=N_("file to write"))
@pass_session
def export(session: Session, target: Path | None) -> None:
    """Write the enrolment file."""
    settings = _settings(session)
    text = keys_of(settings).enrolment(settings.agent.id)
    if target is None:
        session.output.stdout.write(text.decode())
    else:
        target.write_bytes(text)


@keys.command("trust", help=N_("Trust the public keys in a file of the hub, after comparing them with the hub by telephone."))
@argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_session
def trust(session: Session, file: Path) -> None:
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
    if session.output.confirm(_(N_("Are these the keys the hub reads to you?"))):
        store = trust_of(settings)
        for key in found:
            store.pin(key)


def _shown(found: list[PublicKey]) -> Iterator[str]:
    for key in found:
        yield f"{key.owner}  {key.alg}  {key.kid}"


@keys.command("revoke", help=N_("Never again trust this key of the hub. Receipts that it signed no longer settle anything."))
@argument("kid")
@pass_session
def revoke(session: Session, kid: str) -> None:
    """Revoke a trusted key."""
    settings = _settings(session)
    if session.output.confirm(_(N_("Revoke key {kid} for ever?")).format(kid=kid)):
        trust_of(settings).set_state(kid, KeyState.REVOKED)
