"""Admitting a department: topology at the broker, user and rights, then department and keys in the registry.

In this order, because a department that is in the registry is worked for at once. Every step may be repeated.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agent.errors import Denied, SettingsError
from agent.events import Events
from agent.wire.keys import public_from_jwk, read_enrolment
from agent.wire.signature import PublicKey
from hub.errors import BadKeyFile
from hub.events import DeliveryLimitSuspected
from hub.management import Management, commands
from hub.model import Department
from hub.store.store import Registry

DELIVERY_LIMIT_SINCE = (4,)
"""The first RabbitMQ whose quorum queues have a delivery limit by default."""


class Declares(Protocol):
    """What declares queues and exchanges (agent.adapters.amqp.admin.AmqpAdmin)."""

    @property
    def server_version(self) -> tuple[int, ...]:
        """The broker's version."""
        ...

    def admit(self, code: str) -> None:
        """Declare what a department needs."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came of an admission. `password` is told once and kept nowhere; `commands` are left for the administrator."""

    department: Department
    new: bool
    keys: Sequence[PublicKey]
    password: str = ""
    commands: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """How the department logs in at the broker."""

    certificate: bool = False
    new_password: bool = False


def read_key_file(path: Path, code: str) -> list[PublicKey]:
    """Return the public keys in an enrolment file or a JWK file of the department. Raises BadKeyFile, Denied."""
    try:
        octets = path.read_bytes()
    except PermissionError as error:
        raise Denied(path=str(path)) from error
    except OSError as error:
        raise BadKeyFile(path=str(path), why=error.strerror or str(error)) from error
    try:
        document = json.loads(octets)
        if isinstance(document, dict) and "kty" in document:
            return [public_from_jwk(document, code)]
        node, keys = read_enrolment(octets)
    except ValueError as error:
        raise BadKeyFile(path=str(path), why="not JSON") from error
    except SettingsError as error:
        raise BadKeyFile(path=str(path), why=str(error)) from error
    if node != code:
        raise BadKeyFile(path=str(path), why=f"it belongs to {node}")
    return [replace(key, owner=code) for key in keys]


def check_delivery_limit(broker: Declares, management: Management | None, vhost: str, events: Events) -> None:
    """Raise the alarm where the broker may have a delivery limit, which silently removes innocent messages."""
    if broker.server_version < DELIVERY_LIMIT_SINCE:
        return
    if management is None or not management.delivery_limit_lifted(vhost):
        events.emit(DeliveryLimitSuspected(".".join(map(str, broker.server_version))))


def admit(
    department: Department,
    keys: Sequence[PublicKey],
    *,
    registry: Registry,
    broker: Declares,
    management: Management | None,
    vhost: str,
    login: Login,
    by: str,
) -> Admitted:
    """Admit or renew a department. Raises NotConnected, Forbidden, BrokerRefused, Conflict, StoreUnavailable."""
    code = department.code
    broker.admit(code)
    password, left = "", commands(code, vhost, certificate=login.certificate)
    if management is not None:
        left = []
        if login.new_password or not management.user_exists(code):
            password = "" if login.certificate else secrets.token_urlsafe(24)
            management.put_user(code, password or None)
        management.put_rights(code, vhost)
        if broker.server_version >= DELIVERY_LIMIT_SINCE:
            management.lift_delivery_limit(vhost)
    new = registry.admit(department, keys[0] if keys else None, by)
    for key in keys[1:]:
        registry.add_key(key, department.admitted_at, by)
    return Admitted(department, new, keys, password, left)
