"""Huitong's side of the race, for `race_debezium`: the capture service of one flow with a real store.

From the table to mapped, checked, signed messages that are durable in the outbox; what is reported was committed with fsync.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psycopg

from agent.adapters.clock import SystemClock
from agent.adapters.store.sqlite import SqliteStore
from agent.events import Event, Events, FlowCaptured, FlowPaused, SourceLost
from agent.mapping.spec import FieldSpec, MapSpec
from agent.services.capture import CaptureService
from agent.services.capture_plan import CapturePlan
from agent.wire.envelope import MessageWriter
from agent.wire.keys import generate, load_signer
from connectors.database.ddl import ddl_of
from connectors.database.settings import DatabaseFrom, PostgresConnection
from connectors.database.source import DatabaseSource
from connectors.wiring import Wiring

_FLOW = "wide"
_STOP_SECS = 10.0
_INSTALLED = """
SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) + (SELECT count(*) FROM pg_publication)
"""
_SPEC = MapSpec(
    fields=(
        FieldSpec("number", "seq", required=True),
        FieldSpec("id_number", "id_number", check="cn-id"),
        FieldSpec("name", "name"),
        FieldSpec("sex", "sex", codes={"1": "male", "2": "female"}),
        FieldSpec("ethnicity", "ethnicity", codes={"01": "han"}),
        FieldSpec("born_on", "born", date="YYYYMMDD"),
        FieldSpec("marital", "marital"),
        FieldSpec("education", "education"),
        FieldSpec("phone", "phone"),
        FieldSpec("address", "address"),
        FieldSpec("region", "region"),
        FieldSpec("income", "income", decimal=2),
        FieldSpec("note", "note"),
        FieldSpec("registered_on", "registered", date="YYYY-MM-DD"),
        FieldSpec("updated_at", "updated_at"),
    ),
    key=("seq",),
)


class Reporter:
    """Listens to the events of the service and reports each durable step."""

    def __init__(self, reports: IO[str]) -> None:
        self._reports = reports
        self._total = 0
        self._refused = 0

    def __call__(self, event: Event) -> None:
        """Take one event. What stops the flow is written out for whoever has to explain a void race."""
        match event:
            case FlowCaptured(records=records, quarantined=quarantined) if records or quarantined:
                self._total += records
                self._refused += quarantined
                self._reports.write(f"{time.monotonic()} {self._total} {self._refused}\n")
                self._reports.flush()
            case FlowPaused() | SourceLost():
                print(event, flush=True)
            case _:
                pass


def wiring(order: Mapping[str, Any], settings: DatabaseFrom, clock: SystemClock, events: Events) -> Wiring[DatabaseFrom]:
    """Return what the source of the flow is built from."""
    connection = PostgresConnection.of(
        type="postgres",
        host=order["host"],
        port=order["port"],
        database=order["database"],
        user=order["user"],
        password="secret:database",
        tls="disable",
    )
    columns, password = _SPEC.columns(), str(order["password"])
    return Wiring(_FLOW, settings, clock, events, "Asia/Shanghai", "zh", connection, columns, lambda _name: password)


def install(order: Mapping[str, Any], settings: DatabaseFrom) -> None:
    """Create what the mode needs in the database, unless an earlier start has done it."""
    ddl = ddl_of(wiring(order, settings, SystemClock(), Events()))
    with psycopg.connect(
        host=order["host"], port=order["port"], dbname=order["database"], user=order["user"], password=order["password"],
        autocommit=True,
    ) as db:  # fmt: skip
        if db.execute(_INSTALLED).fetchone() == (0,):
            for statement in ddl.create:
                db.execute(statement.encode())


def capture(order: Mapping[str, Any], settings: DatabaseFrom, store: SqliteStore, events: Events) -> CaptureService:
    """Put the service together as the agent does, without what delivers."""
    clock, signer = SystemClock(), load_signer(generate())
    return CaptureService(
        CapturePlan(_FLOW, "bench", _SPEC, page_rows=settings.page_rows),
        source=DatabaseSource.build(wiring(order, settings, clock, events)),
        log=store,
        ledger=store,
        writer_for=lambda epoch: MessageWriter(
            sender="bench",
            receiver="51",
            flow=_FLOW,
            epoch=epoch,
            subject=_FLOW,
            dataschema="urn:bench:wide:1",
            signer=signer,
            clock=clock,
            random_bytes=os.urandom,
        ),
        events=events,
        clock=clock,
        random=lambda: 0.0,
    )


def _tick(service: CaptureService, every_secs: float, ended: threading.Event) -> None:
    """Do what the schedule of the agent does."""
    while not ended.wait(every_secs):
        service.tick()


def _frozen(value: Any) -> Any:
    """Undo what JSON does to tuples, and what a command line does to numbers."""
    if isinstance(value, list):
        return tuple(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _fail(service: str, error: BaseException) -> None:
    print(f"{service}: {error!r}", flush=True)
    os._exit(1)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    settings = DatabaseFrom.of(**{name: _frozen(value) for name, value in order["settings"].items()})
    if settings.mode in ("trigger", "slot"):
        install(order, settings)
    ended = threading.Event()
    with os.fdopen(int(sys.argv[1]), "w", encoding="ascii") as reports:
        events = Events(Reporter(reports))
        store = SqliteStore.open(Path.cwd() / "outbox.db", agent_id="bench", clock=SystemClock(), events=events)
        service = capture(order, settings, store, events)
        service.start(_fail)
        if settings.every is not None:
            threading.Thread(target=_tick, args=(service, settings.every.total_seconds(), ended), daemon=True).start()
        sys.stdin.read()  # until our parent closes it, or ends
        ended.set()
        service.stop(_STOP_SECS)
        store.close()


if __name__ == "__main__":
    main()
