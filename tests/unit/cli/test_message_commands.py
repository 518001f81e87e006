"""`huitong message`: find, trace, resend."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.adapters.clock import SystemClock
from agent.model import Outcome
from tests.contract.store.makers import refused_record
from tests.unit.cli.department import Department


def ids(department: Department, *options: str) -> list[str]:
    return [row["message_id"] for row in department.run("message", "find", *options, "--json").json]


def test_messages_are_found_by_everything(filled: Department) -> None:
    """Flow, state, business key, code and time each narrow the search; none is exit code 1."""
    (person,), (tax,) = filled.messages("people"), filled.messages("tax")
    filled.judge(tax, Outcome.REFUSED_FINAL, code="malformed")
    assert set(ids(filled, "--flow", "people")) > {person.message_id}
    assert ids(filled, "--state", "dead") == ids(filled, "--code", "malformed") == [tax.message_id]
    assert ids(filled, "--key", "A1") == [tax.message_id]
    assert len(ids(filled)) == 4
    assert len(ids(filled, "-n", "1")) == 1
    today = SystemClock().now().astimezone().date()
    assert ids(filled, "--since", str(today - timedelta(days=2)), "--flow", "tax")
    assert ids(filled, "--until", str(today - timedelta(days=2))) == []
    none = filled.run("message", "find", "--key", "nobody", "--json")
    assert (none.code, none.json) == (1, [])


def test_a_message_is_followed_through_every_hop(filled: Department) -> None:
    """Captured, confirmed, received, stored, settled; the receipt with its evidence; refused records with their reason."""
    (tax,) = filled.messages("tax")
    filled.confirm("tax")
    filled.judge(tax, Outcome.PARTLY_STORED, stored=1, refused=[refused_record("ab" * 16, "amount", "too_long")])
    trace = filled.run("message", "trace", tax.message_id, "--json").json
    assert trace["message"]["digest"] == tax.digest.hex()
    assert [receipt["outcome"] for receipt in trace["receipts"]] == ["partly_stored"]
    assert [one["refused"]["field"] for one in trace["refused"]] == ["amount"]
    text = filled.run("message", "trace", tax.message_id).stdout
    for hop in (
        "durable in the outbox (R0)",
        "confirmed by the queue (R1)",
        "received by the hub",
        "stored by the hub (R3)",
        "settled",
    ):
        assert hop in text
    assert "partly stored" in text
    assert "refused record abababab" in text


def test_an_unknown_message_is_a_plain_error(looked_at: Department) -> None:
    """Exit code 1, with the way to find one."""
    result = looked_at.run("message", "trace", "nonsense", "--json")
    assert (result.code, result.error["code"]) == (1, "HT-E404")
    assert "huitong message find" in result.error["hint"]


def test_only_confirmed_messages_are_sent_again(filled: Department) -> None:
    """All moved is 0, some is 3, none is 1; who and why are kept."""
    (person,), (tax,) = filled.messages("people"), filled.messages("tax")
    filled.confirm("people")
    done = filled.run("message", "resend", person.message_id, "--why", "丢了", "--json")
    assert (done.code, done.json) == (0, {"resent": 1})
    assert person in filled.messages("people")
    filled.confirm("people")
    assert filled.run("message", "resend", person.message_id, tax.message_id, "--why", "x").code == 3
    none = filled.run("message", "resend", tax.message_id, "--why", "x")
    assert (none.code, "huitong message trace" in none.stderr) == (1, True)


def test_nothing_is_found_before_the_first_run(department: Department) -> None:
    """There is no store yet, and the error says what to do."""
    result = department.run("message", "find", "--json")
    assert (result.code, result.error["hint"]) == (1, "start it first: huitong run")


@pytest.mark.parametrize("option", [("--state", "lost"), ("--since", "yesterday"), ("-n", "0")])
def test_wrong_options_are_wrong_usage(looked_at: Department, option: tuple[str, str]) -> None:
    """Exit code 2."""
    assert looked_at.run("message", "find", *option).code == 2


def test_finding_nothing_is_said_in_words(looked_at: Department) -> None:
    """Not with bare headings; a misspelt flow is an error of its own."""
    nothing = looked_at.run("message", "find", "--state", "dead")
    assert (nothing.code, nothing.stdout, nothing.stderr) == (1, "", "No message is like this.\n")
    assert "did you mean: people" in looked_at.run("message", "find", "--flow", "peopel").stderr
