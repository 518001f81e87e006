"""The rejects file: what could not be taken, as it was, with why."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

from agent.errors import UnreadableRecord
from agent.model import Quarantined
from connectors.file_drop.rejects import of_rows, render, row_of, token_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def item(
    token: str, raw: bytes, *, code: str = "HT-R001", text: str = "field {field}: missing", **details: object
) -> Quarantined:
    return Quarantined(token, "f", "*.csv", token, None, raw, "required", code, "name", text, {"field": "name", **details}, NOW)


def rendered(items: list[Quarantined], language: str = "en") -> list[list[str]]:
    octets = b"".join(render(items, ("id", "name"), delimiter=";", encoding="gb18030", language=language))
    return list(csv.reader(io.StringIO(octets.decode("utf-8-sig"), newline=""), delimiter=";"))


def test_rows_stand_in_the_order_of_the_file() -> None:
    """Row numbers order the rows, as numbers; values stand unchanged, formulas of the department included."""
    items = [
        item("3:10", json.dumps({"id": "9", "name": "=1+1"}).encode()),
        item("3:9", json.dumps({"id": "8", "name": "a;b"}).encode()),
    ]
    _, *rows = rendered(items)
    assert [row[:4] for row in rows] == [["8", "a;b", "9", "required"], ["9", "=1+1", "10", "required"]]
    assert rows[0][4] == "field name: missing"


def test_what_never_was_a_row_stands_in_a_column_of_its_own() -> None:
    """Unreadable lines are decoded as the file is, octets that are no text shown by their values."""
    _, row = rendered([item("3:4", "张三".encode("gb18030") + b"\xff", code=UnreadableRecord.code)])
    assert row[:2] == ["", ""]
    assert row[5] == "张三\\xff"


def test_an_explanation_survives_details_of_another_version() -> None:
    """What was stored by an older version is shown as far as it can be."""
    _, row = rendered([item("3:4", b"{}", text="field {nothing}: missing")])
    assert "missing" in row[4]


def test_tokens_say_where() -> None:
    """A token is drop and row; row 0 is the whole file and no row."""
    assert row_of(token_of(17, 5)) == 5
    assert [i.token for i in of_rows([item("1:0", b""), item("1:2", b"{}")])] == ["1:2"]
