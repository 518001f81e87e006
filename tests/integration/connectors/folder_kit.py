"""A drop folder, a source on it, and a host that makes everything durable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import UnreadableRecord
from agent.events import Events
from agent.model import START, Batch, Counters, FlowState, Quarantined
from agent.testing.clock import FakeClock
from agent.testing.recorder import EventRecorder
from connectors.file_drop.settings import FileDropFrom
from connectors.file_drop.source import FileDropSource
from connectors.wiring import Wiring


class Bench:
    """One flow. What it reads is kept in `rows` by token; rows whose name is `bad` are rejected, as a map would."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder / "drop"
        self.folder.mkdir(exist_ok=True)
        self.settings = {"files": str(self.folder / "*.csv"), "key": ("id",), "ready": "rename", **settings}
        self.clock = FakeClock()
        self.recorder = EventRecorder()
        self.position = START
        self.memory: dict[str, str] = {}
        self.rows: dict[str, tuple[Any, ...]] = {}
        self.items: dict[str, Quarantined] = {}
        self.source = self.build()

    def build(self, **settings: object) -> FileDropSource:
        """Return a source, unopened."""
        wiring = Wiring(
            flow="f",
            settings=FileDropFrom.of(**{**self.settings, **settings}),
            clock=self.clock,
            events=Events(self.recorder),
            time_zone="Asia/Shanghai",
            language="en",
            columns=("id", "name"),
            rejected=self.rejected,
        )
        return FileDropSource.build(wiring)

    def rejected(self, prefix: str) -> Iterator[Quarantined]:
        return (item for token, item in self.items.items() if token.startswith(prefix))

    # -- files -------------------------------------------------------------------------------------------------------

    def drop(self, name: str, *rows: str, header: str = "id,name", encoding: str = "utf-8") -> Path:
        """Put a file in place at once."""
        return self.drop_bytes(name, "".join(f"{line}\r\n" for line in (header, *rows)).encode(encoding))

    def drop_bytes(self, name: str, octets: bytes) -> Path:
        part = self.folder / f"{name}.part"
        part.write_bytes(octets)
        return part.rename(self.folder / name)

    def names(self, *where: str) -> set[str]:
        """Return the names of the files in the folder, or in one below it."""
        folder = self.folder.joinpath(*where)
        return {entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)} if folder.exists() else set()

    # -- the host ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.source.open(FlowState("f", "e", "", self.position, Counters(), dict(self.memory)))
        if self.position != START:
            self.source.commit(self.position)

    def restart(self, **settings: object) -> None:
        """Let the process die, and start another."""
        self.source.close()
        self.source = self.build(**settings)
        self.open()

    def read(self, limit: int = 1000) -> Batch:
        """Read and make durable."""
        batch = self.source.read(self.position, limit)
        self.position = batch.position
        self.memory.update(batch.memory)
        for token, row in zip(batch.tokens or (), batch.rows, strict=True):
            assert token not in self.rows, f"{token} came twice"
            if "bad" in row:
                raw = json.dumps(dict(zip(batch.columns, row, strict=True))).encode()
                self._keep(token, raw, "required", "HT-R001", "the value is missing", {})
            else:
                self.rows[token] = row
        for item in batch.unreadable:
            self._keep(item.token, item.raw, item.reason, UnreadableRecord.code, item.text, dict(item.details))
        return batch

    def step(self, limit: int = 1000) -> Batch:
        """Read, make durable, commit."""
        batch = self.read(limit)
        self.source.commit(batch.position)
        return batch

    def drain(self, limit: int = 1000) -> None:
        while self.step(limit).more:
            pass

    def _keep(self, token: str, raw: bytes, reason: str, code: str, text: str, details: dict[str, Any]) -> None:
        now = self.clock.now()
        self.items.setdefault(token, Quarantined(token, "f", "*.csv", token, None, raw, reason, code, "name", text, details, now))

    def ids(self) -> list[str]:
        """Return the ids of the rows, in the order they came."""
        return [row[0] for row in self.rows.values()]
