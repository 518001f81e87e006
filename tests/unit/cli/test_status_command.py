"""`huitong status`: the agent not running, running, its broker down, flows paused, dead letters, gaps; text, JSON, quiet, watch."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest

from agent.app.overview import Todo
from agent.app.witness import Fault
from agent.cli.status import sentence
from agent.errors import NotConnected
from agent.events import BrokerLost, FlowPaused, SourceLost
from agent.i18n import use_language
from agent.model import Outcome
from agent.wire.codes import CODES
from tests.unit.cli.department import CODE, Department
from tests.unit.cli.kit import Result


def flow(result: Result, name: str) -> dict[str, object]:
    return next(line for line in result.json["flows"] if line["flow"] == name)


def kinds(result: Result) -> list[str]:
    return [todo["kind"] for todo in result.json["todo"]]


# -- without an agent ------------------------------------------------------------------------------------------------


def test_before_the_first_run_there_is_nothing_but_the_configuration(department: Department) -> None:
    """Flows are listed as stopped, the exit code says that somebody has to act, and no store is made by looking."""
    result = department.run("status", "--json")
    assert (result.code, result.json["running"], result.json["healthy"]) == (1, False, False)
    assert [(line["flow"], line["state"]) for line in result.json["flows"]] == [("people", "stopped"), ("tax", "stopped")]
    assert kinds(result) == ["stopped"]
    assert not (department.place / "state").exists()
    assert "The agent is not running." in department.run("status").stdout


def test_a_stopped_agent_shows_what_its_store_holds(looked_at: Department) -> None:
    """Counts of today, what waits, and dead letters with their cause in words."""
    result = looked_at.run("status", "--json")
    assert result.code == 1
    people = flow(result, "people")
    assert (people["captured_today"], people["waiting"], people["dead"]) == (4, 2, 1)
    assert kinds(result) == ["stopped", "dead", "dead"]
    text = looked_at.run("status").stdout
    assert "tax has 1 put aside: amount: not a number" in text
    assert "→ huitong dead list --flow tax" in text


def test_closed_dead_letters_need_nobody(filled: Department) -> None:
    """What was given up is not counted any more."""
    assert filled.run("dead", "discard", "--flow", "tax", "--why", "x", "--yes").code == 0
    result = filled.run("status", "--json")
    assert flow(result, "tax")["dead"] == 0
    assert [todo["flow"] for todo in result.json["todo"] if todo["kind"] == "dead"] == ["people"]


def test_pauses_gaps_and_refusals_are_named_with_the_way_out(filled: Department) -> None:
    """Each with its command; a message refused by the hub in the words of its code."""
    filled.run("flow", "pause", "tax", "--why", "假日")
    (message,) = filled.messages("people")
    filled.judge(message, Outcome.REFUSED_FINAL, code="malformed")
    with filled.store() as store:
        store.open_gap("people", "position_lost", "lost", {})
    result = filled.run("status", "--json")
    assert kinds(result) == ["stopped", "paused-operator", "dead", "dead", "dead", "gap"]
    text = filled.run("status").stdout
    assert "契税 is paused: 假日 (root)  → huitong flow resume tax" in text
    assert "people has gap 1 (position lost)  → huitong flow gaps" in text
    assert f"people has 1 put aside: {CODES['malformed'].text}" in text


def test_a_fork_leads_to_restore(filled: Department) -> None:
    """A frozen flow names the one command that helps."""
    with filled.store() as store:
        store.pause("people", "fork")
    assert "人口 is frozen: the hub has another history of it  → huitong restore" in filled.run("status").stdout


def test_overdue_receipts_are_told(filled: Department) -> None:
    """A message that was confirmed too long ago is named once for its flow."""
    filled.config.write_text(filled.config.read_text().replace("  trust:", "  receipt_within: 1s\n  trust:"), encoding="utf-8")
    filled.confirm("people")
    deadline = time.monotonic() + 20
    while "overdue" not in kinds(filled.run("status", "--json")):
        assert time.monotonic() < deadline
    assert "人口: messages without a receipt for too long: 2" in filled.run("status").stdout


def test_a_flow_that_was_removed_drains(filled: Department) -> None:
    """It is still shown while the store has something of it."""
    filled.config.write_text(filled.config.read_text().partition("  tax:")[0], encoding="utf-8")
    assert flow(filled.run("status", "--json"), "tax")["state"] == "removed"
    assert "draining" in filled.run("status").stdout


# -- with an agent ---------------------------------------------------------------------------------------------------


def test_a_running_agent_tells_more(filled: Department) -> None:
    """Its broker is down: said once, with the cause and what to do; captured data is there; --quiet says that it lives."""
    with filled.running() as running:
        running.wait_for(BrokerLost, 2)
        result = filled.run("status", "--json")
        assert (result.code, result.json["running"]) == (1, True)
        assert result.json["connected"] == {"publish": False, "consume": False}
        assert kinds(result)[0] == "broker"
        assert flow(result, "people")["state"] == "running"
        text = filled.run("status").stdout
        assert text.count("no connection to the message broker") == 1
        assert "queue down" in text
        quiet = filled.run("status", "--quiet")
        assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
        filled.run("flow", "pause", "people", "--why", "假日")
        running.wait_for(FlowPaused)
        assert flow(filled.run("status", "--json"), "people")["state"] == "paused"
    assert filled.run("status", "--quiet").code == 1


def test_a_source_that_does_not_answer_is_told(filled: Department) -> None:
    """The flow waits, its neighbour runs, and the text names the source and its fault."""
    (filled.place / "registry.db").rename(filled.place / "moved.db")
    with filled.running() as running:
        running.wait_for(SourceLost)
        result = filled.run("status", "--json")
        assert (flow(result, "people")["state"], flow(result, "tax")["state"]) == ("waiting", "running")
        text = filled.run("status").stdout
        assert "sources down" in text
        assert "the source of 人口 does not answer" in text


def test_a_silent_agent_is_told_apart_from_none(filled: Department, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket accepts and says nothing: what the store says is shown, and the alarm; --quiet fails."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(filled.place / "agent.sock"))
        silent.listen()
        monkeypatch.setattr(sys.modules["agent.cli.status"], "GLANCE_SECS", 0.2)
        result = filled.run("status", "--json")
        assert (result.code, result.json["running"], result.json["answering"]) == (1, True, False)
        assert kinds(result)[0] == "silent"
        assert flow(result, "people")["waiting"] == 2
        assert filled.run("status", "--quiet").code == 1


# -- how it is shown -------------------------------------------------------------------------------------------------


def test_watching_shows_it_again_until_somebody_stops(filled: Department) -> None:
    """`--watch` goes on by itself; Ctrl-C ends it with the exit code of what was seen last."""
    command = [sys.executable, "-m", "agent", "--lang", "en", "--config", str(filled.config), "status", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        decoder, text, seen = json.JSONDecoder(), "", []
        while len(seen) < 2:
            line = process.stdout.readline()
            assert line
            text += line
            if line == "}\n":
                seen.append(decoder.decode(text))
                text = ""
        process.send_signal(2)
        assert process.wait(10) == 1
    assert [one["agent"] for one in seen] == [CODE, CODE]


def test_status_is_shown_in_chinese(looked_at: Department) -> None:
    """Headings, states, causes and the way out."""
    text = looked_at.run("status", language="zh").stdout
    assert "没有运行" in text
    assert "不是数字" in text
    for word in ("read today", "stopped", "put aside", "oldest"):
        assert word not in text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "todo",
    [
        Todo("silent"),
        Todo("broker", fault=Fault.of(NotConnected(why="x"))),
        Todo("disk", why="/var"),
        Todo("stuck", why="delivery"),
        Todo("paused-operator", "f", "F", "why"),
        Todo("paused-fork", "f", "F", "fork"),
        Todo("paused-source", "f", "F", "position_lost"),
        Todo("paused-source", "f", "F", "x", fault=Fault("no table", "ask")),
        Todo("paused-hub", "f", "F", "unknown_type"),
        Todo("source", "f", "F", fault=Fault.of(NotConnected(why="x"))),
        Todo("overdue", "f", "F", count=3),
        Todo("dead", "f", why="x: y", count=2, fault=Fault("", code="too_long")),
        Todo("gap", "f", why="store_restored", count=1),
        Todo("certificate", title="a.crt", count=20),
        Todo("certificate-over", title="a.crt", count=-1),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind} {value.why}",
)
def test_everything_that_needs_a_person_is_a_sentence(todo: Todo, language: str) -> None:
    """No field is left unfilled, and Chinese is Chinese."""
    use_language(language)
    text = sentence(todo)
    assert text
    assert "{" not in text
    if language == "zh":
        use_language("en")
        assert text != sentence(todo)


def test_what_another_line_says_already_is_not_said_twice() -> None:
    """That the agent does not run stands at the top."""
    assert sentence(Todo("stopped")) == ""


def test_status_starts_quickly() -> None:
    """Neither the database library, nor the broker's client, nor cryptography is loaded to ask a running agent."""
    program = (
        "import sys, agent.cli.status\n"
        "print(sorted({'sqlalchemy', 'pika', 'cryptography', 'alembic', 'apscheduler', 'structlog', 'prometheus_client', 'psycopg'}"
        " & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
