"""Files that are wrong inside: from the drop folder to the hub. Bad rows are put aside with a reason, good ones arrive."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from pathlib import Path

import pytest

from tests.badinput.kit import BadFile, deliver

pytestmark = pytest.mark.timeout(60)

HEAD = b"id,name\n"
GB = {"encoding": "gb18030"}
UTF = {"encoding": "utf-8"}
SEMICOLON = {"delimiter": ";"}
NAME = "四川省成都市青羊区不动产登记中心"  # long enough to show which encoding the file is in
OK = f"ok,{NAME}\n".encode()
OK_GB = OK.decode().encode("gbk")
ROW = {"ok": NAME}


def rows(octets: bytes, *reasons: str, settings: dict[str, object] | None = None, **good: str) -> BadFile:
    """A file of the header, these octets and one good row; what is named also arrives."""
    return BadFile(HEAD + octets + OK, reasons, {**ROW, **good}, settings=settings or {})


def whole(octets: bytes, reason: str, settings: dict[str, object] | None = None) -> BadFile:
    """A file that is refused whole."""
    return BadFile(octets, (reason,), whole=True, settings=settings or {})


def workbook() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>" * 50)
    return out.getvalue()


ENCODINGS = {
    "GBK row in a UTF-8 file": rows("1,张三\n".encode("gbk"), "undecodable", settings=UTF),
    "GBK row in a UTF-8 file, looked at": rows("1,张三\n2,李四四四四\n".encode("gbk")[:7] + b"\n", "undecodable"),
    "overlong UTF-8": rows(b"1,\xc0\x80\n", "undecodable"),
    "surrogate in UTF-8": rows(b"1,\xed\xa0\x80\n", "undecodable"),
    "beyond Unicode": rows(b"1,\xf5\x80\x80\x80\n", "undecodable"),
    "stray continuation byte": rows(b"1,\x80\n", "undecodable"),
    "character cut in two by the delimiter": rows(b"1,\xe5\xbc,2\n", "undecodable"),
    "byte FF in GB18030": BadFile(HEAD + b"1,\xff\n" + OK_GB, ("undecodable",), ROW, settings=GB),
    "half a character in GB18030": BadFile(HEAD + b"1,\xd5\n" + OK_GB, ("undecodable",), ROW, settings=GB),
    "four octets that are none in GB18030": BadFile(HEAD + b"1,\x81\x30\x81\x20\n" + OK_GB, ("undecodable",), ROW, settings=GB),
    "header in another encoding": whole("编号,姓名\n".encode("gbk") + OK, "undecodable", UTF),
    "UTF-16 with its mark": whole("id,name\n1,张三\n".encode("utf-16"), "utf_16"),
    "UTF-16 big endian": whole(b"\xfe\xff" + "id,name\n1,a\n".encode("utf-16-be"), "utf_16"),
    "UTF-16 without a mark": whole("id,name\n1,a\n".encode("utf-16-le"), "nul_character"),
    "UTF-32": whole("id,name\n1,a\n".encode("utf-32"), "utf_16"),
    "two byte order marks": BadFile(b"\xef\xbb\xbf\xef\xbb\xbf" + HEAD + OK, (), ROW),
    "byte order mark in the middle": rows(b"\xef\xbb\xbf1,a\n", **{"\ufeff1": "a"}),
    "EBCDIC": whole("id,name\n1,a\n".encode("cp500"), "undecodable"),
    "noise": whole(b"\xff" + random.Random(7).randbytes(2000).replace(b"\n", b" ").replace(b"\0", b" "), "undecodable"),
}

OTHER_FILES = {
    "empty": whole(b"", "empty_file"),
    "one line feed": whole(b"\n", "no_header"),
    "spaces": whole(b"   \n  \n", "unnamed_column"),
    "only a byte order mark": whole(b"\xef\xbb\xbf", "no_header"),
    "NUL only": whole(bytes(4096), "nul_character"),
    "a workbook": whole(workbook(), "undecodable"),
    "a gzip file": whole(gzip.compress(HEAD + OK, mtime=0), "undecodable"),
    "a PNG": whole(b"\x89PNG\r\n\x1a\n" + bytes(100), "missing_column"),
    "an error page": whole(b"<html><head><title>502 Bad Gateway</title></head></html>\n", "missing_column"),
    "JSON": whole(b'[{"id": 1, "name": "a"}]\n', "missing_column"),
    "XML": whole(b'<?xml version="1.0"?><rows/>\n', "missing_column"),
    "the .ok file instead": whole(b"OK\n", "missing_column"),
}

HEADERS = {
    "no key column": whole(b"name\na\n", "missing_column"),
    "no mapped column": whole(b"id\n1\n", "missing_column"),
    "other case": whole(b"ID,Name\n1,a\n", "missing_column"),
    "space before a name": whole(b"id, name\n1,a\n", "missing_column"),
    "full-width comma": whole("id，name\n1,a\n".encode(), "missing_column"),
    "semicolons": whole(b"id;name\n1;a\n", "missing_column"),
    "commas where semicolons belong": whole(b"id,name\n1,a\n", "missing_column", SEMICOLON),
    "a column twice": whole(b"id,name,name\n1,a,b\n", "duplicate_column"),
    "a column without a name": whole(b"id,,name\n1,x,a\n", "unnamed_column"),
    "open quote": whole(b'id,"name\n1,a\n2,b\n', "unclosed_quote"),
    "text behind a quote": whole(b'"id"x,name\n1,a\n', "bad_quote"),
    "NUL": whole(b"id,na\0me\n1,a\n", "nul_character"),
    "cut off": whole(b"id,na", "missing_column"),
    "only carriage returns": whole(b"id,name\r1,a\r2,b\r", "bare_cr"),
    "below the end of the file": whole(b"id,name\n1,a\n", "no_header", {"header_row": 5}),
    "a megabyte without an end": whole(b"x" * (2 << 20), "no_header"),
    "a hundred thousand columns": whole(b",".join(b"c%d" % n for n in range(100_000)) + b"\n", "missing_column"),
    "a hundred thousand equal columns": whole(b",".join([b"c"] * 100_000) + b"\n", "duplicate_column"),
}

ROWS = {
    "too few fields": rows(b"1\n", "field_count"),
    "too many fields": rows(b"1,a,b\n", "field_count"),
    "fields by a comma in the text": rows("1,四川省,成都市\n".encode(), "field_count"),
    "another delimiter": rows(b"1;a\n", "field_count"),
    "delimiters only": rows(b",,,,\n,\n\n"),
    "NUL": rows(b"1,a\0b\n", "nul_character"),
    "NUL in the key": rows(b"\x001,a\n", "nul_character"),
    "NUL at the end, as after a power cut": BadFile(HEAD + OK + bytes(512), ("nul_character",), ROW),
    "open quote": rows(b'1,"a\n', "unclosed_quote"),
    "open quote in every row": rows(b'1,"a\n2,"b\n3,"c\n', "bad_quote", "bad_quote", "unclosed_quote"),
    "open quote in the last row": BadFile(HEAD + OK + b'1,"a', ("unclosed_quote",), ROW),
    "text behind a quote": rows(b'1,"a"b\n', "bad_quote"),
    "quote in the middle": rows(b'1,a"b"c\n', **{"1": 'a"b"c'}),
    "a quote alone": rows(b'1,"\n', "unclosed_quote"),
    "single quotes": rows(b"1,'a,b'\n", "field_count"),
    "carriage return in a field": rows(b"1,a\rb\n", "bare_cr"),
    "quoted line feeds, too many": rows(b'1,"' + b"x\n" * 1000 + b'"\n', *["field_count"] * 999, "unclosed_quote"),
    "a field of 200 000 characters": rows(b"1," + b"x" * 200_000 + b"\n", "field_too_long"),
    "a row of two megabytes": rows(b"1," + b"xy," * 700_000 + b"\n", "row_too_long"),
    "a line without an end": BadFile(HEAD + OK + b"x" * 3_000_000, ("row_too_long",), ROW),
    "cut in the middle": BadFile(HEAD + OK + b"1", ("field_count",), ROW),
    "cut inside a character": BadFile(HEAD + OK + b"1,\xe5\xbc", ("undecodable",), ROW),
    "key empty": rows(b",a\n", "key_missing"),
    "key empty in quotes": rows(b'"",a\n', "key_missing"),
    "all of it bad": BadFile(HEAD + b"1\n2,\xff\n3,a\0\n", ("field_count", "undecodable", "nul_character")),
    "a formula": rows(b"1,=cmd|' /C calc'!A0\n", **{"1": "=cmd|' /C calc'!A0"}),
    "a character that turns the text round": rows("1,\u202eabc\n".encode(), **{"1": "\u202eabc"}),
    "escape sequences": rows(b"1,\x1b[2J\x07\n", **{"1": "\x1b[2J\x07"}),
    "line separators of Unicode": rows("1,a\u2028b\u0085c\n".encode(), **{"1": "a\u2028b\u0085c"}),
    "markup": rows(b"1,<script>alert(1)</script>\n", **{"1": "<script>alert(1)</script>"}),
    "SQL": rows(b"1,'); DROP TABLE record; --\n", **{"1": "'); DROP TABLE record; --"}),
    "braces": rows(b"1,{0.__class__}{name}%s\n", **{"1": "{0.__class__}{name}%s"}),
    "the replacement character itself": rows("1,a\ufffdb\n".encode(), **{"1": "a\ufffdb"}),
    "a key of 50 000 characters": rows(b"k" * 50_000 + b",a\n", **{"k" * 50_000: "a"}),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {"encoding": ENCODINGS, "file": OTHER_FILES, "header": HEADERS, "row": ROWS}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_harms_nobody_but_its_bad_rows(name: str, tmp_path: Path, blank: Path) -> None:
    """Good rows and neighbouring files arrive once, bad rows lie in quarantine with reason, text and bytes, the file is filed away."""
    deliver(tmp_path, blank, CASES[name])
