from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.formats.csv_reader import CsvOptions, CsvReader, Header
from agent.formats.csv_rows import RAW_BYTES_KEPT, BadRow, Layout, Lines, Mark, Parsed, _parse_one_by_one, parse
from agent.formats.encodings import Encoding
from agent.formats.errors import BadFile

GB = Encoding.GB18030


@dataclass
class Everything:
    header: Header
    rows: list[tuple[str, ...]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    replaced: int = 0
    end: Mark | None = None

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(bad.mark.row, bad.reason) for bad in self.bad]


def drain(reader: CsvReader, limit: int = 1000) -> Everything:
    found = Everything(reader.header)
    while True:
        block = reader.read(limit)
        assert len(block.rows) <= limit
        found.rows += block.rows
        found.marks += map(Mark, block.offsets, block.numbers)
        found.bad += block.bad
        found.replaced += block.replaced
        found.end = block.end
        if not block.more:
            return found


def read(octets: bytes, limit: int = 1000, **options: object) -> Everything:
    return drain(CsvReader(io.BytesIO(octets), CsvOptions(**options)), limit)  # type: ignore[arg-type]


# -- plain reading ---------------------------------------------------------------------------------------------------


def test_rows_come_with_offset_and_spreadsheet_number() -> None:
    """A row is where it is in the file and has the number a spreadsheet shows."""
    found = read(b"id,name\r\n1,a\r\n2,b\r\n")
    assert found.header.columns == ("id", "name")
    assert found.rows == [("1", "a"), ("2", "b")]
    assert found.marks == [Mark(9, 2), Mark(14, 3)]
    assert found.end == Mark(19, 4)


def test_last_line_needs_no_line_feed() -> None:
    """The last row counts although nothing ends it."""
    assert read(b"id,name\n1,a\n2,b").rows == [("1", "a"), ("2", "b")]


def test_quoted_fields_keep_line_feeds_quotes_and_delimiters() -> None:
    """Quoting follows RFC 4180, and a row over several lines is one row."""
    found = read(b'id,note\n1,"a\r\nb, ""c"""\n2,x\n')
    assert found.rows == [("1", 'a\r\nb, "c"'), ("2", "x")]
    assert found.marks == [Mark(8, 2), Mark(24, 3)]


def test_rows_without_content_are_passed_over_but_counted() -> None:
    """Empty lines and lines of delimiters, which spreadsheets leave behind, are no records."""
    found = read(b'a,b\n\n1,2\n,\n,,,\n"",""\r\n3,4\n\r\n')
    assert found.rows == [("1", "2"), ("3", "4")]
    assert [mark.row for mark in found.marks] == [3, 7]
    assert not found.bad


def test_gbk_text_is_read_as_gb18030_with_euro_and_real_code_points() -> None:
    """䶮 (FE9F) reads as itself, 0x80 as the euro sign and the private use code point of FE59 as U+9FB4."""
    found = read("姓名,备注\n".encode("gb18030") + b"\xcd\xf5\xfe\x9f\xc1\xfa,\x80\n" + b"\xfe\x59,x\n", encoding=GB)
    assert found.rows == [("王䶮龙", "€"), ("\u9fb4", "x")]
    assert found.replaced == 1


def test_byte_order_mark_overrules_the_configured_encoding() -> None:
    """A UTF-8 mark at the beginning is proof; offsets count it."""
    found = read(b"\xef\xbb\xbf" + "姓名,b\n张三,1\n".encode(), encoding=GB)
    assert found.header.encoding is Encoding.UTF_8
    assert found.header.columns == ("姓名", "b")
    assert found.rows == [("张三", "1")]
    assert found.marks == [Mark(12, 2)]


def test_trailing_delimiter_of_the_header_is_no_column() -> None:
    """Exports that end every line with a delimiter read like those that do not."""
    found = read(b"a,b,\n1,2,\n3,4\n5,6,7\n")
    assert found.header.columns == ("a", "b")
    assert found.rows == [("1", "2"), ("3", "4")]
    assert found.reasons == [(4, "field_count")]


def test_title_lines_above_the_header_are_skipped() -> None:
    """`header_row` names the line of the column names, and the numbers still are those of the file."""
    found = read('契税清单 "2025"\n\nid,name\n1,a\n'.encode(), header_row=3)
    assert found.header.columns == ("id", "name")
    assert found.rows == [("1", "a")]
    assert found.marks[0].row == 4


@pytest.mark.parametrize("delimiter", ["\t", "|", ";", "\x1f", "，"])
def test_other_delimiters(delimiter: str) -> None:
    """Any single character can separate fields, also one whose byte is part of GB18030 characters."""
    text = delimiter.join(["镈", "名"]) + "\n" + delimiter.join(['"x\n"', "鱸"]) + "\n"
    assert read(text.encode("gb18030"), delimiter=delimiter, encoding=GB).rows == [("x\n", "鱸")]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\0"])
def test_impossible_delimiters_are_refused(delimiter: str) -> None:
    """What cannot separate fields is an error before anything is read."""
    with pytest.raises(ValueError):
        CsvOptions(delimiter=delimiter)


# -- files without a usable header -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets,reason",
    [
        (b"", "empty_file"),
        (b"\xef\xbb\xbf", "no_header"),
        (b"\na,b\n", "no_header"),
        (b"a,a\n", "duplicate_column"),
        (b"a,,b\n", "unnamed_column"),
        (b"a, ,b\n", "unnamed_column"),
        (b"a,b,,\n", "unnamed_column"),
        (b"\xff\xff,b\n", "undecodable"),
        (b"a\0,b\n", "nul_character"),
        (b'"a,b\n1,2\n', "unclosed_quote"),
        (b"a\rb\n", "bare_cr"),
        (b"x" * 5000, "no_header"),
    ],
)
def test_a_file_without_usable_header_is_refused_whole(octets: bytes, reason: str) -> None:
    """The reason is a stable word and the explanation can be shown."""
    with pytest.raises(BadFile) as caught:
        read(octets, max_row_bytes=1000, chunk_bytes=64)
    assert caught.value.reason == reason
    assert str(caught.value)


def test_header_beyond_the_end_of_the_file_is_missing() -> None:
    """A file shorter than `header_row` has no header."""
    with pytest.raises(BadFile) as caught:
        read(b"title\n", header_row=3)
    assert caught.value.reason == "no_header"


# -- bad rows and their neighbours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line,reason",
    [
        (b"1", "field_count"),
        (b"1,2,3", "field_count"),
        (b"\xff,2", "undecodable"),
        (b"a\0b,2", "nul_character"),
        (b'"ab"c,2', "bad_quote"),
        (b'"never closed,2', "unclosed_quote"),
        (b"a\rb,2", "bare_cr"),
        (b"x" * 3000 + b",2", "row_too_long"),
    ],
)
@pytest.mark.parametrize("tail", [b"\n", b"\r\n"])
def test_a_bad_row_is_put_aside_and_its_neighbours_flow_on(line: bytes, reason: str, tail: bytes) -> None:
    """Each kind of damage costs one row, which is kept with its bytes, place and reason."""
    found = read(b"a,b\n1,2\n" + line + tail + b"3,4\n5,6\n", max_row_bytes=2000, max_row_lines=3)
    assert found.rows == [("1", "2"), ("3", "4"), ("5", "6")]
    assert [(bad.reason, bad.raw, bad.mark) for bad in found.bad] == [(reason, line, Mark(8, 3))]
    assert found.bad[0].text.format_map(found.bad[0].details)
    assert [mark.row for mark in found.marks] == [2, 4, 5]


def test_an_open_quote_never_swallows_the_rest_of_the_file() -> None:
    """The row with the open quote gives up its first line; those behind it are read, up to the last."""
    lines = [b"a,b", b'"1,2', *(b"%d,x" % number for number in range(5000)), b'"z",9']
    found = read(b"\n".join(lines), max_row_lines=100, chunk_bytes=1000)
    assert found.reasons == [(2, "unclosed_quote")]
    assert len(found.rows) == 5001
    assert found.rows[-1] == ("z", "9")


def test_an_open_quote_met_by_the_next_one_costs_its_line_only() -> None:
    """The quote that seems to close it is followed by text, so the first line is given up."""
    found = read(b'a,b\n"1,2\n"x",3\n4,5\n')
    assert found.reasons == [(2, "bad_quote")]
    assert found.rows == [("x", "3"), ("4", "5")]


def test_a_well_quoted_row_with_too_few_fields_is_put_aside_whole() -> None:
    """What stands inside quotes is never mistaken for a record of its own."""
    found = read(b'a,b,c\n1,"x\n7,8,9\ny"\n2,3,4\n')
    assert found.rows == [("2", "3", "4")]
    assert found.bad[0].raw == b'1,"x\n7,8,9\ny"'
    assert found.marks == [Mark(20, 3)]


def test_a_field_over_the_limit_of_the_csv_module_is_one_bad_row() -> None:
    """A field of more than 131 072 characters does not stop the reader."""
    found = read(b"a,b\n1," + b"x" * 131_073 + b"\n3,4\n")
    assert found.reasons == [(2, "field_too_long")]
    assert found.rows == [("3", "4")]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("chunk_bytes", [1000, 1 << 22])
def test_a_line_without_end_goes_by_in_bounded_memory(end: bytes, chunk_bytes: int) -> None:
    """Of an endless line the beginning is kept, its size is told, and reading goes on behind it."""
    line = b"1," + b"x" * 300_000
    found = read(b"a,b\n" + line + end + (b"3,4\n" if end else b""), max_row_bytes=100_000, chunk_bytes=chunk_bytes)
    assert found.reasons == [(2, "row_too_long")]
    assert found.bad[0].raw == line[:RAW_BYTES_KEPT]
    assert found.bad[0].details["size"] == len(line) + len(end.removesuffix(b"\n"))
    assert found.rows == ([("3", "4")] if end else [])


def test_the_explanation_of_a_bad_row_has_no_contents() -> None:
    """Personal data stay in the raw bytes and appear in no explanation."""
    found = read(b'a,b\n"11010519491231002X,2\n11010519491231002X\n')
    assert len(found.bad) == 2
    assert not any("110105" in bad.text.format_map(bad.details) for bad in found.bad)


# -- properties ------------------------------------------------------------------------------------------------------

structure = [b",", b",", b"\n", b"\n", b"\r\n", b"\r", b'"', b'"', b'""', b"1,2\n", b'"p","q"\n', b"\n\n"]
contents = [b"a", b"|", b"\0", b"\x80", b"\xff", b"x" * 40, "张".encode(), "张".encode("gb18030"), b"\xfe\x9f", b"\xfe\x59"]
fragments = st.sampled_from([*structure, *contents])
octets = st.one_of(st.lists(fragments, max_size=60).map(b"".join), st.binary(max_size=200)).map(lambda body: b"h1,h2\n" + body)
encodings = st.sampled_from(list(Encoding))


@settings(max_examples=400)
@given(octets, encodings, st.integers(1, 50), st.integers(1, 7))
def test_any_bytes_in_any_chunks_give_the_same_rows(body: bytes, encoding: Encoding, chunk_bytes: int, limit: int) -> None:
    """Nothing crashes, and rows, places and bad rows do not depend on how the file was cut."""
    limits = {"encoding": encoding, "max_row_bytes": 60, "max_row_lines": 4}
    whole = read(body, **limits)
    assert read(body, limit=limit, chunk_bytes=chunk_bytes, **limits) == whole
    assert whole.end is not None
    assert whole.end.offset == len(body)


@settings(max_examples=200)
@given(octets, encodings, st.integers(1, 50))
def test_reading_can_be_resumed_at_any_row(body: bytes, encoding: Encoding, chunk_bytes: int) -> None:
    """A reader that starts at the place of any row gives the same rows from there on."""
    options = CsvOptions(encoding=encoding, max_row_bytes=60, max_row_lines=4, chunk_bytes=chunk_bytes)
    whole = drain(CsvReader(io.BytesIO(body), options))
    for index, mark in enumerate(whole.marks):
        rest = drain(CsvReader(io.BytesIO(body[mark.offset :]), options, header=whole.header, start=mark))
        assert (rest.rows, rest.marks) == (whole.rows[index:], whole.marks[index:])
        assert rest.bad == [bad for bad in whole.bad if bad.mark.offset > mark.offset]
        assert rest.end == whole.end


@settings(max_examples=200)
@given(octets, encodings, st.integers(1, 9))
def test_reading_can_be_resumed_at_the_end_of_any_block(body: bytes, encoding: Encoding, limit: int) -> None:
    """What a block covers and what follows its end is the whole file, nothing twice."""
    options = CsvOptions(encoding=encoding, max_row_bytes=60, max_row_lines=4, chunk_bytes=16)
    whole = drain(CsvReader(io.BytesIO(body), options))
    block = CsvReader(io.BytesIO(body), options).read(limit)
    rest = drain(CsvReader(io.BytesIO(body[block.end.offset :]), options, header=whole.header, start=block.end))
    assert block.rows + rest.rows == whole.rows
    assert block.bad + rest.bad == whole.bad


@settings(max_examples=400)
@given(octets, encodings, st.booleans())
def test_many_at_once_and_one_by_one_agree(body: bytes, encoding: Encoding, final: bool) -> None:
    """The fast way gives exactly what the rules give row by row."""
    layout = Layout(encoding, ",", max_row_bytes=60, max_row_lines=4, width=2, trailing=False)
    slow = Parsed(Mark(0, 1))
    _parse_one_by_one(Lines(body, final=final), layout, slow)
    assert parse(body, Mark(0, 1), layout, final=final) == slow


@settings(max_examples=200)
@given(
    st.lists(st.tuples(*[st.text(st.characters(codec="gb18030", exclude_characters="\0\x80€"), max_size=8)] * 2), max_size=8),
    encodings,
    st.integers(1, 40),
)
def test_what_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, str]], encoding: Encoding, chunk_bytes: int) -> None:
    """Every text survives in both encodings, apart from private use code points that have real ones."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("h1", "h2"), *rows])
    found = read(out.getvalue().encode(encoding.value), encoding=encoding, chunk_bytes=chunk_bytes)
    expected = [tuple(encoding.decode(value.encode(encoding.value))[0] for value in row) for row in rows if any(row)]
    assert found.rows == expected
    assert not found.bad
