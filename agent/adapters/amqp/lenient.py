"""Properties of messages, whatever their sender made of them.

The broker hands properties on as they are. Some that are valid AMQP make pika's decoder raise (a timestamp beyond the year
9999, tables nested hundreds deep), and with it ends the connection: the message would come again and end the next one too. So
a content header that cannot be decoded is decoded without its header table, and what is no UTF-8 is shown with escapes.
Who receives it then judges a message that lacks its signature.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pika import frame
from pika.adapters.select_connection import SelectConnection
from pika.exceptions import AMQPError
from pika.spec import FRAME_HEADER, FRAME_HEADER_SIZE, BasicProperties

_UNDECODABLE: Final = (ValueError, OverflowError, RecursionError, struct.error, AMQPError)
_FRAME_HEAD: Final = struct.Struct(">BHL")  # type, channel, size
_CONTENT_HEAD: Final = struct.Struct(">HHQ")  # class, weight, size of the body


class LenientConnection(SelectConnection):
    """A connection that no message can break."""

    def _read_frame(self) -> tuple[int, Any]:
        try:
            return super()._read_frame()
        except _UNDECODABLE:
            if self._frame_buffer[:1] != bytes([FRAME_HEADER]):
                raise
            return _read_without_headers(self._frame_buffer)


def _read_without_headers(octets: bytes) -> tuple[int, frame.Header]:
    """Return (octets taken, content header) of the frame at the beginning of `octets`."""
    _type, channel, size = _FRAME_HEAD.unpack_from(octets)
    payload = octets[FRAME_HEADER_SIZE : FRAME_HEADER_SIZE + size]
    _class, _weight, body_size = _CONTENT_HEAD.unpack_from(payload)
    properties = BasicProperties()  # type: ignore[no-untyped-call]
    properties.decode(without_headers(payload[_CONTENT_HEAD.size :]))  # type: ignore[no-untyped-call]
    return FRAME_HEADER_SIZE + size + 1, frame.Header(channel, body_size, properties)


def without_headers(properties: bytes) -> bytes:
    """Return encoded properties without their header table, which is stepped over by its announced length."""
    (flags,) = struct.unpack_from(">H", properties)
    start = 2
    for before in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & before:
            start += 1 + properties[start]
    end = start
    if flags & BasicProperties.FLAG_HEADERS:
        end += 4 + int.from_bytes(properties[start : start + 4])
    return struct.pack(">H", flags & ~BasicProperties.FLAG_HEADERS) + properties[2:start] + properties[end:]


def text(value: str | bytes | None) -> str | None:
    """Return a property as text; pika leaves what is no UTF-8 as octets."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
