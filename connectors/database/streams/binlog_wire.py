"""The connection a server sends its binary log through, cut into events.

PyMySQL connects and logs in; from there on this module reads the socket itself, many packets at once. The server keeps the
connection open and reports what is new as it is written; while nothing is, it sends a heartbeat with its own position.

The server ends an older dump that carries the same `server_id`. That is what frees the one a lost connection leaves behind, and
why no replica and no other flow may use the same number.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from struct import Struct
from typing import Any, Final, NamedTuple

import pymysql  # type: ignore[import-untyped]
from pymysql.constants import COMMAND  # type: ignore[import-untyped]

from agent.errors import SourceUnavailable
from agent.i18n import N_
from connectors.database.streams.binlog_values import Malformed

HEARTBEAT_SECS: Final = 2
_SILENCE_SECS: Final = 30.0
"""Without even a heartbeat for so long, the connection is dead."""

_READER_IDLE_SECS: Final = 3600
"""How long the server waits for us to take what it sends."""

_CHUNK: Final = 1 << 18
_LARGEST: Final = 0xFFFFFF
_ARTIFICIAL: Final = 0x20
_FIRST: Final = 4
"""Where the first event of a file stands."""

_HEADER: Final = Struct("<IBIIIH")
_WRAP: Final = 1 << 32
_ROTATE, _FORMAT = 4, 15
_HEARTBEATS: Final = (27, 41)


class Event(NamedTuple):
    """One event: when and by which server it was written, where it ends, and its octets without header and checksum."""

    kind: int
    when: int
    server: int
    end: int
    body: bytes


class LogError(Exception):
    """The server cannot send the log from where it was asked to (error 1236)."""


def server_id_of(flow: str, seed: bytes) -> int:
    """Return the number under which a flow reads the log: from its name and octets that no other installation has.

    It lies in the upper half of the range, where few people number their replicas by hand.
    """
    return int.from_bytes(hashlib.sha256(seed + b"\0" + flow.encode()).digest()[:4], "big") | 0x80000000


class Dump:
    """The log from one place on. `file` and `born` tell the file that is being sent, and when it was begun."""

    def __init__(self, connection: Any, server_id: int, file: str, pos: int) -> None:
        self._connection = connection
        self._socket = connection._sock  # noqa: SLF001 - PyMySQL has no way to read this protocol
        self._buffer, self._at = b"", 0
        self._checked = False
        self._skip_to = pos if pos >= _WRAP else 0  # the command holds four octets: a greater position is read up to
        self._end = _FIRST
        self.file, self.born = file, 0
        with connection.cursor() as cursor:
            cursor.execute("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
            cursor.execute(
                f"SET @mariadb_slave_capability = 4, @master_heartbeat_period = {HEARTBEAT_SECS * 10**9}, "
                f"@source_heartbeat_period = {HEARTBEAT_SECS * 10**9}, SESSION net_write_timeout = {_READER_IDLE_SECS}"
            )
        request = Struct("<IHI").pack(_FIRST if self._skip_to else pos, 0, server_id) + file.encode()
        connection._execute_command(COMMAND.COM_BINLOG_DUMP, request)  # noqa: SLF001 - as above
        self._socket.settimeout(_SILENCE_SECS)

    def close(self) -> None:
        """End the connection without a word: the server is in the middle of sending."""
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection._force_close()  # noqa: SLF001 - as above

    def next(self) -> Event:
        """Return the next event, waiting for it if need be.

        Raises SourceUnavailable for a broken checksum or a lost connection, LogError, and the errors of PyMySQL.
        """
        while True:
            event = self._event(self._packet())
            if event.kind == _FORMAT:
                self.born = event.when
            if not self._skip_to or event.end >= self._skip_to or event.kind in (_ROTATE, _FORMAT):
                return event

    def _packet(self) -> bytes | memoryview:
        size, start = self._take(4)
        length = size[start] | size[start + 1] << 8 | size[start + 2] << 16
        buffer, start = self._take(length)
        if length < _LARGEST:
            packet = memoryview(buffer)[start : start + length]
        else:
            packet = memoryview(self._joined(buffer[start : start + length]))
        status = packet[0] if packet else 0xFE
        if status == 0xFF:
            self._refuse(bytes(packet))
        if status == 0xFE:
            raise SourceUnavailable(why=N_("the server has ended the transfer of its binary log"))
        return packet[1:]

    def _joined(self, first: bytes) -> bytes:
        parts = [first]
        while len(parts[-1]) == _LARGEST:
            head, start = self._take(4)
            length = head[start] | head[start + 1] << 8 | head[start + 2] << 16
            buffer, start = self._take(length)
            parts.append(buffer[start : start + length])
        return b"".join(parts)

    def _take(self, count: int) -> tuple[bytes, int]:
        """Return octets and where in them the next `count` stand."""
        if len(self._buffer) - self._at < count:
            self._fill(count)
        start = self._at
        self._at += count
        return self._buffer, start

    def _fill(self, count: int) -> None:
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while have < count:
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise SourceUnavailable(why=N_("the server has ended the connection for its binary log"))
            parts.append(chunk)
            have += len(chunk)
        self._buffer, self._at = b"".join(parts), 0

    @staticmethod
    def _refuse(packet: bytes) -> None:
        if int.from_bytes(packet[1:3], "little") == 1236:
            raise LogError(packet[9:].decode("utf-8", "replace"))
        pymysql.err.raise_mysql_exception(packet)

    def _event(self, packet: bytes | memoryview) -> Event:
        if len(packet) < 19:
            raise Malformed
        when, kind, server, size, end, flags = _HEADER.unpack_from(packet)
        if size != len(packet):
            raise Malformed
        if kind == _FORMAT:
            self._checked = packet[-5] == 1
            return Event(kind, when, server, self._end, bytes(packet[19:-5]))
        invented = flags & _ARTIFICIAL or not end or kind in _HEARTBEATS
        checked = self._checked if not invented else _is_whole(packet)
        if checked and not invented and not _is_whole(packet):
            raise SourceUnavailable(why=N_("an event of the binary log arrived damaged: its checksum is wrong"))
        body = bytes(packet[19:-4] if checked else packet[19:])
        if kind == _ROTATE:
            self.file, self._end = body[8:].decode("utf-8", "replace"), int.from_bytes(body[:8], "little")
            return Event(kind, when, server, self._end, body)
        if not invented or kind in _HEARTBEATS:
            # The field has 32 bits; files grow beyond that when one transaction is as large.
            self._end = end + (self._end - end + _WRAP - 1) // _WRAP * _WRAP if end < self._end else end
        return Event(kind, when, server, self._end, body)


def _is_whole(packet: bytes | memoryview) -> bool:
    return zlib.crc32(packet[:-4]) == int.from_bytes(packet[-4:], "little")
