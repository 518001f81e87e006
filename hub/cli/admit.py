"""`huitong hub admit` and `huitong hub suspend`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from agent.adapters.clock import SystemClock
from agent.errors import NotFound, SettingsError
from agent.i18n import N_, _
from agent.wire.signature import PublicKey
from agent.wire.topology import NODE_CODE
from hub.admission import Admitted, Login, read_key_file
from hub.admission import admit as admit_department
from hub.app import broker_of, management_of, secrets_of
from hub.cli.base import HubSession, argument, command, operator, option, pass_session
from hub.cli.words import STATES
from hub.management import commands
from hub.model import Department, DepartmentState
from hub.settings import HubFile
from hub.store.store import Registry


@command(
    "admit",
    N_(
        "Admit a department: queues, user, rights and key.\nCODE becomes its permanent name. The key file comes from "
        "huitong keys export; compare the key with the department by telephone. Repeating the command renews everything."
    ),
)
@argument("code", metavar=N_("CODE"))
@option("--key", "key_file", type=click.Path(path_type=Path), metavar=N_("FILE"), text=N_("public keys of the department"))
@option("--title", default="", metavar=N_("NAME"), text=N_("name shown on screens"))
@option("--contact", default="", metavar=N_("TEXT"), text=N_("person and telephone number to call"))
@option("--certificate", is_flag=True, text=N_("it logs in by its client certificate, whose CN is agent.CODE; no password"))
@option("--new-password", is_flag=True, text=N_("give an existing user a new password"))
@option("--print", "only_print", is_flag=True, text=N_("only print the commands for the broker's administrator; change nothing"))
@pass_session
def admit(
    session: HubSession,
    code: str,
    key_file: Path | None,
    title: str,
    contact: str,
    certificate: bool,
    new_password: bool,
    only_print: bool,
) -> int:
    """Admit one department."""
    if not NODE_CODE.fullmatch(code):
        raise SettingsError(N_("{code} cannot be a node code: 2 to 32 lower-case letters, digits and -"), hint="", code=code)
    settings = session.settings()
    vhost = unquote(urlsplit(settings.broker.url).path.removeprefix("/")) or "/"
    if only_print:
        lines = commands(code, vhost, certificate=certificate)
        session.output.data({"commands": lines}, lambda: lines)
        return 0
    keys = read_key_file(key_file, code) if key_file is not None else []
    for key in keys:
        session.output.say(f"{key.owner}  {key.alg}  {key.kid}")
    if keys and not session.output.confirm(_(N_("Are these the keys the department reads to you?"))):
        return 1
    department = Department(code, title, contact, DepartmentState.ADMITTED, SystemClock().now())
    login = Login(certificate=certificate, new_password=new_password)
    _show(session, *_admit(session, settings, department, keys, vhost, login))
    return 0


def _admit(
    session: HubSession, settings: HubFile, department: Department, keys: list[PublicKey], vhost: str, login: Login
) -> tuple[Admitted, bool]:
    """Return what came of it, and whether the department is suspended all the same."""
    from agent.adapters.amqp.admin import AmqpAdmin  # noqa: PLC0415 - only this command pays for pika

    secrets = secrets_of(settings, os.environ)
    with session.registry() as registry, AmqpAdmin(broker_of(settings, secrets)) as broker:
        admitted = admit_department(
            department,
            keys,
            registry=registry,
            broker=broker,
            management=management_of(settings, secrets),
            vhost=vhost,
            login=login,
            by=operator(),
        )
        return admitted, _find(registry, department.code).state is DepartmentState.SUSPENDED


def _show(session: HubSession, admitted: Admitted, suspended: bool) -> None:
    told = {
        "department": admitted.department.code,
        "new": admitted.new,
        "suspended": suspended,
        "keys": [key.kid for key in admitted.keys],
        "password": admitted.password,
        "commands": list(admitted.commands),
    }
    session.output.data(told, lambda: _lines(admitted))
    if suspended:
        text = _(N_("{code} is still suspended. To take its messages again: huitong hub suspend {code} --lift"))
        session.output.say(text.format(code=admitted.department.code))


def _lines(admitted: Admitted) -> Iterator[str]:
    code = admitted.department.code
    yield _(N_("{code} is admitted.")).format(code=code) if admitted.new else _(N_("{code} is renewed.")).format(code=code)
    if admitted.password:
        yield _(N_("account   agent.{code}")).format(code=code)
        yield _(N_("password  {password}")).format(password=admitted.password)
        yield _(N_("The password is shown this once. The department stores it with: huitong secret set hub_password"))
    if admitted.commands:
        yield _(N_("The broker's administrator still has to type:"))
        yield from (f"  {line}" for line in admitted.commands)


@command("suspend", N_("Take nothing more from a department.\nIts messages wait at the broker; --lift takes them again."))
@argument("code", metavar=N_("CODE"))
@option("--lift", is_flag=True, text=N_("admit it again"))
@pass_session
def suspend(session: HubSession, code: str, lift: bool) -> int:
    """Suspend one department or lift it."""
    state = DepartmentState.ADMITTED if lift else DepartmentState.SUSPENDED
    with session.registry() as registry:
        _find(registry, code)
        if not lift and not session.output.confirm(_(N_("Suspend {code}?")).format(code=code)):
            return 1
        registry.set_state(code, state, SystemClock().now(), operator())
    session.output.data({"department": code, "state": state.value}, lambda: [f"{code}  {_(STATES[state])}"])
    return 0


def _find(registry: Registry, code: str) -> Department:
    for department in registry.departments():
        if department.code == code:
            return department
    raise NotFound(what=N_("department"), name=code)
