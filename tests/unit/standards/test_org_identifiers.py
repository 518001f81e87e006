from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.standards import org_code, region, uscc
from agent.standards.judgement import OK, Severity

VALID = ["91350100M000100Y43", "91512081MA62K0260E", "11320000MB151840XJ", "91330000755918469E", "9131000063159284XQ"]


@pytest.mark.parametrize("value", VALID)
def test_valid_credit_codes_pass(value: str) -> None:
    """The worked example of the standard and real codes."""
    assert uscc.judge(value) is OK
    assert org_code.judge(uscc.organisation_code(value)) is OK


@pytest.mark.parametrize(
    "value,severity,reason",
    [
        ("91350211M0000XUF46", Severity.WARN, "uscc_check_outer"),
        ("91350100M0001TGQXM", Severity.WARN, "uscc_check_outer"),
        ("91350100M000100Y4Z", Severity.ERROR, "uscc_shape"),  # as misprinted: Z is not in the alphabet
        ("91350100M000100Y44", Severity.WARN, "uscc_check_outer"),
        ("91350100M000100Y54", Severity.ERROR, "uscc_check"),
        ("91350100M000100Y4", Severity.ERROR, "uscc_shape"),
        ("91350100M000100Y433", Severity.ERROR, "uscc_shape"),
        ("91350100m000100y43", Severity.ERROR, "uscc_shape"),
        ("9135010OM000100Y43", Severity.ERROR, "uscc_shape"),
        ("９1350100M000100Y43", Severity.ERROR, "uscc_shape"),
        ("", Severity.ERROR, "uscc_shape"),
    ],
)
def test_the_severity_ladder_of_credit_codes(value: str, severity: Severity, reason: str) -> None:
    """Shape is an error, both checks wrong is an error, only the outer one wrong is for a person to verify."""
    judgement = uscc.judge(value)
    assert (judgement.severity, judgement.reason) == (severity, reason)


@pytest.mark.parametrize("value", ["D2143569X", "755918469", "M000100Y4", "MB151840X", "MA62K0260", "63159284X", "D2143569-X"])
def test_valid_organisation_codes_pass(value: str) -> None:
    """With and without the hyphen."""
    assert org_code.judge(value) is OK
    assert len(org_code.plain(value)) == 9


@pytest.mark.parametrize(
    "value,reason",
    [
        ("D21435690", "org_code_check"),
        ("D2143569", "org_code_shape"),
        ("d2143569X", "org_code_shape"),
        ("D214-3569X", "org_code_shape"),
        ("", "org_code_shape"),
    ],
)
def test_wrong_organisation_codes_are_errors(value: str, reason: str) -> None:
    """Shape and check character are told apart."""
    judgement = org_code.judge(value)
    assert (judgement.severity, judgement.reason) == (Severity.ERROR, reason)


@pytest.mark.parametrize(
    "value,severity,reason",
    [
        ("510100", Severity.OK, ""),
        ("510107003", Severity.OK, ""),
        ("510107003001", Severity.OK, ""),
        ("512081", Severity.OK, ""),
        ("660100", Severity.WARN, "region_head"),
        ("5101", Severity.ERROR, "region_shape"),
        ("51010a", Severity.ERROR, "region_shape"),
        ("５１０１００", Severity.ERROR, "region_shape"),
    ],
)
def test_region_codes(value: str, severity: Severity, reason: str) -> None:
    """The length has to be right, an unknown province is only doubtful, districts of the past are fine."""
    judgement = region.judge(value)
    assert (judgement.severity, judgement.reason) == (severity, reason)


def test_there_are_34_provinces() -> None:
    """Every two-digit head of GB/T 2260 is known."""
    assert len(region.PROVINCES) == 34


bodies = st.text(uscc.ALPHABET, min_size=17, max_size=17)
codes = st.one_of(
    bodies.map(lambda body: body + uscc.check_character(body)),
    st.text(uscc.ALPHABET, min_size=18, max_size=18),
    st.sampled_from([*VALID, "91350211M0000XUF46"]),
)


@settings(max_examples=300)
@given(st.lists(codes, max_size=20), st.lists(st.text(max_size=19), max_size=2))
def test_the_column_of_credit_codes_says_what_the_single_value_says(column: list[str], strange: list[str]) -> None:
    """Byte lanes and the simple function give the same judgements, with and without strange values."""
    for values in (column, [*column, *strange]):
        expected = [(index, uscc.judge(value)) for index, value in enumerate(values) if uscc.judge(value) is not OK]
        assert uscc.flag(values) == expected
