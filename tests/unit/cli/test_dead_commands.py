"""`huitong dead`: input, refused records and refused messages, looked at, tried again and given up."""

from __future__ import annotations

import pytest

from agent.events import FlowCaptured
from agent.model import ExchangeMessage, Outcome, RefusedRecord
from agent.wire.envelope import open_body
from agent.wire.limits import Limits
from tests.unit.cli.department import Department, citizen


def letters(department: Department, flow: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = department.run("dead", "list", "--flow", flow, "--json").json
    return found


def record_ids(message: ExchangeMessage) -> list[str]:
    return [record.id for record in open_body(message.body, message.encoding, Limits()).records]


def refuse_record(department: Department) -> str:
    """Let the hub refuse the first tax line and store the other; returns the record's id."""
    (message,) = department.messages("tax")
    first = record_ids(message)[0]
    department.judge(message, Outcome.PARTLY_STORED, stored=1, refused=[RefusedRecord(first, "amount", "too_long", "太长")])
    return first


def refuse_message(department: Department) -> ExchangeMessage:
    (message,) = department.messages("tax")
    department.judge(message, Outcome.REFUSED_FINAL, code="malformed")
    return message


# -- looking ---------------------------------------------------------------------------------------------------------


def test_dead_letters_are_grouped_by_cause(filled: Department) -> None:
    """Input, records and messages, each with field, cause in words and count."""
    refuse_record(filled)
    causes = {(cause["flow"], cause["kind"]): cause for cause in filled.run("dead", "list", "--json").json}
    assert set(causes) == {("people", "input"), ("tax", "input"), ("tax", "record")}
    assert causes["tax", "input"]["text"] == "not a number; it looks like 文"
    assert causes["tax", "record"]["field"] == "amount"
    text = filled.run("dead", "list").stdout
    assert "not a number; it looks like 文" in text
    assert "refused record" in text


def test_a_group_shows_its_first_member_as_an_example(filled: Department) -> None:
    """Two lines with different faults of one kind: what is shown is said to be one of them."""
    filled.drop("b.csv", "凭证号,金额,日期\nA4,3.x,2026-01-03\n")
    assert filled.run("flow", "run-once", "tax").code == 0
    (cause,) = [one for one in filled.run("dead", "list", "--json").json if one["flow"] == "tax"]
    assert (cause["count"], cause["text"]) == (2, "not a number; it looks like 文")
    assert "for example: not a number; it looks like 文" in filled.run("dead", "list").stdout


def test_one_flow_is_listed_one_by_one(filled: Department) -> None:
    """With the ids that the other commands take."""
    record = refuse_record(filled)
    found = letters(filled, "tax")
    assert [(letter["kind"], letter["field"]) for letter in found] == [("input", "amount"), ("record", "amount")]
    assert found[1]["id"] == record
    assert len(filled.run("dead", "list", "--flow", "tax", "-n", "1", "--json").json) == 2  # one of each kind


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_kind_is_shown_with_its_reason(filled: Department, language: str) -> None:
    """Input with its bytes, a record with its message, a message with its trace."""
    item = letters(filled, "tax")[0]["id"]
    shown = filled.run("dead", "show", item, language=language)
    assert (shown.code, "甲" in shown.stdout) == (0, True)
    record = refuse_record(filled)
    assert "太长" in filled.run("dead", "show", record, language=language).stdout
    assert filled.run("dead", "show", record, "--json").json[0]["refused"]["code"] == "too_long"
    message = refuse_message_of_people(filled)
    assert message.message_id in filled.run("dead", "show", message.message_id, language=language).stdout
    assert filled.run("dead", "show", message.message_id, "--json").json["message"]["state"] == "dead"


def refuse_message_of_people(department: Department) -> ExchangeMessage:
    (message,) = department.messages("people")
    department.judge(message, Outcome.REFUSED_FINAL, code="malformed")
    return message


def test_an_unknown_letter_is_a_plain_error(looked_at: Department) -> None:
    """Exit code 1 with the way to find one."""
    result = looked_at.run("dead", "show", "nonsense", "--json")
    assert (result.code, result.error["code"], "huitong dead list" in result.error["hint"]) == (1, "HT-E404", True)


# -- trying again ----------------------------------------------------------------------------------------------------


def test_corrected_input_is_sent_and_wrong_input_stays(filled: Department) -> None:
    """Without an agent the source is read again here; some done and some not is exit code 3."""
    filled.put((citizen(3), "王五", "x"))
    filled.run("flow", "run-once", "people")
    first, second = (letter["id"] for letter in letters(filled, "people"))
    filled.put((citizen(2), "李四", "19900307"))
    done = filled.run("dead", "retry", "--flow", "people", "--why", "改了", "--yes", "--json")
    assert (done.code, done.json[first]["how"], done.json[second]["how"]) == (3, "retried", "failed")
    assert done.json[second]["text"] == "it is still not right; correct it at the source or in the map"
    assert [letter["id"] for letter in letters(filled, "people")] == [second]
    assert len(filled.messages("people")) == 2


def test_files_have_no_look_up_and_say_what_to_do(filled: Department) -> None:
    """A line of a file is corrected in the rejects file; the letter stays open."""
    (bad,) = letters(filled, "tax")
    result = filled.run("dead", "retry", bad["id"], "--why", "x", "--yes")
    assert result.code == 1
    assert "this source cannot look up single records" in result.stdout
    assert "rejects file" in result.stdout
    assert letters(filled, "tax") == [bad]


def test_a_refused_record_is_sent_again_with_its_id(filled: Department) -> None:
    """In a message of its own, with the next sequence."""
    record = refuse_record(filled)
    done = filled.run("dead", "retry", record, "--why", "中心已改", "--yes", "--json")
    assert (done.code, done.json[record]["how"]) == (0, "retried")
    (again,) = filled.messages("tax")
    assert (again.sequence, record_ids(again)) == (2, [record])
    assert record not in [letter["id"] for letter in letters(filled, "tax")]


def test_a_refused_message_is_sent_again_by_the_running_agent(filled: Department) -> None:
    """The agent gives the sequence; the command only asks."""
    message = refuse_message(filled)
    with filled.running() as running:
        running.recorder.wait_until(lambda events: any(type(e).__name__ == "SourceOpened" and e.flow == "tax" for e in events))
        done = filled.run("dead", "retry", message.message_id, "--why", "x", "--yes")
        assert (done.code, done.stdout) == (0, "sent: 1\n")
    (again,) = filled.messages("tax")
    assert record_ids(again) == record_ids(message)


def test_a_superseded_record_is_only_closed(filled: Department) -> None:
    """A later file brought a newer version of its key."""
    record = refuse_record(filled)
    filled.drop("b.csv", "凭证号,金额,日期\nA1,7.00,2026-01-01\n")
    filled.run("flow", "run-once", "tax")
    done = filled.run("dead", "retry", record, "--why", "x", "--yes", "--json")
    assert (done.code, done.json[record]["how"]) == (0, "superseded")
    assert [m.sequence for m in filled.messages("tax")] == [2]


# -- giving up -------------------------------------------------------------------------------------------------------


def test_everything_of_a_flow_is_given_up_after_a_yes(filled: Department) -> None:
    """A terminal is asked; `n` changes nothing; without a terminal --yes is needed."""
    refuse_record(filled)
    asked = filled.answer("dead", "discard", "--flow", "tax", "--why", "x", said="n\n")
    assert (asked.code, "Items to give up for ever: 2. Go on?" in asked.stderr) == (1, True)
    assert len(letters(filled, "tax")) == 2
    unasked = filled.run("dead", "discard", "--flow", "tax", "--why", "x", "--json")
    assert (unasked.code, unasked.error["code"]) == (1, "HT-E409")
    done = filled.answer("dead", "discard", "--flow", "tax", "--why", "作废", said="y\n")
    assert (done.code, done.stdout) == (0, "given up: 2\n")
    assert letters(filled, "tax") == []
    nothing = filled.run("dead", "discard", "--flow", "tax", "--why", "x", "--yes", "--json")
    assert (nothing.code, nothing.error["text"]) == (1, "nothing is open in flow tax")


def test_a_waiting_message_is_voided(filled: Department) -> None:
    """Nothing of it is ever sent; what cannot be given up says why, and the exit code tells them apart."""
    (message,) = filled.messages("tax")
    done = filled.run("dead", "discard", message.message_id, "nonsense", "--why", "x", "--yes", "--json")
    assert done.code == 3
    assert done.json[message.message_id]["how"] == "discarded"
    assert done.json["nonsense"] == {"how": "failed", "text": "there is no dead letter with this id", "hint": "", "details": {}}
    assert filled.messages("tax") == []


def test_naming_nothing_is_wrong_usage(looked_at: Department) -> None:
    """Exit code 2."""
    result = looked_at.run("dead", "retry", "--why", "x")
    assert (result.code, "--flow" in result.stderr) == (2, True)


def test_failures_are_listed_up_to_twenty(filled: Department) -> None:
    """A long list ends with how many more there are."""
    result = filled.run("dead", "discard", *(f"no-{n}" for n in range(25)), "--why", "x", "--yes")
    assert (result.code, result.stdout.count("there is no dead letter")) == (1, 20)
    assert "… and 5 more" in result.stdout


def test_captured_events_are_not_talk(filled: Department) -> None:
    """A command that captures here prints its result and no log."""
    record = refuse_record(filled)
    done = filled.run("dead", "retry", record, "--why", "x", "--yes")
    assert (done.stderr, FlowCaptured.__name__ in done.stdout) == ("", False)


def test_a_flow_that_does_not_exist_is_told_from_one_with_nothing_open(department: Department) -> None:
    """A misspelt name is an error with the nearest name; an empty list is said in words, not shown as bare headings."""
    department.with_keys()
    assert department.run("flow", "run-once", "people").code == 0
    wrong = department.run("dead", "list", "--flow", "peple")
    assert (wrong.code, "there is no flow named peple" in wrong.stderr, "did you mean: people" in wrong.stderr) == (1, True, True)
    empty = department.run("dead", "list", "--flow", "people")
    assert (empty.code, empty.stdout, empty.stderr) == (0, "", "Nothing is open.\n")
    assert department.run("dead", "list", "--json").json == []
