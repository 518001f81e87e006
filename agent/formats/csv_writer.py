"""The rejects file: the rows an operator has to correct, exactly as they were, each followed by the reason.

UTF-8 with byte order mark and CRLF, which every spreadsheet opens. It can be corrected and dropped again: no map names the
columns behind the original ones. Functions return bytes; where they go, and when, is the caller's affair.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from agent.formats.encodings import UTF_8_BOM

REASON_COLUMNS: Final = ("行号 row", "原因 reason", "说明 explanation", "原文 raw")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def rejects_header(columns: Sequence[str], delimiter: str = ",") -> bytes:
    """Return the first line of the file."""
    return UTF_8_BOM + _line((*columns, *REASON_COLUMNS), delimiter)


def rejected_row(values: Sequence[str], number: int, reason: str, explanation: str, delimiter: str = ",") -> bytes:
    """Return the line of a row that was read, but not accepted. The values stand unchanged."""
    return _line((*values, str(number), reason, _harmless(explanation), ""), delimiter)


def unreadable_row(
    width: int, raw: bytes, number: int, reason: str, explanation: str, *, encoding: str, delimiter: str = ","
) -> bytes:
    """Return the line of a row that could not be cut into `width` fields; its text stands in the last column.

    Bytes that do not decode are shown by their hexadecimal values.
    """
    text = raw.decode(encoding, "backslashreplace")
    return _line((*("",) * width, str(number), reason, _harmless(explanation), _harmless(text)), delimiter)


def _harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula. Only for our own columns: what came from a department is data."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _line(values: Sequence[str], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerow(values)
    return out.getvalue().encode("utf-8", "backslashreplace")
