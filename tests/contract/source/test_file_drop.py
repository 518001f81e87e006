"""The source contract on folders, once for each way a file can say that it is complete."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.events import Events
from agent.model import Value
from agent.ports import Source
from agent.testing.clock import FakeClock
from connectors.file_drop.settings import FileDropFrom
from connectors.file_drop.source import FileDropSource
from connectors.wiring import Wiring
from tests.contract.source.contract import COLUMNS, BadRecordContract, Record, SourceContract, World, as_mapping


class FolderWorld:
    def __init__(self, folder: Path, encoding: str = "utf-8") -> None:
        self.folder = folder / "投递 drop"
        self.folder.mkdir()
        self.encoding = encoding
        self.clock = FakeClock()
        self.files = 0
        self.rereads = False
        self.built: list[Source] = []

    def put(self, some: Sequence[Record]) -> None:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(as_mapping(record).values() for record in some)
        self.drop(out.getvalue().encode(self.encoding))

    def drop(self, octets: bytes) -> None:
        self.files += 1
        part = self.folder / f"登记{self.files}.csv.part"
        part.write_bytes(octets)
        part.rename(part.with_suffix(""))

    def source(self, **other: object) -> FileDropSource:
        return self.source_of(str(self.folder / "*.csv"), **other)

    def misconfigured(self) -> FileDropSource:
        return self.source_of(str(self.folder / "nowhere" / "*.csv"))

    def source_of(self, files: str, **other: object) -> FileDropSource:
        settings = FileDropFrom.of(**{"files": files, "key": ("id",), "ready": "rename", **other})
        source = FileDropSource.build(Wiring("f", settings, self.clock, Events(), "Asia/Shanghai", columns=COLUMNS))
        self.built.append(source)
        return source

    def cut(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def mend(self) -> None:
        self.folder.with_name("away").rename(self.folder)

    def shown(self, record: Record) -> tuple[Value, ...]:
        """Return the record as text; a CSV file has no NULL."""
        return tuple("" if value is None else str(value) for value in as_mapping(record).values())


class TestFileDrop(BadRecordContract, SourceContract):
    @pytest.fixture(params=["utf-8", "utf-8-sig", "gb18030"])
    def world(self, tmp_path: Path, request: pytest.FixtureRequest) -> FolderWorld:
        return FolderWorld(tmp_path, request.param)

    def put_unreadable(self, world: World) -> None:
        assert isinstance(world, FolderWorld)
        world.drop(f"{','.join(COLUMNS)}\r\nonly,three,fields\r\n".encode(world.encoding))
