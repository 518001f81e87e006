"""Where the broker is and how to prove who we are.

Importing this module loads neither pika nor ssl: settings are parsed on every start of the command line, connections are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from agent.errors import NotConnected, SettingsError
from agent.i18n import N_

if TYPE_CHECKING:
    import ssl

    from pika import ConnectionParameters

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for an encrypted connection: whom we trust and, optionally, who we are. Read again at every connect."""

    ca: Path | None = None  # None: the certificate authorities of the operating system
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that checks chain and host name and speaks TLS 1.2 or later. Raises NotConnected."""
        import ssl  # noqa: PLC0415 - loaded with the first connection

        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert is not None:
                # A key that asks for a pass phrase would ask on the terminal; an empty one fails instead.
                context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            files = ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path is not None)
            hint = N_("check that the certificate files exist, belong together and can be read: huitong doctor")
            raise NotConnected(why=f"{error} ({files})", hint=hint) from error
        return context


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The broker's hosts in the order to try them, and one identity for all.

    With a password the user logs in by it; without one by the client certificate (SASL EXTERNAL). The password appears in no
    repr. A peer that vanished without a word is noticed after 2·(heartbeat + 5) seconds when idle, after `silent_secs` while
    something is on its way.
    """

    hosts: tuple[tuple[str, int], ...]
    vhost: str = "/"
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    heartbeat_secs: int = 10
    silent_secs: float = 20.0
    blocked_secs: float = 60.0  # how long a memory or disk alarm may block publishing before we start over
    connect_secs: float = 15.0  # for one host: TCP, TLS, login

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        user: str = "",
        password: str = "",
        tls: Tls | None = None,
    ) -> BrokerAddress:
        """Read `amqp[s]://[user:password@]host[:port][,host[:port]…][/vhost]`. Arguments win over the URL.

        Raises SettingsError; its text never quotes the URL, which may hold a password.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise SettingsError(N_("the address of the broker must begin with amqp:// or amqps://"))
        login, _, hosts = parts.netloc.rpartition("@")
        url_user, _, url_password = login.partition(":")
        return cls(
            hosts=tuple(_host(text, _PORTS[parts.scheme]) for text in hosts.split(",")),
            vhost=unquote(parts.path.removeprefix("/")) or "/",
            user=user or unquote(url_user),
            password=password or unquote(url_password),
            tls=(tls or Tls()) if parts.scheme == "amqps" else None,
        )

    @property
    def node(self) -> str:
        """The node code the user stands for, as operators know it."""
        return self.user.removeprefix("agent.")

    def parameters(self) -> list[ConnectionParameters]:
        """Return what pika needs, one per host. Raises NotConnected when a certificate file cannot be used."""
        from pika import ConnectionParameters, PlainCredentials, SSLOptions  # noqa: PLC0415 - loaded with the first connection
        from pika.credentials import ExternalCredentials  # noqa: PLC0415 - as above

        context = self.tls.context() if self.tls is not None else None
        return [
            ConnectionParameters(
                host=host,
                port=port,
                virtual_host=self.vhost,
                credentials=PlainCredentials(self.user, self.password) if self.password else ExternalCredentials(),
                ssl_options=SSLOptions(context, server_hostname=host) if context is not None else None,
                heartbeat=self.heartbeat_secs,
                blocked_connection_timeout=self.blocked_secs,
                socket_timeout=self.connect_secs,
                stack_timeout=self.connect_secs,
                connection_attempts=1,  # one attempt; whoever holds the connection backs off
                tcp_options={"TCP_USER_TIMEOUT": int(self.silent_secs * 1000)},
                client_properties={"connection_name": f"huitong {self.node}".strip()},
            )
            for host, port in self.hosts
        ]


def _host(text: str, default_port: int) -> tuple[str, int]:
    """Split `host[:port]`; an IPv6 address stands in brackets. Raises SettingsError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise SettingsError(N_("the address of the broker needs a host and a port: {host}"), host=text)
    return host, port or default_port
