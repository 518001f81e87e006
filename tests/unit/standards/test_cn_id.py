from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.standards import cn_id
from agent.standards.judgement import OK, REASONS, Severity

VALID = "11010519491231002X"


def build(region: str, born: str, sequence: int) -> str:
    digits = f"{region}{born}{sequence:03}"
    return digits + cn_id.check_character(digits)


@pytest.mark.parametrize(
    "value", [VALID, VALID.lower(), "440524188001010014", build("810000", "19900101", 7), build("911999", "20240229", 1)]
)
def test_valid_ids_pass(value: str) -> None:
    """Old regions, a lower-case x, births before 1900 and the residence permits of 81 and 9 are all right."""
    assert cn_id.judge(value) is OK


@pytest.mark.parametrize(
    "value,reason",
    [
        ("110105194912310021", "cn_id_check_digit"),
        ("11010519491231002", "cn_id_shape"),
        ("11010519491231002XX", "cn_id_shape"),
        (" " + VALID[:-1], "cn_id_shape"),
        ("１１０１０５１９４９１２３１００２X", "cn_id_shape"),
        ("X1010519491231002X", "cn_id_shape"),
        ("", "cn_id_shape"),
        ("张" * 18, "cn_id_shape"),
        (build("110105", "19490230", 2), "cn_id_birth_date"),
        (build("110105", "19491301", 2), "cn_id_birth_date"),
        (build("110105", "19490000", 2), "cn_id_birth_date"),
        (build("110105", "19000229", 2), "cn_id_birth_date"),
        (build("110105", "21000101", 2), "cn_id_birth_date"),
        ("110105491331002", "cn_id_birth_date"),
        ("1.10105E+17", "excel_scientific"),
        ("110105194912310000", "excel_truncated"),
    ],
)
def test_wrong_ids_are_errors_with_a_reason(value: str, reason: str) -> None:
    """The reason says what is wrong, and recognises what a spreadsheet did."""
    judgement = cn_id.judge(value)
    assert (judgement.severity, judgement.reason) == (Severity.ERROR, reason)
    assert REASONS[reason]


def test_an_id_of_15_digits_is_kept_and_listed() -> None:
    """The old form is no error, but it cannot be verified."""
    judgement = cn_id.judge("110105491231002")
    assert (judgement.severity, judgement.reason) == (Severity.WARN, "cn_id_15_digits")


def test_15_digits_become_18() -> None:
    """The century and the check character are added."""
    assert cn_id.upgrade("110105491231002") == VALID


@pytest.mark.parametrize("value", [VALID, "110105491231002"])
def test_birth_sex_and_region_are_read(value: str) -> None:
    """Both forms give the same birth date, sex and region."""
    assert cn_id.born(value) == date(1949, 12, 31)
    assert cn_id.sex(value) == "2"
    assert cn_id.region(value) == "110105"


def test_sex_follows_the_parity_of_the_sequence() -> None:
    """Odd is male, even is female."""
    assert cn_id.sex(build("110105", "19900101", 7)) == "1"
    assert cn_id.sex(build("110105", "19900101", 8)) == "2"


def test_birth_after_today_is_an_error_only_when_today_is_known() -> None:
    """The clock is injected; without one the future cannot be told."""
    value = build("110105", "20300101", 1)
    assert cn_id.judge(value) is OK
    assert cn_id.judge(value, today=date(2026, 11, 21)).reason == "cn_id_future"
    assert cn_id.judge(value, today=date(2030, 1, 1)) is OK


def test_a_masked_id_shows_region_and_last_four_only() -> None:
    """The birth date and most of the sequence never appear."""
    assert cn_id.mask(VALID) == "110105********002X"
    assert cn_id.mask("12345") == "*****"


# -- the column agrees with the value --------------------------------------------------------------------------------

dates = st.one_of(
    st.dates(date(1800, 1, 1), date(2099, 12, 31)).map(lambda day: f"{day:%Y%m%d}".zfill(8)),
    st.sampled_from(["20000229", "19000229", "20230229", "19990431", "00000000", "19991301", "17991231", "21000101", "99999999"]),
)
numbers = st.builds(build, st.from_regex(r"[1-9][0-9]{5}", fullmatch=True), dates, st.integers(0, 999))
damaged = st.builds(
    lambda value, at, character: value[:at] + character + value[at + 1 :],
    numbers,
    st.integers(0, 17),
    st.sampled_from("0123456789Xx １?\0张A"),
)
values = st.one_of(
    numbers,
    numbers.map(str.lower),
    damaged,
    st.text(max_size=20),
    st.just(VALID),
    numbers.map(lambda value: value[:6] + value[8:17]),
)


@settings(max_examples=500)
@given(st.lists(st.one_of(numbers, values), max_size=30))
def test_the_column_says_what_the_single_value_says(column: list[str]) -> None:
    """Byte lanes and the simple function give the same judgements."""
    expected = [(index, cn_id.judge(value)) for index, value in enumerate(column) if cn_id.judge(value) is not OK]
    assert cn_id.flag(column) == expected


def test_every_single_substitution_is_found_in_a_column() -> None:
    """ISO 7064 MOD 11-2 catches every single wrong digit; so does the column, wherever it stands."""
    column = [VALID[:at] + digit + VALID[at + 1 :] for at in range(17) for digit in "0123456789" if digit != VALID[at]]
    assert [position for position, _ in cn_id.flag([VALID, *column])] == list(range(1, len(column) + 1))


def test_every_day_of_four_centuries_is_judged_like_the_calendar() -> None:
    """No valid date is doubted away and no invalid one slips through, leap years included."""
    column = [
        build("510100", f"{year}{month:02}{day:02}", 1)
        for year in (1800, 1899, 1900, 1904, 2000, 2023, 2099)
        for month in range(14)
        for day in range(33)
    ]
    wrong = {position for position, _ in cn_id.flag(column)}
    for position, value in enumerate(column):
        try:
            date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
        except ValueError:
            assert position in wrong
        else:
            assert position not in wrong
