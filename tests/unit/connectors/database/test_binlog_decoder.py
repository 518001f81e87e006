"""The binary log, decoded from octets written by hand."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SourceGone, SourceUnavailable
from agent.model import Op, Value
from connectors.database.streams import binlog_events as log
from connectors.database.streams import binlog_values as values
from connectors.database.streams.binlog_ddl import Meaning, meaning_of
from connectors.database.streams.binlog_image import Images
from connectors.database.streams.binlog_json import json_text
from connectors.database.streams.binlog_spool import Place, Spool
from connectors.database.streams.binlog_values import Fixed, Malformed, Part, Prefixed
from connectors.database.streams.binlog_wire import Dump, Event, LogError, server_id_of

# -- values ----------------------------------------------------------------------------------------------------------


def _read(part: Part, raw: bytes) -> Value:
    """Read one value twice, by the compiled function and by the loop, which must agree."""
    images = Images([part], [0])
    assert images.slowly(b"\0" + raw, 0) == images.one(b"\0" + raw, 0)
    ((value,),) = images.all(b"\0" + raw)
    return value


@pytest.mark.parametrize(
    "part,raw,shown",
    [
        (values.integer(1, unsigned=False), "ff", -1),
        (values.integer(1, unsigned=True), "ff", 255),
        (values.integer(3, unsigned=False), "000080", -8388608),
        (values.integer(3, unsigned=True), "ffffff", 16777215),
        (values.integer(8, unsigned=True), "ffffffffffffffff", 2**64 - 1),
        (values.decimal(18, 2), "80000000000000" + "0c1e", "12.30"),
        (values.decimal(4, 2), "8005", "0.05"),
        (values.decimal(4, 2), "7ffa", "-0.05"),
        (values.decimal(14, 4), "810dfb38d204d2", "1234567890.1234"),
        (values.decimal(14, 4), "7ef204c72dfb2d", "-1234567890.1234"),
        (values.decimal(6, 0, zerofill=True), "80002a", "000042"),
        (values.year(), "00", 0),
        (values.year(), "7c", 2024),
        (values.day(), "000000", "0000-00-00"),
        (values.day(), "5dd00f", "2024-02-29"),
        (values.moment(0), "8000000000", "0000-00-00"),
        (values.moment(0), f"{0x8000000000 | (2024 * 13 + 2) << 22 | 29 << 17 | 12 << 12 | 34 << 6 | 56:010x}", "2024-02-29T12:34:56"),
        (values.moment(3), f"{0x8000000000 | (2024 * 13 + 2) << 22 | 29 << 17:010x}" + f"{7890:04x}", "2024-02-29T00:00:00.789"),
        (values.instant(0), "00000000", "0000-00-00"),
        (values.instant(0), f"{1700000000:08x}", "2023-11-14T22:13:20+00:00"),
        (values.instant(6), f"{1700000000:08x}" + f"{1:06x}", "2023-11-14T22:13:20.000001+00:00"),
        (values.span(0), "800000", "00:00:00"),
        (values.span(0), f"{0x800000 - (838 << 12 | 59 << 6 | 59):06x}", "-838:59:59"),
        (values.span(2), f"{(0x800000 << 8) - 1:08x}", "-00:00:00.01"),
        (values.old_moment(), struct.pack("<q", 20240229123456).hex(), "2024-02-29T12:34:56"),
        (values.old_span(), struct.pack("<i", -8385959)[:3].hex(), "-838:59:59"),
        (values.instant(0, old=True), struct.pack("<I", 1700000000).hex(), "2023-11-14T22:13:20+00:00"),
        (values.bits(2), "0101", 257),
        (values.real(4, None), struct.pack("<f", 1.1).hex(), 1.1),
        (values.real(4, None), struct.pack("<f", 16777216).hex(), 16777200.0),
        (values.real(8, None), struct.pack("<d", 0.1).hex(), 0.1),
        (values.chosen(1, ["a", "b"]), "00", ""),
        (values.chosen(2, ["a", "b"]), "0200", "b"),
        (values.several(1, ["a", "b", "c"]), "05", "a,c"),
        (Prefixed(1, bytes.decode), "03e4b8ad", "中"),
        (Prefixed(2, lambda raw: raw.decode("gbk")), "0200d6d0", "中"),
        (Prefixed(1, values.padded(4)), "0201ff", b"\x01\xff\0\0"),
        (Prefixed(1, values.address_text(16)), "10" + "20010db8" + "00" * 8 + "ff000042", "2001:db8::ff00:42"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_the_server_shows_it(part: Part, raw: str, shown: Value) -> None:
    """Every type, its signs, zeros and fractions."""
    value = _read(part, bytes.fromhex(raw))
    assert (type(value), value) == (type(shown), shown)


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 18))
def test_any_decimal_keeps_its_digits(number: int, scale: int) -> None:
    """What is written group by group, as the format says, comes back digit by digit."""
    digits = f"{abs(number):018d}"
    before, after = digits[: 18 - scale], digits[18 - scale :]
    first = len(before) % 9
    groups = [
        before[:first],
        *(before[n : n + 9] for n in range(first, len(before), 9)),
        *(after[n : n + 9] for n in range(0, scale, 9)),
    ]
    raw = b"".join(int(group).to_bytes((0, 1, 1, 2, 2, 3, 3, 4, 4, 4)[len(group)], "big") for group in groups if group)
    raw = bytes((raw[0] ^ 0x80,)) + raw[1:]
    raw = bytes(octet ^ 0xFF for octet in raw) if number < 0 else raw
    text = f"{before.lstrip('0') or '0'}" + (f".{after}" if scale else "")
    assert _read(values.decimal(18, scale), raw) == ("-" if number < 0 else "") + text


# -- images ----------------------------------------------------------------------------------------------------------


PARTS: Sequence[Part] = (Fixed(4, "i"), Prefixed(1, bytes.decode), Fixed(2, "H"), Prefixed(2, bytes), values.decimal(4, 2))


def _image(row: Sequence[Any]) -> bytes:
    octets = [
        lambda v: struct.pack("<i", v),
        lambda v: bytes((len(v.encode()),)) + v.encode(),
        lambda v: struct.pack("<H", v),
        lambda v: struct.pack("<H", len(v)) + v,
        lambda v: bytes((int(v[:-3]) | 0x80, int(v[-2:]))),
    ]
    nulls = sum(1 << n for n, value in enumerate(row) if value is None)
    return bytes((nulls,)) + b"".join(write(v) for write, v in zip(octets, row, strict=True) if v is not None)


ROW = st.tuples(
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.text(max_size=40),
    st.none() | st.integers(0, 65535),
    st.none() | st.binary(max_size=300),
    st.none() | st.sampled_from(["1.25", "99.99", "0.00"]),
)


@given(st.lists(ROW, max_size=8), st.permutations(range(5)), st.integers(0, 5))
def test_images_give_the_columns_that_are_wanted(rows: list[tuple[Any, ...]], order: list[int], count: int) -> None:
    """Whatever is NULL and whatever is wanted, in any order, compiled or not."""
    wanted = order[: count or 1]
    images = Images(PARTS, wanted)
    data = b"".join(map(_image, rows))
    expected = [tuple(row[n] for n in wanted) for row in rows]
    assert images.all(data) == expected
    at, slowly = 0, []
    while at < len(data):
        row, at = images.slowly(data, at)
        slowly.append(row)
    assert slowly == expected


@given(ROW)
def test_images_that_are_cut_off_are_malformed(row: tuple[Any, ...]) -> None:
    """No beginning of a row is taken for a row."""
    data = _image(row)
    for size in range(1, len(data)):
        with pytest.raises(Malformed):
            Images(PARTS, range(5)).all(data[:size])


def test_text_that_is_not_valid_takes_the_slow_way() -> None:
    """One invalid value makes the whole event be read by the function that knows what to do about it."""
    parts = [Prefixed(1, lambda raw: raw.decode(errors="replace"), bytes.decode)]
    assert Images(parts, [0]).all(b"\0\x01a\0\x01\xff") == [("a",), ("\ufffd",)]


# -- events ----------------------------------------------------------------------------------------------------------


def _told(kind: int, raw: bytes) -> bytes:
    return bytes((kind, len(raw))) + raw


MAP = (
    bytes.fromhex("120000000000" "0100")
    + b"\x02db\0\x01t\0"
    + b"\x06"
    + bytes((3, 15, 246, 254, 254, 18))
    + b"\x09"
    + bytes((0x28, 0, 10, 2, 247, 1, 0xEE, 0x20, 6))
    + b"\x3e"
    + _told(1, b"\x80")
    + _told(2, bytes((45, 1, 28)))
    + _told(4, b"\x02id\x01n\x01d\x01e\x01c\x02at")
    + _told(6, b"\x02\x01a\x03\xe4\xb8\xad")
    + _told(10, bytes((45,)))
)  # fmt: skip


def test_a_table_map_tells_all_of_its_columns() -> None:
    """Types with their numbers, names, signs, collations by default and by exception, and members."""
    table = log.table_map(MAP, mariadb=True)
    assert (table.table_id, table.schema, table.table) == (0x12, "db", "t")
    assert log.map_head(MAP) == (0x12, log.name_in_map("db", "t"))
    assert [f.name for f in table.fields] == ["id", "n", "d", "e", "c", "at"]
    assert [(f.type, f.meta) for f in table.fields] == [
        (3, (0, 0)),
        (15, (40, 0)),
        (246, (10, 2)),
        (247, (1, 0)),
        (254, (0x120, 0)),
        (18, (6, 0)),
    ]
    assert [f.unsigned for f in table.fields] == [True, None, False, None, None, None]
    assert [f.collation for f in table.fields] == [None, 45, None, 45, 28, None]
    assert table.fields[3].members == (b"a", "中".encode())


def test_a_table_map_that_is_cut_off_is_malformed() -> None:
    """No beginning of it is taken for a table map with as much to tell, and nothing but Malformed is raised."""
    whole = log.table_map(MAP, mariadb=True)
    for size in range(len(MAP)):
        with contextlib.suppress(Malformed):
            assert log.table_map(MAP[:size], mariadb=True) != whole


@given(st.binary(max_size=200))
def test_noise_is_malformed_or_harmless(noise: bytes) -> None:
    """Octets without sense raise Malformed and nothing else, wherever they stand."""
    for read in (lambda: log.table_map(MAP[:20] + noise, mariadb=False), lambda: log.row_images(31, noise), lambda: log.query(165, noise), lambda: json_text(noise), lambda: log.mariadb_gtid(1, noise), lambda: log.xa_prepared(noise)):  # fmt: skip
        with contextlib.suppress(Malformed):
            read()


def test_row_events_of_both_versions_and_compressed_are_read() -> None:
    """The images begin behind extra data, and updates have two sets of columns."""
    head = bytes(6) + b"\x01\0"
    assert log.row_images(23, head + b"\x03\x07" + b"data") == log.RowImages(7, 7, b"data")
    assert log.row_images(31, head + b"\x05\0abc" + b"\x03\x01\x07" + b"data") == log.RowImages(1, 7, b"data")
    packed = b"\x81\x04" + zlib.compress(b"data")
    assert log.row_images(166, head + b"\x03\x07" + packed) == log.RowImages(7, 7, b"data")
    with pytest.raises(Malformed):
        log.row_images(166, head + b"\x03\x07" + b"\x81\x04none")


def test_a_statement_knows_schema_and_collation() -> None:
    """The collation of the client stands behind variables of other kinds."""
    variables = b"\0\0\0\0\0" + b"\x01" + bytes(8) + b"\x06\x03std" + b"\x04\x1c\0\x1c\0\x1c\0"
    body = bytes(8) + b"\x02" + bytes(2) + struct.pack("<H", len(variables)) + variables + b"db\0" + "清空".encode("gbk")
    assert log.query(2, body) == log.Query("db", 28, "清空".encode("gbk"))


# -- statements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text,meaning",
    [
        ("BEGIN", Meaning.BEGIN),
        ("commit", Meaning.COMMIT),
        ("ROLLBACK", Meaning.ROLLBACK),
        ("ROLLBACK TO `s`", Meaning.NOTHING),
        ("SAVEPOINT `t`", Meaning.NOTHING),
        ("XA START X'61',X'',1", Meaning.XA_START),
        ("XA COMMIT X'61',X'',1", Meaning.XA_COMMIT),
        ("XA ROLLBACK X'61',X'',1", Meaning.XA_ROLLBACK),
        ("TRUNCATE t", Meaning.TRUNCATE),
        ("/* why */ truncate -- x\n table `DB` . `t`", Meaning.TRUNCATE),
        ("TRUNCATE TABLE other.t", Meaning.NOTHING),
        ("TRUNCATE TABLE tt", Meaning.NOTHING),
        ("DROP TABLE IF EXISTS `a`,`t` /* generated by server */", Meaning.LOST),
        ("DROP TEMPORARY TABLE t", Meaning.NOTHING),
        ("DROP TABLE other.t", Meaning.NOTHING),
        ("DROP DATABASE IF EXISTS db", Meaning.LOST),
        ("DROP DATABASE other", Meaning.NOTHING),
        ("DROP VIEW t", Meaning.NOTHING),
        ("RENAME TABLE t TO t_old, t_new TO t", Meaning.LOST),
        ("RENAME TABLE a TO b", Meaning.NOTHING),
        ("CREATE OR REPLACE TABLE t (id INT)", Meaning.LOST),
        ("CREATE TABLE IF NOT EXISTS t (id INT)", Meaning.NOTHING),
        ("ALTER TABLE t ADD COLUMN x INT", Meaning.ALTER),
        ("ALTER TABLE t RENAME COLUMN a TO b", Meaning.ALTER),
        ("ALTER TABLE t RENAME TO u", Meaning.LOST),
        ("ALTER TABLE u RENAME t", Meaning.LOST),
        ("ALTER ONLINE TABLE t DROP PARTITION p", Meaning.LOST),
        ("ALTER TABLE p EXCHANGE PARTITION x WITH TABLE t", Meaning.LOST),
        ("ALTER TABLE /*!50000 t */ RENAME /* to */ AS u", Meaning.LOST),
        ("INSERT INTO t VALUES (1)", Meaning.LOST),
        ("SET STATEMENT binlog_format='STATEMENT' FOR UPDATE db.t SET a = 1", Meaning.LOST),
        ("INSERT INTO other_t VALUES (1)", Meaning.NOTHING),
        ("GRANT SELECT ON db.t TO x", Meaning.NOTHING),
        ("CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW SET @a = 1", Meaning.NOTHING),
        ("", Meaning.NOTHING),
    ],
)
def test_statements_are_understood(text: str, meaning: Meaning) -> None:
    """What concerns the table is recognised however it is written, and nothing else is."""
    assert meaning_of(text, "db", "db", "t").meaning is meaning


def test_other_schemas_are_told_apart_by_the_default_one() -> None:
    """An unqualified name means the table of the schema that was the default."""
    assert meaning_of("TRUNCATE t", "other", "db", "t").meaning is Meaning.NOTHING
    assert meaning_of("TRUNCATE db.t", "other", "db", "t").meaning is Meaning.TRUNCATE


# -- JSON of MySQL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw,text",
    [
        ("0400", "null"),
        ("0401", "true"),
        ("05ffff", "-1"),
        ("0bcdccccccccccf43f", "1.3"),
        ("0c03" + "中".encode().hex(), '"中"'),
        ("02" + "0200" + "0c00" + "050100" + "0c0a00" + "0161", '[1, "a"]'),
        ("00" + "0100" + "0c00" + "0b00" + "0100" + "050700" + "61", '{"a": 7}'),
        ("0ff6040402" + "8c1e", "12.30"),
    ],
)  # fmt: skip
def test_json_of_mysql_is_written_as_the_server_does(raw: str, text: str) -> None:
    """Literals, numbers, text, arrays, objects and decimals."""
    assert json_text(bytes.fromhex(raw)) == text


# -- the connection --------------------------------------------------------------------------------------------------


class Line:
    """Stands for PyMySQL's connection and its socket; gives what it holds in pieces."""

    def __init__(self, octets: bytes, piece: int = 7) -> None:
        self._left, self._piece = octets, piece
        self._sock = self
        self.asked: list[Any] = []

    def cursor(self) -> Line:
        return self

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str) -> None:
        self.asked.append(sql)

    def _execute_command(self, *command: object) -> None:
        self.asked.append(command)

    def settimeout(self, _secs: float) -> None:
        pass

    def recv(self, size: int) -> bytes:
        taken, self._left = self._left[: min(size, self._piece)], self._left[min(size, self._piece) :]
        return taken

    def _force_close(self) -> None:
        self.asked.append("closed")


def _event(kind: int, end: int, body: bytes, *, flags: int = 0, when: int = 5, checked: bool = True) -> bytes:
    octets = struct.pack("<IBIIIH", when, kind, 1, 19 + len(body) + 4 * checked, end, flags) + body
    return octets + struct.pack("<I", zlib.crc32(octets)) * checked


def _packets(*events: bytes) -> bytes:
    sent = b""
    for number, event in enumerate(events):
        payload = b"\0" + event
        while True:
            part, payload = payload[:0xFFFFFF], payload[0xFFFFFF:]
            sent += len(part).to_bytes(3, "little") + bytes((number & 0xFF,)) + part
            if len(part) < 0xFFFFFF:
                break
    return sent


ROTATE = _event(4, 0, struct.pack("<Q", 4) + b"b.000001", flags=0x20)
FORMAT = _event(15, 0, bytes(57) + b"\x01", when=77)


def _dump(*events: bytes, pos: int = 4, piece: int = 1 << 20) -> Dump:
    return Dump(Line(_packets(*events), piece), 9, "b.000001", pos)


def test_events_come_out_of_any_pieces() -> None:
    """Header and checksum are taken off, file and birth are known, and a packet of 17 MB is put together."""
    great = bytes(17 << 20)
    for piece in (1, 1 << 20):
        body = b"x" if piece == 1 else great
        dump = _dump(ROTATE, FORMAT, _event(16, 500, body), piece=piece)
        assert [dump.next().kind for _ in range(2)] == [4, 15]
        assert (dump.file, dump.born) == ("b.000001", 77)
        assert dump.next() == Event(16, 5, 1, 500, body)


def test_a_broken_checksum_is_unavailable() -> None:
    """One wrong bit anywhere in an event makes reading stop, to be tried again."""
    good = _event(16, 500, b"12345678")
    for at in (0, 20, 26, 30):
        dump = _dump(ROTATE, FORMAT, good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
        dump.next()
        dump.next()
        with pytest.raises(SourceUnavailable):
            dump.next()


def test_what_the_server_refuses_is_raised() -> None:
    """Error 1236 is that of the log; the end of the transfer and of the connection are passing."""
    error = b"\xff" + struct.pack("<H", 1236) + b"#HY000Could not find first log file"
    with pytest.raises(LogError, match="Could not find"):
        Dump(Line(len(error).to_bytes(3, "little") + b"\0" + error), 9, "b", 4).next()
    with pytest.raises(SourceUnavailable):
        Dump(Line(b"\x05\0\0\0\xfe\0\0\0\0"), 9, "b", 4).next()
    with pytest.raises(SourceUnavailable):
        Dump(Line(b""), 9, "b", 4).next()
    with pytest.raises(Malformed):
        Dump(Line(b"\x05\0\0\0\0abcd"), 9, "b", 4).next()


def test_positions_grow_beyond_four_gigabytes() -> None:
    """The field of 32 bits begins anew; a place that the command cannot name is read up to."""
    events = (ROTATE, FORMAT, _event(16, 2**32 - 5, b""), _event(16, 10, b""), _event(16, 50, b""))
    dump = _dump(*events)
    assert [dump.next().end for _ in events][2:] == [2**32 - 5, 2**32 + 10, 2**32 + 50]
    dump = _dump(*events, pos=2**32 + 50)
    assert [dump.next().end for _ in range(3)][2:] == [2**32 + 50]


def test_the_number_of_a_flow_is_its_own() -> None:
    """It depends on name and seed, is stable, and lies in the upper half."""
    assert server_id_of("f", b"a") == server_id_of("f", b"a")
    assert len({server_id_of("f", b"a"), server_id_of("g", b"a"), server_id_of("f", b"b")}) == 3
    assert server_id_of("f", b"a") >= 2**31


# -- the spool -------------------------------------------------------------------------------------------------------


def _spool(index: int = 0) -> Spool:
    return Spool(Place("b.000001", 4, 7, index))


def _add(spool: Spool, *numbers: int) -> None:
    spool.open = True
    spool.add([(n,) for n in numbers], [Op.UPSERT] * len(numbers), [str(n) for n in numbers], 0)


def test_a_page_inside_a_transaction_keeps_the_place_before_it() -> None:
    """Marks are ends of transactions and numbers of changes behind them, whatever the limits."""
    spool = _spool()
    _add(spool, 1, 2)
    spool.end(Place("b.000001", 100, 7))
    _add(spool, 3, 4, 5)
    taken = [spool.take(limit, more=True) for limit in (1, 2)]
    spool.end(Place("b.000001", 200, 7))
    taken.append(spool.take(9, more=False))
    assert [(c.mark["pos"], c.mark["index"], list(c.ends), [r[0] for r in c.rows]) for c in taken] == [
        (4, 1, [], [1]),
        (100, 1, [0], [2, 3]),
        (200, 0, [1], [4, 5]),
    ]


def test_a_transaction_without_an_end_is_dropped_or_gone() -> None:
    """It leaves no trace when nothing of it was handed out; otherwise it has to be said."""
    spool = _spool()
    _add(spool, 1)
    spool.end(Place("b.000001", 100, 7))
    _add(spool, 2, 3)
    spool.abandon()
    assert [row[0] for row in spool.take(9, more=False).rows] == [1]
    _add(spool, 4, 5)
    spool.take(1, more=True)
    with pytest.raises(SourceGone):
        spool.abandon()


def test_changes_handed_out_before_are_left_out() -> None:
    """A mark inside a transaction skips so many changes, over several events, of that transaction only."""
    spool = _spool(3)
    _add(spool, 1, 2)
    _add(spool, 3, 4)
    spool.end(Place("b.000001", 100, 7))
    _add(spool, 5)
    assert [row[0] for row in spool.take(9, more=False).rows] == [4, 5]


def test_a_mark_is_read_as_it_was_written() -> None:
    """With everything it can hold."""
    place = Place("b.000009", 10, 7, 3, "0-1-5", {"61,,1": ("b.000008", 5, 6)})
    assert Place.decode(place.encode()) == place
    assert place.order < Place("b.000010", 4, 7).order
