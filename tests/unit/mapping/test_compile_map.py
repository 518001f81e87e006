from __future__ import annotations

import pytest

from agent.errors import SettingsError
from agent.mapping.compile import compile_map
from agent.mapping.problems import UnknownColumn
from agent.mapping.spec import FieldSpec, MapSpec, OnFail

KEY = FieldSpec("k", "k")
COLUMNS = ("k", "金额(元)", "缴款日期", "Name")


def problem(*fields: FieldSpec, key: tuple[str, ...] = ("k",), timezone: str = "Asia/Shanghai") -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        compile_map(MapSpec(fields, key, timezone=timezone), COLUMNS)
    assert str(caught.value)
    assert caught.value.localised()
    return caught.value


@pytest.mark.parametrize(
    "written,meant,word",
    [
        ("金额（元）", "金额(元)", "full-width"),
        ("金额［元］", "金额(元)", "did you mean"),
        ("ＮＡＭＥ", "Name", "did you mean"),
        ("Ｎａｍｅ", "Name", "full-width"),
        ("name", "Name", "upper and lower"),
        ("金额 (元)", "金额(元)", "spaces"),
        ("\ufeff缴款日期", "缴款日期", "spaces"),
        ("缴款日", "缴款日期", "did you mean"),
        ("xyzzy", "", "columns are"),
    ],
)
def test_an_unknown_column_is_named_with_the_one_that_was_meant(written: str, meant: str, word: str) -> None:
    """Full-width brackets, case and stray spaces, which look alike on a screen, are recognised and told."""
    error = problem(KEY, FieldSpec("a", written))
    assert isinstance(error, UnknownColumn)
    assert error.code == "HT-M004"
    assert str(error) == f"the source has no column {written}"
    assert (error.details["target"], error.details["suggestion"]) == ("a", meant)
    assert word in error.localised()[1]


@pytest.mark.parametrize(
    "fields,code",
    [
        ((KEY, FieldSpec("a")), "HT-M021"),
        ((KEY, FieldSpec("k", "Name")), "HT-M022"),
        ((KEY, FieldSpec("a", "Name", const="x")), "HT-M020"),
        ((KEY, FieldSpec("a", "Name", date="YYYYMMDD", decimal=0)), "HT-M020"),
        ((KEY, FieldSpec("a", "Name", codes={}, boolean=True)), "HT-M020"),
        ((KEY, FieldSpec("a", "Name", required=True, default="x")), "HT-M020"),
        ((KEY, FieldSpec("a", "Name", date="yyyymmdd")), "HT-M008"),
        ((KEY, FieldSpec("a", "Name", check="cnid")), "HT-M023"),
        ((KEY, FieldSpec("a", "Name", codes="colours")), "HT-M023"),
        ((KEY, FieldSpec("a", const="x\0")), "HT-M024"),
        ((KEY, FieldSpec("a", "Name", default=float("nan"))), "HT-M024"),
        ((KEY, FieldSpec("a", "Name", codes={"1": "\ud800"})), "HT-M024"),
        ((KEY, FieldSpec('a"b', "Name")), "HT-M025"),
        ((KEY, FieldSpec("a\n", "Name")), "HT-M025"),
        ((KEY, FieldSpec("", "Name")), "HT-M025"),
        ((FieldSpec("a", "Name"),), "HT-M005"),
        ((FieldSpec("k", "k", default="x"),), "HT-M006"),
        ((FieldSpec("k", "k", on_fail=OnFail.EMPTY),), "HT-M006"),
    ],
)
def test_a_map_that_cannot_work_is_refused(fields: tuple[FieldSpec, ...], code: str) -> None:
    """Everything is found before the first row is read, each with its code."""
    assert problem(*fields).code == code


def test_a_flow_needs_a_key_and_a_time_zone_that_exist() -> None:
    """Neither can be guessed."""
    assert problem(KEY, key=()).code == "HT-M005"
    assert problem(KEY, key=("k", "nr")).code == "HT-M004"
    assert problem(KEY, timezone="Asia/Chengdu").code == "HT-M023"
    assert problem(KEY, timezone="../etc/passwd").code == "HT-M023"


def test_all_problems_are_told_in_one_run() -> None:
    """An operator corrects a map once."""
    error = problem(KEY, FieldSpec("a", "nix"), FieldSpec("b", "nada"), FieldSpec("c", "Name", date="x"))
    assert [found.code for found in error.problems if isinstance(found, SettingsError)] == ["HT-M004", "HT-M004", "HT-M008"]


def test_lengths_and_scales_are_counts() -> None:
    """A negative scale is a bug of the caller."""
    with pytest.raises(ValueError):
        FieldSpec("a", "Name", decimal=-1)
    with pytest.raises(ValueError):
        FieldSpec("a", "Name", max_length=0)
