"""Mapping alone: rows of 15 text columns → checked, converted, JSON-encoded records with their SHA-256.

Run: python bench/mapping.py [ROWS]. Prints records a second of CPU time, best of several rounds, for batches of several
sizes and with a bad record here and there; beside them what cannot be saved, encoding and hashing.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from agent.mapping.compile import compile_map
from agent.mapping.mapper import Mapper, Row
from agent.mapping.spec import FieldSpec, MapSpec
from agent.standards import cn_id

COLUMNS = ("bdcdyh", "qlrmc", "qlrzjh", "zt", "djsj", "je", "zl", "bz", "mj", "yt", "xh", "qx", "jg", "ly", "gxsj")
SPEC = MapSpec(
    fields=(
        FieldSpec("unit_no", "bdcdyh", required=True),
        FieldSpec("owner_name", "qlrmc"),
        FieldSpec("owner_id", "qlrzjh", check="cn-id"),
        FieldSpec("status", "zt", codes={"1": "active", "2": "cancelled"}),
        FieldSpec("registered_on", "djsj", date="YYYYMMDD"),
        FieldSpec("amount", "je", decimal=2),
        FieldSpec("address", "zl"),
        FieldSpec("remark", "bz"),
        FieldSpec("area", "mj"),
        FieldSpec("purpose", "yt"),
        FieldSpec("serial", "xh"),
        FieldSpec("district", "qx"),
        FieldSpec("authority", "jg"),
        FieldSpec("origin", "ly"),
        FieldSpec("updated_at", "gxsj"),
    ),
    key=("bdcdyh",),
)


def row(number: int) -> Row:
    digits = f"510107{1940 + number % 70}{1 + number % 12:02}{1 + number % 28:02}{number % 1000:03}"
    return (
        f"510107001001GB{number:08}F00010001",
        "张䶮三",
        digits + cn_id.check_character(digits),
        "12"[number % 2],
        f"{1990 + number % 30}{1 + number % 12:02}{1 + number % 28:02}",
        f"{number % 900_000}.{number % 100:02}",
        f"四川省成都市武侯区人民南路四段{number % 999}号",
        None if number % 3 else "备注",
        f"{number % 200}.5",
        "城镇住宅",
        f"{number}",
        "510107",
        "成都市规划和自然资源局",
        "bdc",
        "2026-06-01T09:10:02.123456+08:00",
    )


def rate(work: Callable[[Sequence[Row]], object], rows: Sequence[Row], batch: int, rounds: int = 7) -> float:
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for some in batches:
            work(some)
        best = min(best, time.process_time() - start)
    return len(rows) / best


def with_hash(mapper: Mapper) -> Callable[[Sequence[Row]], object]:
    def work(rows: Sequence[Row]) -> object:
        return [hashlib.sha256(data).hexdigest() for data in mapper.apply(rows).data]

    return work


def one_by_one(mapper: Mapper) -> Callable[[Sequence[Row]], object]:
    return lambda rows: [mapper.apply_one(values) for values in rows]


def limit(rows: Sequence[Row]) -> object:
    encode = msgspec.json.Encoder().encode
    return [hashlib.sha256(encode(values)).hexdigest() for values in rows]


def main() -> None:
    count = int(next(islice(sys.argv, 1, None), "40000"))
    rows = [row(number) for number in range(count)]
    mapper = compile_map(SPEC, COLUMNS)
    bad = [(*values[:5], "1,234.5", *values[6:]) if number % 500 == 7 else values for number, values in enumerate(rows)]
    assert not mapper.apply(rows).rejected
    assert len(mapper.apply(bad).rejected) == len(range(7, count, 500))
    size = sum(map(len, mapper.apply(rows).data)) / count
    print(f"{count} rows, 15 columns, {size:.0f} bytes of JSON a record; records/s of CPU, best of 7")
    for batch in (500, 2000, 4000):
        mapped, hashed = rate(mapper.apply, rows, batch), rate(with_hash(mapper), rows, batch)
        print(f"  batches of {batch:5}: map + encode {mapped:10,.0f}   and hash {hashed:10,.0f}")
    print(f"  one bad record in 500, batches of 2000:  {rate(mapper.apply, bad, 2000):10,.0f}")
    print(f"  value by value (the definition):         {rate(one_by_one(mapper), rows[:2000], 2000, 3):10,.0f}")
    print(f"  limit: encode and hash rows as arrays:   {rate(limit, rows, 2000):10,.0f}")


if __name__ == "__main__":
    main()
