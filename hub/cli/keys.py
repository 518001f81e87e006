"""`huitong hub keys`: keys of departments in the registry, and the hub's own signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from agent.adapters.clock import SystemClock
from agent.i18n import N_, _
from agent.wire.keys import ALGORITHMS
from agent.wire.signature import KeyState
from hub.admission import read_key_file
from hub.app import keys_of
from hub.cli.base import HubSession, argument, group, operator, option, pass_session

STATES: Final = {KeyState.ACTIVE: N_("active"), KeyState.RETIRING: N_("retiring"), KeyState.REVOKED: N_("revoked")}


@group("keys", N_("Keys of departments, and the hub's own."))
def keys() -> None:
    """Group of key commands."""


@keys.command("list", help=N_("List the hub's own keys and the pinned keys of departments."))
@option("--department", metavar=N_("CODE"), text=N_("only of this department"))
@pass_session
def list_keys(session: HubSession, department: str | None) -> int:
    """Show keys."""
    settings = session.settings()
    rows = []
    if department is None:
        own = keys_of(settings).list()
        rows = [(key.kid, key.alg, settings.hub.code, N_("signs") if key.current else N_("announced")) for key in own]
    with session.reader() as reader:
        rows += [(key.kid, key.alg, key.owner, STATES[key.state]) for key in reader.keys(department)]
    if session.output.json:
        session.output.data([dict(zip(("kid", "alg", "owner", "state"), row, strict=True)) for row in rows], list)
    else:
        shown = [(*row[:3], _(row[3])) for row in rows]
        session.output.table((N_("key"), N_("algorithm"), N_("owner"), N_("state")), shown)
    return 0


@keys.command("add", help=N_("Pin further keys of a department, after comparing them by telephone."))
@argument("code", metavar=N_("CODE"))
@argument("file", metavar=N_("FILE"), type=click.Path(path_type=Path))
@pass_session
def add(session: HubSession, code: str, file: Path) -> int:
    """Pin keys."""
    found = read_key_file(file, code)
    for key in found:
        session.output.say(f"{key.owner}  {key.alg}  {key.kid}")
    if not session.output.confirm(_(N_("Are these the keys the department reads to you?"))):
        return 1
    with session.registry() as registry:
        for key in found:
            registry.add_key(key, SystemClock().now(), operator())
    return 0


@keys.command("retire", help=N_("Mark a department's key as retiring: it still verifies, but is on its way out."))
@argument("kid", metavar=N_("KID"))
@pass_session
def retire(session: HubSession, kid: str) -> int:
    """Retire one key."""
    with session.registry() as registry:
        registry.set_key(kid, KeyState.RETIRING, SystemClock().now(), operator())
    return 0


@keys.command("revoke", help=N_("Revoke a department's key for ever; running hubs follow within seconds."))
@argument("kid", metavar=N_("KID"))
@pass_session
def revoke(session: HubSession, kid: str) -> int:
    """Revoke one key."""
    if not session.output.confirm(_(N_("Revoke key {kid} for ever?")).format(kid=kid)):
        return 1
    with session.registry() as registry:
        registry.set_key(kid, KeyState.REVOKED, SystemClock().now(), operator())
    return 0


@keys.command("new", help=N_("Make a signing key of the hub. The first signs at once, a later one is announced until `use`."))
@option("--alg", type=click.Choice(ALGORITHMS), default="EdDSA", show_default=True, text=N_("signature algorithm"))
@pass_session
def new(session: HubSession, alg: str) -> int:
    """Make a key."""
    made = keys_of(session.settings()).new(alg)
    session.output.data({"kid": made.kid, "alg": made.alg, "current": made.current}, lambda: [made.kid])
    if not made.current:
        session.output.say(
            _(N_("Restart the hub; it announces the key. When every agent has connected: huitong hub keys use KID"))
        )
    return 0


@keys.command("use", help=N_("Sign receipts with this key of the hub from the next start on."))
@argument("kid", metavar=N_("KID"))
@pass_session
def use(session: HubSession, kid: str) -> int:
    """Choose the key that signs."""
    keys_of(session.settings()).use(kid)
    return 0


@keys.command("export", help=N_("Write the hub's public keys, for departments to trust."))
@option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), metavar=N_("FILE"), text=N_("file to write"))
@pass_session
def export(session: HubSession, target: Path | None) -> int:
    """Write the enrolment file."""
    settings = session.settings()
    text = keys_of(settings).enrolment(settings.hub.code)
    if target is None:
        session.output.stdout.write(text.decode())
    else:
        target.write_bytes(text)
    return 0
