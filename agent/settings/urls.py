"""The address of a message broker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final

from agent.i18n import N_
from agent.settings.base import Misfit, Raw
from agent.settings.codes import Note
from agent.settings.types import Spelled, need_text

_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?(/(?P<vhost>[^/?#\s]*))?"
)
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")


def parse_broker_url(value: object) -> str:
    """Return an AMQP address without account and password."""
    text = need_text(value)
    if "@" in text:
        hint = Note(N_("account and password stand in the fields user and password, not in the address"))
        raise Misfit("HT-C019", hints=(hint,)).error()
    match = _URL.fullmatch(text)
    if match is None:
        raise _wrong(text, Note(N_("it must have the form {form}"), {"form": "amqps://HOST:PORT/VHOST"}))
    if match["scheme"] not in ("amqps", "amqp"):
        raise _wrong(text, Note(N_("it must begin with {schemes}"), {"schemes": "amqps:// / amqp://"}))
    if match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise _wrong(text, Note(N_("the port must be between 1 and 65535")))
    return text


def _wrong(text: str, why: Note) -> Exception:
    return Misfit("HT-C030", details={"value": text, "why": why}).error()


def is_clear_text(value: object) -> bool:
    """Return whether an address means an unencrypted connection to another machine."""
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    return match is not None and match["scheme"] == "amqp" and match["host"] not in _LOCAL


def url_misfits(raw: Raw) -> Iterator[Misfit]:
    """Yield a misfit when certificates are given for a connection that uses none."""
    url = raw.get("url")
    if isinstance(url, str) and url.startswith("amqp://"):
        for name in ("ca", "cert"):
            if raw.get(name) is not None:
                why = Note(N_("{name} has no effect with amqp://; write amqps://"), {"name": name})
                yield Misfit("HT-C038", at=(name,), on_key=True, details={"why": why})


BrokerUrl = Annotated[str, Spelled(N_("address of a broker"), parse_broker_url, r"amqps?://.+")]
