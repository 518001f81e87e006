"""`huitong hub init`: hub.yaml, a signing key and an empty store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import click

from agent.errors import Conflict, HuitongError, SettingsError
from agent.i18n import N_, _
from agent.i18n import language as current_language
from agent.wire.topology import NODE_CODE
from hub.app import keys_of, location_of, secrets_of
from hub.cli.base import HubSession, argument, command, option, pass_session
from hub.store.migrate import migrate
from hub.store.opening import open_store


@command(
    "init",
    N_(
        "Write a first hub.yaml, a signing key and an empty store.\nCODE is the hub's permanent node code. Passwords are "
        "never asked for here; store them with the names this command tells."
    ),
)
@argument("code", metavar=N_("CODE"))
@option("--title", default="", metavar=N_("NAME"), text=N_("name shown on screens"))
@option("--store", "store_url", metavar="postgres://USER@HOST[:PORT]/NAME", text=N_("store in PostgreSQL; a file otherwise"))
@option(
    "--broker",
    default="amqp://127.0.0.1:5672/",
    show_default=True,
    metavar="amqp://[USER@]HOST[:PORT]/VHOST",
    text=N_("address of the message broker"),
)
@option("--management", metavar="http://[USER@]HOST:PORT", text=N_("address of the broker's management interface"))
@option("--state", type=click.Path(path_type=Path), default=Path("/var/lib/huitong-hub"), text=N_("folder of store and keys"))
@option("--secrets", type=click.Path(path_type=Path), default=Path("/etc/huitong/secrets"), text=N_("folder of the secrets"))
@pass_session
def init(
    session: HubSession,
    code: str,
    title: str,
    store_url: str | None,
    broker: str,
    management: str | None,
    state: Path,
    secrets: Path,
) -> int:
    """Write what does not exist yet; never overwrite."""
    if not NODE_CODE.fullmatch(code):
        raise SettingsError(N_("{code} cannot be a node code: 2 to 32 lower-case letters, digits and -"), hint="", code=code)
    if session.config.exists():
        raise Conflict(why=_(N_("{path} exists already")).format(path=session.config))
    lines = [
        *_head(code, title, state.absolute(), secrets.absolute()),
        *_store(store_url, state.absolute()),
        *_broker(broker, management),
    ]
    session.config.parent.mkdir(parents=True, exist_ok=True)
    session.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        settings = session.settings()
    except HuitongError:
        session.config.unlink()  # what we would not read back is not left behind
        raise
    key = keys_of(settings).new()
    if store_url is None:
        store = open_store(location_of(settings, secrets_of(settings, os.environ)))
        migrate(store)
        store.close()
    told = {"config": str(session.config), "kid": key.kid, "store": settings.store.type}
    session.output.data(told, lambda: [_("{path} is written.").format(path=session.config), key.kid])
    for name in _secret_names(store_url, management):
        session.output.say(_(N_("Store the password in {path} (mode 0600).")).format(path=settings.hub.secrets_dir / name))
    session.output.say(_(N_("Next: huitong hub admit CODE --key FILE, then huitong hub run")))
    return 0


def _secret_names(store_url: str | None, management: str | None) -> list[str]:
    wanted = (("hub_database", store_url), ("hub_broker", "always"), ("broker_admin", management))
    return [name for name, when in wanted if when]


def _head(code: str, title: str, state: Path, secrets: Path) -> Iterator[str]:
    yield f"# {_(N_('Configuration of an exchange node. What a field means: huitong explain FIELD'))}"
    yield "version: 1"
    yield ""
    yield "hub:"
    yield f'  code: "{code}"'
    if title:
        yield f"  title: {_quoted(title)}"
    yield f"  language: {current_language()}"
    yield f"  keys_dir: {_quoted(str(state / 'keys'))}"
    yield f"  secrets_dir: {_quoted(str(secrets))}"
    yield ""


def _store(url: str | None, state: Path) -> Iterator[str]:
    yield "store:"
    if url is None:
        yield "  type: sqlite"
        yield f"  path: {_quoted(str(state / 'hub.db'))}"
    else:
        yield from _postgres(url)
    yield ""


def _postgres(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not (parts.hostname and parts.username and parts.path.strip("/")):
        raise SettingsError(N_("the store must have the form postgres://USER@HOST[:PORT]/NAME"), hint="")
    if parts.password:
        raise _password_in_address()
    yield "  type: postgres"
    yield f"  host: {_quoted(parts.hostname)}"
    yield f"  port: {parts.port or 5432}"
    yield f"  database: {_quoted(parts.path.strip('/'))}"
    yield f"  user: {_quoted(parts.username)}"
    yield "  password: secret:hub_database"


def _broker(url: str, management: str | None) -> Iterator[str]:
    address, user = _account(url, "hub")
    yield "broker:"
    yield f"  url: {_quoted(address)}"
    yield f"  user: {_quoted(user)}"
    yield "  password: secret:hub_broker"
    if management:
        address, user = _account(management, "hub-admin")
        yield "  management:"
        yield f"    url: {_quoted(address)}"
        yield f"    user: {_quoted(user)}"
        yield "    password: secret:broker_admin"


def _account(url: str, usual: str) -> tuple[str, str]:
    """Return an address without its user, and the user."""
    parts = urlsplit(url)
    if parts.password:
        raise _password_in_address()
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), unquote(parts.username or "") or usual


def _password_in_address() -> SettingsError:
    return SettingsError(N_("a password may not stand in the address; it is stored as a secret"), hint="")


def _quoted(text: str) -> str:
    """Return a double-quoted YAML scalar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
