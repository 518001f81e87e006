from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.standards import excel, phone
from agent.standards.checks import CHECKS
from agent.standards.judgement import OK, REASONS, Severity


def test_the_checks_that_flows_can_name() -> None:
    """The names are part of the configuration language."""
    assert set(CHECKS) == {"cn-id", "uscc", "org-code", "region", "phone", "excel-damage"}
    assert all(check.title for check in CHECKS.values())


@pytest.mark.parametrize("name", sorted(CHECKS))
@given(values=st.lists(st.text(max_size=20), max_size=10))
def test_every_check_takes_any_text_and_explains_itself(name: str, values: list[str]) -> None:
    """No text makes a check fail, the column agrees with the value, and each reason has an explanation."""
    check = CHECKS[name]
    flags = check.flag(values)
    assert flags == [(index, check.judge(value)) for index, value in enumerate(values) if check.judge(value) is not OK]
    assert all(judgement.reason in REASONS for _, judgement in flags)


@pytest.mark.parametrize(
    "value,severity",
    [
        ("110105194912310021", Severity.OK),
        ("1.10105E+17", Severity.ERROR),
        ("1E+17", Severity.ERROR),
        ("6.22848e+18", Severity.ERROR),
        ("110105194912310000", Severity.WARN),
        ("12000", Severity.OK),
        ("ABCE+17", Severity.OK),
    ],
)
def test_traces_of_a_spreadsheet(value: str, severity: Severity) -> None:
    """Scientific notation has lost digits for certain, three zeros at the end of a long number probably have."""
    assert excel.judge(value).severity is severity


@pytest.mark.parametrize(
    "value",
    ["13800138000", "+86 13800138000", "8613800138000", "028-86123456", "(028)86123456", "0830-2345678-801", "400-800-1234"],
)
def test_telephone_numbers_pass(value: str) -> None:
    """Mobile, fixed line with and without extension, and service numbers."""
    assert phone.judge(value) is OK


@pytest.mark.parametrize("value", ["12345", "23800138000", "1380013800", "无", "1380013800O"])
def test_what_does_not_look_like_a_telephone_number_is_only_doubtful(value: str) -> None:
    """No record is put aside for its telephone number."""
    assert phone.judge(value).severity is Severity.WARN
