"""`huitong restore`: asks, needs the agent stopped, tells what it did and what to do next."""

from __future__ import annotations

import pytest

from agent.app.composer import Composer
from agent.events import Events
from agent.model import MessageKind
from agent.queries import Operator
from tests.unit.cli.department import Department


def freeze(department: Department) -> None:
    with department.store() as store:
        store.pause("people", "fork")


def test_a_restore_tells_what_it_did_and_what_comes_next(filled: Department) -> None:
    """New epochs, messages in line again, the gap to close, the flow that goes on."""
    freeze(filled)
    before = {row["flow"]: row["epoch"] for row in filled.run("flow", "list", "--json").json}
    result = filled.run("restore", "--why", "换盘", "--yes")
    assert result.code == 0
    assert "people: new epoch" in result.stdout
    assert "1 messages with 1 records are in line again; gap 1" in result.stdout
    assert "it was frozen and goes on" in result.stdout
    assert "huitong flow close-gap" in result.stdout
    after = {row["flow"]: (row["epoch"], row["paused"]) for row in filled.run("flow", "list", "--json").json}
    assert all(after[flow][0] != before[flow] for flow in before)
    assert after["people"][1] == ""
    assert [(gap["flow"], gap["kind"]) for gap in filled.run("flow", "gaps", "--json").json] == [
        ("people", "store_restored"),
        ("tax", "store_restored"),
    ]


def test_a_restore_is_told_as_json(filled: Department) -> None:
    """Per flow: epochs, messages, records, whether it was frozen."""
    freeze(filled)
    told = filled.run("restore", "--why", "x", "--yes", "--json").json
    assert told["continued"] is False
    assert {one["flow"]: (one["messages"], one["records"], one["thawed"]) for one in told["flows"]} == {
        "people": (1, 1, True),
        "tax": (1, 2, False),
    }
    assert [(gap["flow"], gap["number"]) for gap in told["gaps"]] == [("people", 1), ("tax", 1)]


def test_it_asks_whether_another_agent_runs(filled: Department) -> None:
    """A no changes nothing; without a terminal --yes is needed; a reason always."""
    before = filled.octets()
    asked = filled.answer("restore", "--why", "x", said="n\n")
    assert (asked.code, "510100-test-01" in asked.stderr) == (1, True)
    assert filled.run("restore", "--why", "x", "--json").error["code"] == "HT-E409"
    assert filled.run("restore", "--yes").code == 2
    assert filled.octets() == before


def test_the_agent_must_be_stopped(filled: Department) -> None:
    """75, with the command that stops it; nothing is changed under a running agent."""
    with filled.running():
        result = filled.run("restore", "--why", "x", "--yes", "--json")
        assert (result.code, result.error["exit_code"]) == (75, 75)
        assert "systemctl stop huitong-agent" in result.error["hint"]
    assert filled.run("flow", "gaps", "--json").json == []


def test_an_interrupted_restore_is_finished_by_repeating_it(filled: Department) -> None:
    """It says so, and records no second gap."""
    freeze(filled)
    with filled.store() as store:
        store.begin_epoch("ab" * 16, Operator("root", "x")).result()
    told = filled.run("restore", "--why", "y", "--yes", "--json").json
    assert (told["continued"], len(told["gaps"]), len(told["flows"])) == (True, 2, 2)
    assert {row["epoch"] for row in filled.run("flow", "list", "--json").json} == {"ab" * 16}
    assert "interrupted" not in filled.run("restore", "--why", "z", "--yes").stdout


@pytest.mark.parametrize("who", ["agent", "command"])
def test_an_interrupted_restore_is_finished_by_whoever_comes_next(filled: Department, who: str) -> None:
    """An agent that starts, or a command that changes something, finishes it before anything else."""
    freeze(filled)
    with filled.store() as store:
        store.begin_epoch("cd" * 16, Operator("root", "x")).result()
    if who == "agent":
        with filled.running():
            pass
    else:
        assert filled.run("flow", "pause", "tax", "--why", "x").code == 0
    with filled.store() as store:
        parts = Composer(filled.settings, {}, Events(), store)
        assert parts.restore().unfinished() is None
        parts.reader.close()
        waiting = [entry.message for entry in store.pending("people", 0, 10)]
    assert [message.kind for message in waiting] == [MessageKind.CONTROL, MessageKind.RECORDS]
    assert {message.epoch for message in waiting} == {"cd" * 16}


def test_a_store_that_has_no_flows_says_so(department: Department) -> None:
    """Nothing went wrong, and nothing was there."""
    result = department.with_keys().run("restore", "--why", "x", "--yes")
    assert (result.code, "nothing to restore" in result.stdout) == (0, True)
