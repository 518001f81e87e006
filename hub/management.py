"""RabbitMQ's management interface, as much of it as admission needs. Standard library only; no proxy, no redirect."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from agent.wire.topology import read_permission, user_name, write_permission
from hub.errors import BrokerRefused

TIMEOUT_SECS: Final = 15.0
USER_LIMITS: Final = {"max-connections": 8, "max-channels": 32}
"""An agent needs two connections of a few channels; the rest is for connections the broker has not yet noticed to be dead."""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Refuse: the answer to an administrator's password comes from where it was sent."""
        return


@dataclass(frozen=True, slots=True)
class Management:
    """One management interface and an administrator."""

    url: str
    user: str
    password: str
    ca: Path | None = None

    def user_exists(self, code: str) -> bool:
        """Say whether the department's user is there."""
        return self._call("GET", f"/api/users/{_quoted(user_name(code))}", missing_is_none=True) is not None

    def put_user(self, code: str, password: str | None) -> None:
        """Create the department's user, or give it a new password; None means that only a certificate logs in."""
        body = {"password_hash": ""} if password is None else {"password": password}
        self._call("PUT", f"/api/users/{_quoted(user_name(code))}", {**body, "tags": ""})

    def put_rights(self, code: str, vhost: str) -> None:
        """Give the department's user its rights, and no others, and limit its connections."""
        rights = {"configure": "^$", "write": write_permission(code), "read": read_permission(code)}
        self._call("PUT", f"/api/permissions/{_quoted(vhost)}/{_quoted(user_name(code))}", rights)
        for name, value in USER_LIMITS.items():
            self._call("PUT", f"/api/user-limits/{_quoted(user_name(code))}/{name}", {"value": value})

    def lift_delivery_limit(self, vhost: str) -> None:
        """Set the delivery limit of inbound queues to none: from RabbitMQ 4.0 on a default removes innocent messages."""
        # Written for 4.0 and later only: earlier ones have no default limit and refuse the value.
        policy = {"pattern": r"^(in|rcpt|out)\.", "definition": {"delivery-limit": -1}, "apply-to": "queues"}
        self._call("PUT", f"/api/policies/{_quoted(vhost)}/huitong-no-delivery-limit", policy)

    def delivery_limit_lifted(self, vhost: str) -> bool:
        """Say whether that policy is in place."""
        policy = self._call("GET", f"/api/policies/{_quoted(vhost)}/huitong-no-delivery-limit", missing_is_none=True)
        return isinstance(policy, dict) and policy.get("definition", {}).get("delivery-limit") == -1

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None, *, missing_is_none: bool = False) -> Any:
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = Request(self.url.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - http(s) by its setting
        try:
            with self._opener().open(request, timeout=TIMEOUT_SECS) as answer:
                content = answer.read()
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and missing_is_none:
                return None
            raise BrokerRefused(why=f"{method} {path}: {error.code} {_reason(error)}") from error
        except (URLError, OSError) as error:
            raise BrokerRefused(why=f"{self.url}: {getattr(error, 'reason', error)}") from error
        return json.loads(content) if content else {}

    def _opener(self) -> Any:
        context = ssl.create_default_context(cafile=self.ca)
        return build_opener(ProxyHandler({}), _NoRedirect(), HTTPSHandler(context=context))


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _reason(error: HTTPError) -> str:
    try:
        told = json.loads(error.read())
    except (ValueError, OSError):
        return str(error.reason)
    return str(told.get("reason", told)) if isinstance(told, dict) else str(told)


def commands(code: str, vhost: str, *, certificate: bool) -> list[str]:
    """Return what the broker's administrator types instead; `rabbitmqctl add_user` then asks for the password."""
    user = user_name(code)
    limits = json.dumps(USER_LIMITS)
    login = [f"rabbitmqctl add_user {user}", *([f"rabbitmqctl clear_password {user}"] if certificate else [])]
    return [
        *login,
        f"rabbitmqctl set_permissions -p {vhost} {user} '^$' '{write_permission(code)}' '{read_permission(code)}'",
        f"rabbitmqctl set_user_limits {user} '{limits}'",
    ]
