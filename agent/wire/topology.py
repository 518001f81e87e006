"""Names of everything at the broker, derived from node codes. Pure; the hub declares, the agent only uses."""

from __future__ import annotations

import re
from typing import Final

NODE_CODE: Final = re.compile(r"[a-z0-9-]{2,32}", re.ASCII)
"""A node code, for `fullmatch`. It stands in permission patterns at the broker, so it may hold nothing a regex would read."""

FLOW_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""A flow id, for `fullmatch`. Permanent once a message was sent under it."""

DELIVERY_EXCHANGE: Final = "to"
"""The direct exchange that carries receipts and deliveries down; routing key = queue name."""


def _node(code: str) -> str:
    if not NODE_CODE.fullmatch(code):
        raise ValueError(f"not a node code: {code!r}")
    return code


def ingress_exchange(code: str) -> str:
    """Return the fanout exchange a department publishes to."""
    return f"ing.{_node(code)}"


def inbound_queue(code: str) -> str:
    """Return the quorum queue behind that exchange, which the hub consumes."""
    return f"in.{_node(code)}"


def receipt_queue(code: str) -> str:
    """Return the queue of receipts and control messages for a department; its routing key at `to` is its name."""
    return f"rcpt.{_node(code)}"


def out_queue(code: str) -> str:
    """Return the queue of deliveries for a department; its routing key at `to` is its name."""
    return f"out.{_node(code)}"


def user_name(code: str) -> str:
    """Return the broker user of a department."""
    return f"agent.{_node(code)}"


def node_of_exchange(exchange: str) -> str | None:
    """Return the department that owns an ingress exchange, None when the name is not one."""
    prefix, _, code = exchange.partition(".")
    return code if prefix == "ing" and NODE_CODE.fullmatch(code) else None


def node_of_user(user: str) -> str | None:
    """Return the department a broker user belongs to, None when it is not a department's."""
    prefix, _, code = user.partition(".")
    return code if prefix == "agent" and NODE_CODE.fullmatch(code) else None


def write_permission(code: str) -> str:
    """Return the regular expression of what a department may write to."""
    return rf"^ing\.{_node(code)}$"


def read_permission(code: str) -> str:
    """Return the regular expression of what a department may read from."""
    return rf"^(rcpt|out)\.{_node(code)}$"
