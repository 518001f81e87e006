"""The proof: what the source holds against what the hub holds, record by record, with nothing of the product in between.

What should have arrived is worked out here by hand from the source rows; the hub's store is read with plain SQL.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.cli.demo.registry import TABLES
from agent.cli.demo.sample import TAX_HEADER

Expected = dict[str, dict[str, Any]]
HubRow = tuple[str, str, int, int, int, bool, str, str]
"""flow, record id, epoch ordinal, sequence, position, deleted, key, data"""

Shape = Callable[[Mapping[str, Any]], dict[str, Any]]

_QUERY: Final = (
    "SELECT f.flow, r.record_id, r.epoch_ordinal, r.sequence, r.position, r.deleted, r.key, r.data FROM record r "
    "JOIN flow f ON f.id = r.flow_id ORDER BY r.flow_id, r.epoch_ordinal, r.sequence, r.position"
)


def read_sqlite_hub(path: Path) -> list[HubRow]:
    """Return every record of a hub in a file."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute(_QUERY).fetchall()
    finally:
        db.close()


def read_postgres_hub(conninfo: str) -> list[HubRow]:
    """Return every record of a hub in PostgreSQL."""
    import psycopg  # noqa: PLC0415 - only the demo on PostgreSQL needs it

    with psycopg.connect(conninfo) as db:
        return db.execute(_QUERY.replace("r.data", "r.data::text").replace("r.record_id", "r.record_id::text")).fetchall()


def person(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hub should hold of a person."""
    born = row["csrq"]
    return {
        "id_number": row["sfzh"],
        "name": row["xm"],
        "sex": row["xb"],
        "ethnicity": row["mz"],
        "born_on": f"{born[:4]}-{born[4:6]}-{born[6:]}",
        "address": row["dz"],
        "region": row["xzqh"],
        "income": row["nsr"],
    }


def company(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hub should hold of a company."""
    return {
        "uscc": row["tyshxydm"],
        "name": row["mc"],
        "legal_representative": row["fddbr"],
        "capital": row["zczb"],
        "established_on": row["clrq"],
        "address": row["dz"],
        "scope": row["jyfw"],
        "status": {"1": "active", "2": "revoked", "3": "cancelled"}[row["zt"]],
    }


def tax(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hub should hold of a line of a tax list."""
    return {
        "voucher_no": row["完税凭证号"],
        "payer_name": row["纳税人名称"],
        "payer_id": row["纳税人识别号"],
        "amount": row["金额(元)"],
        "paid_on": row["缴款日期"],
    }


def expect(rows: Iterable[tuple[Any, ...]], columns: Iterable[str], shape: Shape) -> Expected:
    """Return key → record for source rows; the key is their first column."""
    names = tuple(columns)
    return {str(row[0]): shape(dict(zip(names, row, strict=True))) for row in rows}


def expect_tables(read: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, Expected]:
    """Return what should have arrived of the registry."""
    return {
        "people": expect(read("person"), TABLES["person"], person),
        "companies": expect(read("company"), TABLES["company"], company),
    }


def expect_tax(rows: Iterable[tuple[str, ...]]) -> Expected:
    """Return what should have arrived of the tax lists."""
    return expect(rows, TAX_HEADER, tax)


@dataclass(slots=True)
class Comparison:
    """What differs, by flow; empty when both sides agree."""

    records: dict[str, int] = field(default_factory=dict)  # at the hub, all versions
    keys: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    different: dict[str, list[str]] = field(default_factory=dict)
    surplus: dict[str, list[str]] = field(default_factory=dict)
    twice: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing is lost, nothing is there twice and every value is the same."""
        return not (self.missing or self.different or self.surplus or self.twice)


def compare(expected: Mapping[str, Expected], rows: Iterable[HubRow]) -> Comparison:
    """Compare the newest version of each key at the hub with the source."""
    found = Comparison()
    newest: dict[str, dict[str, dict[str, Any]]] = {flow: {} for flow in expected}
    seen: set[tuple[str, str]] = set()
    for flow, record_id, _epoch, _sequence, _position, deleted, key, data in rows:
        found.twice += (flow, str(record_id)) in seen
        seen.add((flow, str(record_id)))
        found.records[flow] = found.records.get(flow, 0) + 1
        of_flow, name = newest.setdefault(flow, {}), next(iter(json.loads(key).values()))
        if deleted:
            of_flow.pop(name, None)
        else:
            of_flow[name] = json.loads(data)
    for flow, want in expected.items():
        have = newest[flow]
        found.keys[flow] = len(have)
        _note(found.missing, flow, [key for key in want if key not in have])
        _note(found.surplus, flow, [key for key in have if key not in want])
        _note(found.different, flow, [key for key in want if key in have and have[key] != want[key]])
    return found


def _note(where: dict[str, list[str]], flow: str, keys: list[str]) -> None:
    if keys:
        where[flow] = keys
