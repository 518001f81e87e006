from __future__ import annotations

import io

import pytest

from agent.formats.csv_reader import CsvOptions, CsvReader
from agent.formats.csv_writer import REASON_COLUMNS, rejected_row, rejects_header, unreadable_row


def test_a_rejects_file_is_read_back_with_the_original_values() -> None:
    """The operator gets every value as it was, with the reason behind, and can drop the corrected file again."""
    values = ('=cmd|" /C calc"!A0', "张,三", "a\r\nb", "+1", "")
    octets = rejects_header(("a", "b", "c", "d", "e")) + rejected_row(values, 17, "date_format", "not a date")
    reader = CsvReader(io.BytesIO(octets), CsvOptions())
    assert reader.header.columns == ("a", "b", "c", "d", "e", *REASON_COLUMNS)
    assert reader.read(10).rows == [(*values, "17", "date_format", "not a date", "")]


def test_an_unreadable_row_stands_as_text_behind_empty_columns() -> None:
    """Its bytes are shown, those that do not decode by number, and the columns stay in line."""
    octets = rejects_header(("a", "b")) + unreadable_row(2, b"1,\xff,2", 3, "undecodable", "bytes", encoding="gb18030")
    assert CsvReader(io.BytesIO(octets), CsvOptions()).read(10).rows == [("", "", "3", "undecodable", "bytes", "1,\\xff,2")]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_our_own_columns_never_hold_a_formula(text: str) -> None:
    """A spreadsheet must not run what stands in the columns we add; the department's values are not touched."""
    line = rejected_row((text,), 2, "reason", text).decode()
    assert f"'{text}" in line
    raw = unreadable_row(1, text.encode(), 2, "reason", "why", encoding="utf-8").decode()
    assert f"'{text}" in raw


def test_the_file_opens_in_a_spreadsheet() -> None:
    """It begins with a byte order mark and its lines end with CRLF."""
    assert rejects_header(("姓名",)).startswith(b"\xef\xbb\xbf" + "姓名".encode())
    assert rejected_row(("x",), 2, "r", "e", delimiter=";") == b"x;2;r;e;\r\n"
