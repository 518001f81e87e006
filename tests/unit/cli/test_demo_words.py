"""`huitong demo --keep`: what it tells to try, and how it is ended."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.demo import stay
from agent.cli.demo.command import ended_by_signals
from agent.cli.demo.world import DemoFailed, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world that was not built, in a folder whose name needs quotes."""
    with World(tmp_path / "a b", postgres=False, environment=dict(os.environ)) as made:
        yield made


def test_every_command_can_be_pasted(world: World) -> None:
    """Each names its program and its configuration, quoted; the alias makes suggested commands work too."""
    lines = [line.strip() for line in stay.suggestions(world, "/opt/huitong") if line.startswith("  ")]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert {command[0] for command in commands} == {"/opt/huitong", "ls", "kill", "alias"}
    for command in commands:
        if command[0] == "/opt/huitong":
            assert str(world.agent_yaml) in command or str(world.hub_yaml) in command
    assert commands[-1][1] == f"huitong=/opt/huitong --config {shlex.quote(str(world.agent_yaml))}"


def test_a_program_outside_the_path_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`huitong` alone is only told when the shell would find this very one."""
    program = tmp_path / "bin" / "huitong"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert stay.program() == str(program)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin")
    assert stay.program() == "huitong"
    monkeypatch.setattr(sys, "argv", ["/x/agent/__main__.py"])
    assert stay.program() == f"{sys.executable} -m agent"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_once(number: signal.Signals) -> None:
    """The first one unwinds, so that everything is stopped; a second one does not disturb that."""
    before = signal.getsignal(number)

    def end_twice() -> None:
        with ended_by_signals():
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        end_twice()
    assert signal.getsignal(number) is before


def test_a_step_that_fails_ends_the_demo_at_once(world: World) -> None:
    """With that step's own words; what follows from it would only mislead."""
    world.folder.mkdir()
    world.agent_yaml.parent.mkdir()
    world.agent_yaml.write_text("version: 1\n")
    with pytest.raises(DemoFailed) as caught:
        world.agent("keys", "new")
    assert "keys new" in str(caught.value)
    assert str(world.folder) in caught.value.localised()[1]


def test_what_ended_is_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the service manager would."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    started: list[str] = []

    def start(name: str) -> None:
        started.append(name)
        world._processes[name] = ended

    start("agent")
    monkeypatch.setattr(world, "start", start)
    assert world.revive() == [("agent", ended.pid)]
    assert started == ["agent", "agent"]
