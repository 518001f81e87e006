"""A private RabbitMQ node with its management interface."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from agent.testing.nodes.certificates import ServerTls
from agent.testing.nodes.guard import Guard
from agent.testing.nodes.node import Node
from agent.testing.nodes.ports import LOOPBACK, ask

_PROGRAMS: Final = "/usr/lib/rabbitmq/bin"
_GREETING: Final = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME: Final = 1
_LOOPBACK_ONLY: Final = "-kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True, slots=True)
class BrokerSpace:
    """A virtual host and a user with every right in it."""

    host: str
    port: int
    vhost: str
    user: str
    password: str
    management_port: int

    @property
    def url(self) -> str:
        """The AMQP URL."""
        return f"amqp://{quote(self.user)}:{quote(self.password)}@{self.host}:{self.port}/{quote(self.vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """The root of the management interface, without a final slash."""
        return f"http://{self.host}:{self.management_port}"


class RabbitmqNode(Node):
    """RabbitMQ as the distribution ships it: ready in about seven seconds, 150 MB.

    The server is started directly, not through its wrapper in sbin, which changes the user. Its name service (epmd) is ours
    too, in the foreground, so nothing stays behind.
    """

    kind = "rabbitmq"
    port_names = ("amqp", "amqps", "management", "distribution", "epmd")

    def __init__(self, directory: Path, *, tls: ServerTls | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self._tls = tls
        self._settings = dict(settings or {})

    # -- life --

    def prepare(self) -> None:
        """Write rabbitmq.conf and the list of plugins."""
        lines = {
            "listeners.tcp.1": f"{LOOPBACK}:{self.ports['amqp']}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self.ports["management"]),
            "default_user": self.user,
            "default_pass": self.password,
            "disk_free_limit.absolute": "50MB",
            **(self._tls_settings(self._tls) if self._tls else {}),
            **self._settings,
        }
        (self.directory / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_auth_mechanism_ssl].\n")
        (self.directory / "env.conf").touch()

    def command(self) -> Sequence[str]:
        """Return the server script; told that a service manager watches it, it becomes the server instead of its parent."""
        return [self.program("rabbitmq-server", _PROGRAMS)]

    def environment(self) -> Mapping[str, str]:
        """Return settings for the server and for rabbitmqctl."""
        here = self.directory
        return {
            **super().environment(),
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": "huitong@localhost",
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "pid"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq"),
            "RABBITMQ_CONFIG_FILES": str(here / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 2:2 {_LOOPBACK_ONLY}",
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_ONLY,
            "ERL_EPMD_PORT": str(self.ports["epmd"]),
            "ERL_EPMD_ADDRESS": LOOPBACK,
        }

    def start_companions(self, guard: Guard, output: IO[bytes]) -> None:
        """Start epmd in the foreground; the server would otherwise start a daemon that outlives it."""
        guard.start([self.program("epmd")], environment=self.environment(), directory=self.directory, output=output)
        self.await_condition(lambda: bool(ask(self.ports["epmd"], b"\x00\x01n")), "epmd does not answer", 10.0)

    def answers(self) -> bool:
        """Greet in AMQP; a node that is up answers with connection.start."""
        return ask(self.ports["amqp"], _GREETING)[:1] == bytes([_METHOD_FRAME])

    # -- administration --

    def space(self, vhost: str) -> BrokerSpace:
        """Describe a virtual host, with the administrator as user."""
        return BrokerSpace(LOOPBACK, self.ports["amqp"], vhost, self.user, self.password, self.ports["management"])

    def add_vhost(self, vhost: str) -> BrokerSpace:
        """Create a virtual host in which the administrator has every right."""
        self.manage("PUT", f"/api/vhosts/{quote(vhost, safe='')}")
        self.set_permissions(self.user, vhost, ".*", ".*", ".*")
        return self.space(vhost)

    def delete_vhost(self, vhost: str) -> None:
        """Delete a virtual host with all its queues."""
        self.manage("DELETE", f"/api/vhosts/{quote(vhost, safe='')}")

    def add_user(self, name: str, password: str, *, tags: str = "") -> None:
        """Create a user, or change its password; users belong to the whole node, not to a virtual host."""
        self.manage("PUT", f"/api/users/{quote(name, safe='')}", {"password": password, "tags": tags})

    def delete_user(self, name: str) -> None:
        """Delete a user; the broker closes its connections."""
        self.manage("DELETE", f"/api/users/{quote(name, safe='')}")

    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str) -> None:
        """Give a user rights in a virtual host, as three regular expressions."""
        path = f"/api/permissions/{quote(vhost, safe='')}/{quote(user, safe='')}"
        self.manage("PUT", path, {"configure": configure, "write": write, "read": read})

    def manage(self, method: str, path: str, body: object = None) -> Any:
        """Call the management interface as administrator and return what it answered, decoded. Raises NodeFailed."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection(LOOPBACK, self.ports["management"], timeout=30)
        try:
            headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
            connection.request(method, path, json.dumps(body if body is not None else {}), headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self.failed(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise self.failed(f"{method} {path}: {answer.status} {content.decode('utf-8', 'replace')}")
        return json.loads(content) if content else None

    def sync_declarations(self) -> None:
        """Put what was declared on disk, so that `kill` cannot undo it.

        RabbitMQ 3.10 writes its directory of quorum queues lazily (every half second): a queue that is younger at a power
        cut comes back without a leader and never gets one. A fault test calls this after declaring and before breaking.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it printed; about half a second. Raises NodeFailed."""
        return self.run([self.program("rabbitmqctl", _PROGRAMS), "-q", *arguments])

    def _tls_settings(self, tls: ServerTls) -> Mapping[str, str]:
        return {
            "listeners.ssl.1": f"{LOOPBACK}:{self.ports['amqps']}",
            "ssl_options.cacertfile": str(tls.authority),
            "ssl_options.certfile": str(tls.certificate),
            "ssl_options.keyfile": str(tls.key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true" if tls.demands_client else "false",
            "auth_mechanisms.1": "PLAIN",
            "auth_mechanisms.2": "EXTERNAL",
            "ssl_cert_login_from": "common_name",
        }
