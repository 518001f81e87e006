"""The source contract on the scripted source, as a table that is polled and as a log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.errors import SourceUnavailable
from agent.model import Finding, Value
from agent.ports import Source
from agent.testing.scripted_source import ScriptedSource
from tests.contract.source.contract import COLUMNS, BadRecordContract, Record, SourceContract, World, as_mapping


class Misconfigured(ScriptedSource):
    def check(self) -> Sequence[Finding]:
        return [Finding("script", ok=False, text="nothing is written down", hint="write it down")]


class ScriptedWorld:
    def __init__(self, *, log: bool) -> None:
        self.rereads = not log
        self.built: list[Source] = []
        self.script = ScriptedSource(COLUMNS, log=log, overlap=0 if log else 3)
        self.gone: list[BaseException] = []

    def put(self, some: Sequence[Record]) -> None:
        self.script.put(*(tuple(as_mapping(record).values()) for record in some))

    def source(self) -> Source:
        return self.script

    def misconfigured(self) -> Source:
        return Misconfigured()

    def cut(self) -> None:
        self.script.fail("read", SourceUnavailable(why="cut"))
        self.script.fail("open", SourceUnavailable(why="cut"))

    def mend(self) -> None:
        """Nothing to do: each failure happens once."""

    def shown(self, record: Record) -> tuple[Value, ...]:
        return tuple(as_mapping(record).values())


class TestScripted(BadRecordContract, SourceContract):
    @pytest.fixture(params=[False, True], ids=["table", "log"])
    def world(self, request: pytest.FixtureRequest) -> ScriptedWorld:
        return ScriptedWorld(log=request.param)

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_the_limit_is_respected(self, world: World, limit: int) -> None:
        """No batch has more new rows than asked for; what comes again does not count."""
        assert isinstance(world, ScriptedWorld)
        world.script = ScriptedSource(COLUMNS, log=not world.rereads)
        super().test_the_limit_is_respected(world, limit)

    def put_unreadable(self, world: World) -> None:
        assert isinstance(world, ScriptedWorld)
        world.script.put_unreadable(b"???")
