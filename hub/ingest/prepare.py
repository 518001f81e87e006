"""From a delivery to something that only its history can still refuse.

The order of the checks is the order of trust: what the broker vouches for, then the signature over the exact octets, and only
then the octets themselves. Nothing here reads or changes the state of a flow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.json import encode as _json

from agent.errors import BadMessage
from agent.model import RefusedRecord
from agent.ports import Clock, Delivered
from agent.wire.codes import CODES, refusal
from agent.wire.control import decode_control
from agent.wire.event import CONTROL_TYPE, RECORDS_TYPE, signature_typ
from agent.wire.limits import Limits
from agent.wire.parcel import SIGNATURE_HEADER
from agent.wire.reader import Envelope, WireRecord, check_properties, open_body
from agent.wire.signature import KeyRing
from agent.wire.topology import node_of_exchange, node_of_user
from hub.ingest.items import Arrival, Item, Place, Prepared, Refusal
from hub.model import PackedRecords
from hub.types import MessageTypes

MAX_DELIVERIES: Final = 5
"""A message delivered this often without an end is put aside unread: reading it may be what kills us."""

_HEADER_CHARS: Final = 4096

Pack = Callable[[Sequence[WireRecord], Sequence[int]], PackedRecords]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a hub believes now; replaced as a whole when keys or departments change."""

    ring: KeyRing
    admitted: frozenset[str]


class Preparer:
    """Checks deliveries for one hub. `trust` is asked for every message, so that a revocation works at once."""

    def __init__(
        self, *, code: str, limits: Limits, types: MessageTypes, trust: Callable[[], Trust], pack: Pack, clock: Clock
    ) -> None:
        self._code = code
        self._limits = limits
        self._types = types
        self._trust = trust
        self._pack = pack
        self._clock = clock

    def prepare(self, delivered: Delivered) -> Item:
        """Return a prepared message, or its refusal. Never raises for what is wrong with the message."""
        arrival = self._arrival(delivered)
        if delivered.delivery_count >= MAX_DELIVERIES:
            return _refusal(arrival, refusal("not_processed", why=f"delivered {delivered.delivery_count} times"), None)
        try:
            return self._checked(arrival)
        except BadMessage as error:
            return _refusal(arrival, error, None)

    def _arrival(self, delivered: Delivered) -> Arrival:
        headers = {name: _shown(value)[:_HEADER_CHARS] for name, value in delivered.headers.items()}
        jws = delivered.headers.get(SIGNATURE_HEADER)
        return Arrival(
            tag=delivered.tag,
            department=_department(delivered),
            exchange=_storable(delivered.exchange),
            user_id=_storable(delivered.user_id or ""),
            message_id=_message_id(delivered),
            type=_storable(delivered.type or "")[:128],
            encoding=_storable(delivered.encoding),
            body=delivered.body,
            digest=hashlib.sha256(delivered.body).digest(),
            jws=jws if isinstance(jws, str) else "",
            headers=_json(headers).decode(),
            received_at=self._clock.now(),
        )

    def _checked(self, arrival: Arrival) -> Item:
        trust = self._trust()
        _check_broker_facts(arrival, trust)
        key = trust.ring.verify(
            arrival.jws,
            arrival.body,
            typ=signature_typ(arrival.type),
            mid=arrival.message_id,
            cenc=arrival.encoding,
            audience=self._code,
        )
        if key.owner != arrival.department:
            raise refusal("wrong_sender", key=key.kid, owner=key.owner)
        # From here on the department itself has said it.
        envelope = open_body(arrival.body, arrival.encoding, self._limits)
        try:
            return self._opened(arrival, envelope, key.kid)
        except BadMessage as error:
            return _refusal(arrival, error, envelope)

    def _opened(self, arrival: Arrival, envelope: Envelope, kid: str) -> Prepared:
        check_properties(envelope, arrival.message_id, arrival.type)
        if envelope.sender != arrival.department:
            raise refusal("wrong_sender", sender=envelope.sender)
        if envelope.receiver != self._code:
            raise refusal("wrong_audience", said=envelope.receiver, expected=self._code)
        place = Place(envelope.flow, envelope.epoch, envelope.sequence)
        if envelope.type == CONTROL_TYPE:
            control = decode_control(envelope)
            return Prepared(arrival, place, kid, envelope.subject, envelope.dataschema, 0, control=control)
        if envelope.type != RECORDS_TYPE:
            raise refusal("unknown_type", why=envelope.type)
        packed, refused = self._records(envelope)
        count = envelope.record_count
        return Prepared(arrival, place, kid, envelope.subject, envelope.dataschema, count, packed, refused)

    def _records(self, envelope: Envelope) -> tuple[PackedRecords, tuple[RefusedRecord, ...]]:
        records, rules = envelope.records, self._types.require(envelope.dataschema).rules
        refused = rules.refused(records) if rules is not None else {}
        if not refused:
            return self._pack(records, range(len(records))), ()
        keep = [position for position in range(len(records)) if position not in refused]
        return self._pack([records[position] for position in keep], keep), tuple(refused.values())


def _check_broker_facts(arrival: Arrival, trust: Trust) -> None:
    """Exchange and user are what the broker vouches for; headers the sender wrote are never asked."""
    if node_of_exchange(arrival.exchange) != arrival.department:
        raise refusal("wrong_exchange", exchange=arrival.exchange[:64])
    if not arrival.user_id:
        raise refusal("user_missing")
    if node_of_user(arrival.user_id) != arrival.department:
        raise refusal("user_mismatch", user_id=arrival.user_id[:64])
    if arrival.department not in trust.admitted:
        raise refusal("not_authorised", why=f"{arrival.department} is not admitted")
    if not arrival.message_id:
        raise refusal("id_mismatch", message_id="")


def _department(delivered: Delivered) -> str:
    """Return who owns the exchange; for an exchange that is nobody's, whose queue it came from."""
    owner = node_of_exchange(delivered.exchange)
    return owner if owner is not None else delivered.queue.partition(".")[2]


def _message_id(delivered: Delivered) -> str:
    """Return the message id if a receipt can name it, else nothing."""
    text = delivered.message_id or ""
    return text if len(text) <= 64 and text.isascii() and text.isprintable() and " " not in text else ""


def _storable(text: str) -> str:
    """Return a sender's text without what PostgreSQL takes in no text: a refusal has to be storable, whatever it is about."""
    return text.replace("\0", "\ufffd")


def _shown(value: object) -> str:
    try:
        return str(value)
    except RecursionError:  # tables in tables, hundreds deep
        return "…"


def _refusal(arrival: Arrival, error: BadMessage, envelope: Envelope | None) -> Refusal:
    entry = CODES[error.reason]
    text = _storable(f"{entry.text} ({error.details.get('why', '')})")
    if envelope is None:
        return Refusal(arrival, entry.outcome, entry.code, text)
    # Only what the owner of the exchange says of its own flow may close a sequence of it.
    own = envelope.sender == arrival.department
    place = Place(envelope.flow, envelope.epoch, envelope.sequence) if own else Place()
    return Refusal(arrival, entry.outcome, entry.code, text, envelope.sender, place)
