"""The drawing in docs/state-machine.md and the table in the code are the same machine."""

from __future__ import annotations

import re
from pathlib import Path

from agent.model import TRANSITIONS, State, Trigger

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "state-machine.md"
ARROW = re.compile(r"^\s*(\S+) --> (\S+)(?: : (\S+))?$", re.MULTILINE)
ENDS = {State.STORED, State.PARTLY_STORED, State.DEAD}


def arrows() -> list[tuple[str, str, str]]:
    """Return (from, to, trigger) of every arrow drawn."""
    (drawing,) = re.findall(r"```mermaid\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    return ARROW.findall(drawing)


def test_the_drawing_is_the_table() -> None:
    """Every arrow is a transition and every transition is an arrow, each drawn once."""
    drawn = [(source, trigger, target) for source, target, trigger in arrows() if "[*]" not in (source, target)]
    table = [(str(state), str(trigger), str(target)) for (state, trigger), target in TRANSITIONS.items()]
    assert sorted(drawn) == sorted(table)


def test_the_drawing_shows_where_it_begins_and_ends() -> None:
    """A message begins pending and ends where nothing leads on."""
    assert [(target, trigger) for source, target, trigger in arrows() if source == "[*]"] == [("pending", "append")]
    assert {source for source, target, _ in arrows() if target == "[*]"} == ENDS
    assert {state for state, _ in TRANSITIONS} == set(State) - ENDS


def test_every_state_and_trigger_is_explained() -> None:
    """The tables of the document name every state and every trigger there is."""
    text = DOCUMENT.read_text("utf-8")
    rows = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))))
    assert rows == {str(each) for each in [*State, *Trigger]}


def test_every_trigger_leads_to_one_state() -> None:
    """A trigger has one target wherever it comes from, which the statements of the store rely on."""
    for trigger in Trigger:
        assert len({target for (_, by), target in TRANSITIONS.items() if by is trigger}) == 1
