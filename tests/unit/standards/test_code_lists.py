from __future__ import annotations

from importlib import resources

import pytest

from agent.standards.code_lists import NAMES, code_list


@pytest.mark.parametrize(
    "name,count", [("sex", 4), ("marital-status", 8), ("ethnicity", 59), ("education", 40), ("political-status", 13)]
)
def test_lists_are_complete_and_unambiguous(name: str, count: int) -> None:
    """Every code is there once, and no spelling means two codes."""
    listed = code_list(name)
    assert listed.name == name
    assert len(listed.codes) == count
    for code, title in listed.codes.items():
        assert listed.translations[code] == code
        assert listed.translations[title] == code


def test_all_names_are_known() -> None:
    """The table of names is the directory of data files."""
    files = resources.files("agent.standards").joinpath("data").iterdir()
    assert {file.name for file in files} == {f"{name}.json" for name in NAMES}
    for name in NAMES:
        assert code_list(name).standard.startswith("GB/T ")


@pytest.mark.parametrize(
    "name,value,code",
    [
        ("ethnicity", "汉", "01"),
        ("ethnicity", "汉族", "01"),
        ("ethnicity", "土族", "30"),
        ("ethnicity", "土家", "15"),
        ("ethnicity", "达斡尔族", "31"),
        ("ethnicity", "基诺", "56"),
        ("ethnicity", "其他", "97"),
        ("sex", "女", "2"),
        ("sex", "未说明的性别", "9"),
        ("marital-status", "离婚", "40"),
        ("education", "大学本科毕业", "21"),
        ("education", "博士研究生结业", "12"),
        ("education", "技工学校肄业", "49"),
        ("political-status", "群众", "13"),
        ("political-status", "预备党员", "02"),
    ],
)
def test_names_translate_to_codes(name: str, value: str, code: str) -> None:
    """With and without 族, and by the short forms in use."""
    assert code_list(name).translations[value] == code


@pytest.mark.parametrize(
    "name,value", [("ethnicity", "1"), ("ethnicity", "达翰尔"), ("political-status", "0"), ("sex", "3"), ("sex", "")]
)
def test_private_variants_are_not_guessed(name: str, value: str) -> None:
    """A lost leading zero or a local code might mean something else, so it has no translation."""
    assert value not in code_list(name).translations


def test_an_unknown_list_is_a_key_error() -> None:
    """The name never reaches the file system."""
    with pytest.raises(KeyError):
        code_list("../secrets")
