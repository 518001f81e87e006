"""`--fix`: only what cannot be misunderstood, nothing else touched, the old file kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.settings.fix import apply_fixes
from agent.settings.load import load
from agent.settings.problems import Problem
from tests.unit.settings.kit import MODEL, VALID


def problems_in(path: Path) -> list[Problem]:
    try:
        load([path], MODEL)
    except SettingsError as error:
        return [problem for problem in error.problems if isinstance(problem, Problem)]
    return []


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("  titel: 成都市 # 注释\n", "  title: 成都市 # 注释\n"),
        ("  title: 0123   # 编号\n", '  title: "0123"   # 编号\n'),
        ("  title: 2025\n", '  title: "2025"\n'),
        ("  {titel: 012}\n", ""),
    ],
)
def test_a_slip_is_corrected_and_nothing_else_is_touched(wrong: str, right: str, tmp_path: Path) -> None:
    """Comments, order and spacing stay; the result is valid."""
    path = tmp_path / "agent.yaml"
    text = VALID.replace("hub:\n", f"{wrong}hub:\n")
    path.write_text(text, "utf-8")
    fixed = apply_fixes(problems_in(path))
    if right:
        assert path.read_text("utf-8") == text.replace(wrong, right)
        assert problems_in(path) == []
        assert fixed[0].backup.read_text("utf-8") == text
    else:
        assert fixed == []


def test_several_slips_in_one_line_are_corrected_together(tmp_path: Path) -> None:
    """Positions of later corrections are not moved by earlier ones, under Chinese text too."""
    path = tmp_path / "agent.yaml"
    line = "agent: {title: 汇通, id: demo-dept, timezoen: Asia/Shanghai, langauge: zh}\n"
    path.write_text(VALID.replace("agent:\n  id: demo-dept\n", line), "utf-8")
    apply_fixes(problems_in(path))
    assert "{title: 汇通, id: demo-dept, timezone: Asia/Shanghai, language: zh}" in path.read_text("utf-8")
    assert problems_in(path) == []


def test_line_ends_byte_order_mark_and_mode_are_kept(tmp_path: Path) -> None:
    """A file from Windows stays one."""
    path = tmp_path / "agent.yaml"
    octets = ("\ufeff" + VALID.replace("id: demo-dept", "id: demo-dept\n  titel: x").replace("\n", "\r\n")).encode()
    path.write_bytes(octets)
    path.chmod(0o640)
    apply_fixes(problems_in(path))
    assert path.read_bytes() == octets.replace(b"titel", b"title")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["agent.yaml", "agent.yaml.bak"]


def test_an_earlier_backup_is_never_overwritten(tmp_path: Path) -> None:
    """A second correction gets a backup name of its own."""
    path = tmp_path / "agent.yaml"
    for expected in ("agent.yaml.bak", "agent.yaml.bak1"):
        path.write_text(VALID.replace("agent:\n", "agent:\n  titel: x\n"), "utf-8")
        assert [fixed.backup.name for fixed in apply_fixes(problems_in(path))] == [expected]


def test_an_ambiguous_slip_is_left_alone(tmp_path: Path) -> None:
    """A name that may mean two fields, or stands at the wrong indentation, is only suggested."""
    path = tmp_path / "agent.yaml"
    path.write_text(
        VALID.replace("key: [id_number]", "key: [id_number], colum: [a]").replace("hub:\n", "hub:\n  id: x\n"), "utf-8"
    )
    before = path.read_text("utf-8")
    assert [problem.code for problem in problems_in(path)] == ["HT-C012", "HT-C012"]
    apply_fixes([problem for problem in problems_in(path) if "id" in str(problem.says)])
    assert path.read_text("utf-8") == before
