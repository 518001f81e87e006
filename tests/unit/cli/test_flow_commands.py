"""`huitong flow`: with an agent and without one, for people and for machines."""

from __future__ import annotations

import pytest

from agent.events import FlowCaptured, FlowPaused, FlowResumed, OperatorActed
from agent.model import State
from tests.unit.cli.department import PEOPLE, Department, citizen


def paused(department: Department) -> dict[str, str]:
    return {row["flow"]: row["paused"] for row in department.run("flow", "list", "--json").json}


def test_flows_are_listed_before_the_first_run(department: Department) -> None:
    """From the configuration alone; looking makes no store."""
    rows = department.run("flow", "list", "--json").json
    assert [(row["flow"], row["message"], row["next_sequence"]) for row in rows] == [
        ("people", "population.person@1", 1),
        ("tax", "tax.deed@1", 1),
    ]
    assert "population.person@1" in department.run("flow", "list").stdout
    assert not (department.place / "state").exists()


def test_a_pause_and_a_resume_without_an_agent(filled: Department) -> None:
    """They are done here, under the lock, with who and why; a paused flow captures nothing."""
    done = filled.run("flow", "pause", "people", "--why", "假日", "--json")
    assert (done.code, done.json) == (0, {"flow": "people", "paused": True})
    assert paused(filled) == {"people": "operator root: 假日", "tax": ""}
    assert "paused: 假日 (root)" in filled.run("flow", "list").stdout
    refused = filled.run("flow", "run-once", "people")
    assert (refused.code, "flow people is paused: operator root: 假日" in refused.stderr) == (1, True)
    assert filled.run("flow", "resume", "people", "--why", "回来").stdout == "people goes on\n"
    assert paused(filled) == {"people": "", "tax": ""}


def test_a_pause_and_a_resume_with_an_agent(filled: Department) -> None:
    """The running agent does them; nobody else opens its store."""
    with filled.running() as running:
        assert filled.run("flow", "pause", "people", "--why", "假日").code == 0
        running.wait_for(FlowPaused)
        assert paused(filled)["people"] == "operator root: 假日"
        assert filled.run("flow", "resume", "people", "--why", "回来").code == 0
        running.wait_for(FlowResumed)
        assert paused(filled)["people"] == ""
        assert [event.action for event in running.recorder.of(OperatorActed)] == ["pause", "resume"]


def test_a_flow_is_captured_here_when_no_agent_runs(department: Department) -> None:
    """What there is becomes durable and waits; the counts are told, nothing is sent."""
    department.with_keys().put(*PEOPLE)
    result = department.run("flow", "run-once", "people", "--json")
    assert (result.json["flow"], result.json["records"]) == ("people", 1)
    assert [letter["field"] for letter in department.run("dead", "list", "--flow", "people", "--json").json] == ["born_on"]
    assert len(department.messages("people")) == 1
    again = department.run("flow", "run-once", "people")
    assert again.stdout.startswith("people: captured 0 records")


def test_a_flow_looks_at_its_source_when_the_agent_is_asked(filled: Department) -> None:
    """Long before its schedule would."""
    with filled.running() as running:
        filled.put((citizen(3), "王五", "19900307"), (citizen(4), "赵六", "19900307"))
        assert filled.run("flow", "run-once", "people").stdout == "people looks at its source now\n"
        running.recorder.wait_until(
            lambda events: any(isinstance(e, FlowCaptured) and e.flow == "people" for e in events), timeout=20
        )


def test_gaps_are_listed_and_closed(filled: Department) -> None:
    """With number, kind and reason; a closed one is shown only when asked for, and is not closed twice."""
    with filled.store() as store:
        store.open_gap("people", "source_replaced", "the source is not the one that was read before", {})
    (gap,) = filled.run("flow", "gaps", "--json").json
    assert (gap["flow"], gap["number"], gap["kind"], gap["closed_at"]) == ("people", 1, "source_replaced", None)
    assert "source replaced" in filled.run("flow", "gaps").stdout
    closed = filled.run("flow", "close-gap", "people", "1", "--why", "已比对", "--json")
    assert (closed.code, closed.json) == (0, {"flow": "people", "number": 1, "closed": True})
    assert filled.run("flow", "gaps", "--json").json == []
    assert len(filled.run("flow", "gaps", "--all", "--json").json) == 1
    assert filled.run("flow", "close-gap", "people", "1", "--why", "x", "--json").error["code"] == "HT-E404"


@pytest.mark.parametrize("command", ["pause", "resume", "run-once"])
def test_an_unknown_flow_is_a_plain_error(filled: Department, command: str) -> None:
    """Exit code 1, as JSON too, and no flow is made by a misspelling."""
    why = () if command == "run-once" else ("--why", "x")
    result = filled.run("flow", command, "peple", *why, "--json")
    assert (result.code, result.stdout, result.error["code"]) == (1, "", "HT-E404")
    assert "peple" in result.error["text"]
    assert set(paused(filled)) == {"people", "tax"}


def test_a_change_needs_a_reason(filled: Department) -> None:
    """Without --why it is wrong usage."""
    result = filled.run("flow", "pause", "people")
    assert (result.code, "--why" in result.stderr) == (2, True)


def test_a_lock_without_a_voice_is_told_as_busy(filled: Department) -> None:
    """Somebody works on the store but does not listen: 75, and nothing is touched."""
    with filled.store():
        result = filled.run("flow", "pause", "people", "--why", "x", "--json")
        assert (result.code, result.error["exit_code"], result.error["code"]) == (75, 75, "HT-S002")
        assert "does not listen" in result.error["text"]
    assert paused(filled)["people"] == ""


def test_reading_needs_no_lock(filled: Department) -> None:
    """While somebody works on the store, everything can be looked at."""
    with filled.store():
        for command in (("flow", "list"), ("flow", "gaps"), ("message", "find"), ("dead", "list")):
            assert filled.run(*command).code == 0


def test_what_waits_is_not_sent_by_a_command(filled: Department) -> None:
    """Offline acts leave the sending to the agent."""
    filled.run("flow", "run-once", "people")
    with filled.store() as store:
        assert {depth.flow: depth.messages[State.PENDING] for depth in store.depth()} == {"people": 2, "tax": 2}
