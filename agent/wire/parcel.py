"""From a message to a publication: the AMQP properties of PROTOCOL 1, in one place."""

from __future__ import annotations

from agent.model import ExchangeMessage
from agent.ports import Parcel
from agent.wire.topology import DELIVERY_EXCHANGE, ingress_exchange

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SIGNATURE_HEADER = "jws"


def parcel_of(message: ExchangeMessage, node: str, tag: int) -> Parcel:
    """Return the publication of a department's message to its own ingress exchange; fanout, so no routing key."""
    return _parcel(message, ingress_exchange(node), "", tag)


def parcel_to(message: ExchangeMessage, queue: str, tag: int) -> Parcel:
    """Return the publication of a hub's message down to a queue (`receipt_queue`, `out_queue`) of a department."""
    return _parcel(message, DELIVERY_EXCHANGE, queue, tag)


def _parcel(message: ExchangeMessage, exchange: str, routing_key: str, tag: int) -> Parcel:
    return Parcel(
        tag=tag,
        exchange=exchange,
        routing_key=routing_key,
        message_id=message.message_id,
        type=message.type,
        encoding=message.encoding,
        body=message.body,
        headers={SIGNATURE_HEADER: message.jws},
        timestamp=int(message.created_at.timestamp()),
    )
