"""What the end-to-end benches share: a world with PostgreSQL on both sides, a wide table, and figures of processes."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from agent.cli.demo.registry import PostgresRegistry
from agent.cli.demo.world import World

COLUMNS = (
    "id_number", "name", "sex", "ethnicity", "born", "marital", "education", "phone", "address", "region", "income", "note",
    "registered", "seq", "updated_at",
)  # fmt: skip

FLOWS = """\
send:
  people:
    message: bench.person@1
    from: {{connection: registry, table: wide, key: [seq], cursor: updated_at, every: EVERY, page_rows: 4000, overlap: 1s}}
    map:
      number: seq
      id_number: {{from: id_number, check: cn-id}}
      name: name
      sex: {{from: sex, codes: sex}}
      ethnicity: {{from: ethnicity, codes: ethnicity}}
      born_on: {{from: born, date: YYYYMMDD}}
      marital: marital
      education: education
      phone: phone
      address: address
      region: region
      income: {{from: income, decimal: 2}}
      note: note
      registered_on: {{from: registered, date: YYYY-MM-DD}}
      updated_at: updated_at
message_types: {place}/types
"""

_TYPE = """\
code: bench.person
version: 1
title: {zh: 测试人口, en: bench person}
resource: 101001/000009
dataschema: https://schemas.huitong.example/bench.person/1
fields:
"""


@contextmanager
def stage(every: str = "1h") -> Iterator[World]:
    """Yield a built world whose flow `people` reads the table `wide`."""
    with TemporaryDirectory(prefix="huitong-bench-") as folder:
        environment = dict(os.environ)
        world = World(Path(folder), postgres=True, environment=environment, flows=FLOWS.replace("EVERY", every))
        types = Path(folder) / "department" / "types"
        types.mkdir(parents=True)
        fields = re.findall(r"^      (\w+):", FLOWS, re.MULTILINE)
        body = "".join(f"  {name}: {{title: {{zh: {name}, en: {name}}}, type: text}}\n" for name in fields)
        (types / "bench.person-1.yaml").write_text(_TYPE + body, encoding="utf-8")
        with world:
            world.build()
            with world.hub_yaml.open("a", encoding="utf-8") as hub:
                hub.write(f"message_types: {types}\n")
            yield world


def source(world: World) -> str:
    """Return the connection string of the department's database."""
    assert isinstance(world.registry, PostgresRegistry)
    return world.registry.conninfo


def fill(conninfo: str, rows: int) -> None:
    """Create and fill the table `wide`; every citizen number is valid."""
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute(_TABLE)
        db.execute(_FILL, {"rows": rows})
        db.execute("CREATE INDEX ON wide (updated_at)")
        db.execute("VACUUM ANALYZE wide")
        db.execute("CHECKPOINT")


_TABLE = """
CREATE TABLE wide (id_number text, name text, sex text, ethnicity text, born text, marital text, education text, phone text,
  address text, region text, income numeric(12,2), note text, registered date, seq bigint PRIMARY KEY, updated_at timestamptz)
"""
_FILL = """
INSERT INTO wide
SELECT body || substr('10X98765432', (
    SELECT sum(substr(body, i::int, 1)::int * w)::int %% 11
    FROM unnest(array[7,9,10,5,8,4,2,1,6,3,7,9,10,5,8,4,2]) WITH ORDINALITY t(w, i))::int + 1, 1),
  '张' || chr(19968 + n %% 20000), (1 + n %% 2)::text, '01', born, '20', '21', '138' || lpad((n %% 100000000)::text, 8, '0'),
  '成都市人民南路' || n %% 999 || '号', '510104', (n %% 1000000) / 100.0,
  CASE WHEN n %% 3 = 0 THEN NULL ELSE '备注 ' || n %% 7 END,
  date '2000-01-01' + n %% 9000, n, timestamptz '2026-01-01 00:00:00+08' + n * interval '1 millisecond'
FROM (SELECT n, to_char(date '1950-01-01' + n %% 25000, 'YYYYMMDD') AS born,
  '510104' || to_char(date '1950-01-01' + n %% 25000, 'YYYYMMDD') || lpad((n / 25000 %% 1000)::text, 3, '0') AS body
  FROM generate_series(1, %(rows)s) AS n) AS drawn
"""


def records(world: World) -> dict[str, int]:
    """Return outcome → records, from the agent's metrics; nothing while it is starting."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{world.agent_port}/metrics", timeout=5) as answer:
        found = re.findall(r'^huitong_records_total\{.*outcome="(\w+)"\} (\S+)$', answer.read().decode(), re.MULTILINE)
        return {name: int(float(value)) for name, value in found}
    return {}


def wait_for(world: World, outcome: str, count: int, within_secs: float = 600.0) -> float:
    """Wait until so many records have that outcome; return the monotonic time. Raises TimeoutError."""
    deadline, pause = time.monotonic() + within_secs, threading.Event()
    while time.monotonic() < deadline:
        world.require_running()
        if records(world).get(outcome, 0) >= count:
            return time.monotonic()
        pause.wait(0.1)
    raise TimeoutError(f"only {records(world)} after {within_secs:.0f} s")


def wait_ready(world: World, within_secs: float = 60.0) -> None:
    """Wait until the agent says that all is well, and a round longer. Raises TimeoutError."""
    deadline, pause = time.monotonic() + within_secs, threading.Event()
    while time.monotonic() < deadline:
        pause.wait(1.0)
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{world.agent_port}/readyz", timeout=5):
            pause.wait(3.0)
            return
    raise TimeoutError("the agent is not ready")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def cpu_secs(pid: int) -> float:
    """Return the CPU time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which so much of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def calibrate() -> float:
    """Return how many million loop rounds a second this machine does now; figures of different runs compare through it."""
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        total = 0
        for number in range(2_000_000):
            total += number & 7
        best = max(best, 2.0 / (time.perf_counter() - start))
    return best


def report(name: str, figures: dict[str, Any]) -> None:
    """Print a table and write bench/results/NAME.json."""
    figures = {
        "bench": name,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "mloops": round(calibrate(), 1),
        **figures,
    }
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    width = max(map(len, figures))
    for key, value in figures.items():
        print(f"{key:<{width}}  {value:,.1f}" if isinstance(value, float) else f"{key:<{width}}  {value}")


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)
