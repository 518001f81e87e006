"""Durations, sizes, secrets, schedules, date patterns and the guesses at what was meant."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from agent.mapping.dates import NoPatternError, conversion
from agent.settings.base import Misfit
from agent.settings.date_pattern import parse_date_pattern
from agent.settings.map_fields import CheckName, CodeListName, MappedField
from agent.settings.schedule import parse_cron
from agent.settings.suggest import near, unmistakable
from agent.settings.types import SecretName, format_duration, format_size, parse_duration, parse_secret, parse_size
from agent.settings.urls import parse_broker_url
from agent.standards.checks import CHECKS
from agent.standards.code_lists import NAMES


def misfit_of(error: PydanticCustomError) -> Misfit:
    assert error.context is not None
    misfit = error.context["misfit"]
    assert isinstance(misfit, Misfit)
    return misfit


@given(ms=st.integers(0, 10**9 - 1))
def test_a_duration_is_written_and_read_back(ms: int) -> None:
    """Every whole number of milliseconds has a text, and that text means it."""
    assert parse_duration(format_duration(timedelta(milliseconds=ms))) == timedelta(milliseconds=ms)


@pytest.mark.parametrize(
    "text, shortest", [("90s", "90s"), ("60s", "1m"), ("24h", "1d"), ("0ms", "0s"), ("1500ms", "1500ms"), ("36h", "36h")]
)
def test_a_duration_is_shown_in_its_largest_unit(text: str, shortest: str) -> None:
    """Texts are shortest without a fraction."""
    assert format_duration(parse_duration(text)) == shortest


@given(size=st.integers(0, 10**12 - 1))
def test_a_size_is_written_and_read_back(size: int) -> None:
    """Every number of bytes has a text, and that text means it."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("value", [5, 5.5, True, None, "5", "5 s", "-5s", "5S", "5min", "5s5s", "٥s", "1.5h", ""])
def test_what_is_no_duration_is_refused(value: object) -> None:
    """A number and a unit, nothing else."""
    with pytest.raises(PydanticCustomError):
        parse_duration(value)


@pytest.mark.parametrize("value, guess", [(1048576, "1MiB"), ("512M", "512MiB"), ("1 gb", "1GiB"), ("2K", "2KiB")])
def test_a_size_in_another_spelling_is_answered_with_ours(value: object, guess: str) -> None:
    """Common spellings are understood well enough to suggest the right one."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_size(value)
    assert misfit_of(caught.value).alternatives == (guess,)


def test_a_secret_is_a_name() -> None:
    """`secret:name` is read as the name."""
    assert parse_secret("secret:hub_key") == SecretName("hub_key")
    assert str(SecretName("hub_key")) == "secret:hub_key"


@pytest.mark.parametrize("value", ["hunter2", "secret:", "secret:A", "secret:a b", "secret:../x", "secret:a\n", 123, None])
def test_anything_else_than_a_name_of_a_secret_is_refused_without_repeating_it(value: object) -> None:
    """The refusal carries nothing of the value, which may be the secret itself."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_secret(value)
    assert misfit_of(caught.value).details == {}


@pytest.mark.parametrize(
    "text", ["amqps://mq/x", "amqp://127.0.0.1:5672/%2F", "amqps://[::1]:5671/", "amqps://mq.hub.example.gov.cn"]
)
def test_addresses_of_brokers_are_accepted(text: str) -> None:
    """With and without port and virtual host."""
    assert parse_broker_url(text) == text


# -- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, shown",
    [
        ("0 2 * * *", "0 2 * * *"),
        ("*/5 8-18/2 1,15 jan-mar MON-FRI", "*/5 8-18/2 1,15 jan-mar mon-fri"),
        ("  0   0 31 12 sun ", "0 0 31 12 sun"),
        ("59 23 * 1,6,12 *", "59 23 * 1,6,12 *"),
    ],
)
def test_a_cron_expression_is_read(text: str, shown: str) -> None:
    """Lists, ranges, steps and names; white space and case do not matter."""
    assert str(parse_cron(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "-1 * * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 1",
        "* * * * 7",
        "a * * * *",
        "*/0 * * * *",
        "5/2 * * * *",
        "5-1 * * * *",
        "1,, * * * *",
        "* * * foo *",
        "@daily",
        "* * ? * *",
        "* * L * *",
    ],
)
def test_what_no_scheduler_should_guess_is_refused(text: str) -> None:
    """Numbers out of range, numbered weekdays, macros and extensions."""
    with pytest.raises(PydanticCustomError):
        parse_cron(text)


@pytest.mark.parametrize(
    "text, guess",
    [
        ("0 2 * * 1-5", "0 2 * * mon-fri"),
        ("0 2 * * 0", "0 2 * * sun"),
        ("0 2 * * 7", "0 2 * * sun"),
        ("0 2 * * 6,0", "0 2 * * sat,sun"),
    ],
)
def test_numbered_weekdays_are_answered_with_names(text: str, guess: str) -> None:
    """The suggestion reads the numbers as crontab does: 0 and 7 are Sunday."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_cron(text)
    assert misfit_of(caught.value).alternatives == (guess,)


# -- date patterns ---------------------------------------------------------------------------------------------------

PATTERNS = st.lists(
    st.sampled_from(
        [
            "YYYY",
            "YY",
            "Y",
            "MM",
            "M",
            "DD",
            "D",
            "HH",
            "H",
            "mm",
            "m",
            "ss",
            "s",
            "S",
            "SSS",
            "Z",
            "T",
            "-",
            "/",
            " ",
            ".",
            ":",
            "年",
            "月",
            "日",
            "x",
            "8",
        ]
    ),
    max_size=9,
).map("".join)


@given(pattern=PATTERNS)
def test_a_date_pattern_is_accepted_exactly_when_the_mapping_can_compile_it(pattern: str) -> None:
    """Settings and mapping agree on every pattern, so that validate and start-up say the same."""
    try:
        conversion(pattern, UTC)
        compiles = True
    except NoPatternError:
        compiles = False
    try:
        accepted = parse_date_pattern(pattern) == pattern
    except PydanticCustomError:
        accepted = False
    assert accepted == compiles


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ("yyyy-MM-dd HH:mm:ss", "YYYY-MM-DD HH:mm:ss"),
        ("yyyymmdd", "YYYYMMDD"),
        ("%Y-%m-%d", "YYYY-MM-DD"),
        ("YYYY-MM-DD HH24:MI:SS", "YYYY-MM-DD HH:mm:ss"),
        ("yyyy/m/d", "YYYY/M/D"),
    ],
)
def test_patterns_of_java_oracle_and_c_are_answered_with_ours(theirs: str, ours: str) -> None:
    """An operator who knows another notation gets the right pattern to paste."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_date_pattern(theirs)
    assert misfit_of(caught.value).alternatives == (ours,)


# -- names that other parts own --------------------------------------------------------------------------------------


def test_the_checks_are_those_of_the_standards() -> None:
    """Every check that exists can be named, and no other."""
    assert set(get_args(CheckName)) == set(CHECKS)


def test_the_code_lists_are_those_of_the_standards() -> None:
    """Every code list that exists can be named, and no other."""
    assert set(get_args(CodeListName)) == set(NAMES)


def test_codes_are_a_table_either_way() -> None:
    """A table stands for itself, a name for the national list with its names and codes."""
    assert MappedField.of(from_="zt", codes={"1": "active"}).code_table() == {"1": "active"}
    named = MappedField.of(from_="xb", codes="sex").code_table()
    assert named is not None
    assert (named["男"], named["1"]) == ("1", "1")
    assert MappedField.of(from_="x").code_table() is None


# -- guesses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word, meant",
    [("encodng", "encoding"), ("tabel", "table"), ("Every", "every"), ("archive-to", "archive_to"), ("page_row", "page_rows")],
)
def test_a_slip_of_the_keyboard_is_unmistakable(word: str, meant: str) -> None:
    """Swapped, missing and doubled letters, case and dashes."""
    names = ["encoding", "table", "every", "archive_to", "page_rows", "key", "files"]
    assert unmistakable(word, names) == meant
    assert near(word, names)[0] == meant


@pytest.mark.parametrize("word", ["x", "password", "ca", ""])
def test_what_is_like_nothing_is_not_guessed(word: str) -> None:
    """No suggestion is better than a wrong one."""
    assert unmistakable(word, ["encoding", "table", "every"]) is None


def test_two_names_equally_near_are_not_corrected_unasked() -> None:
    """Both are suggested; neither is taken."""
    assert unmistakable("reject_to", ["rejects_to", "rejected_to"]) is None
    assert set(near("reject_to", ["rejects_to", "rejected_to"])) == {"rejects_to", "rejected_to"}
    assert near("lingr", ["linger", "finger", "linger"]) == ("linger", "finger")
