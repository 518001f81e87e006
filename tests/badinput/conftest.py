"""Fixtures of the suites of bad input, and the number of bad inputs at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted.line import Line


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stores of an unused line, to copy from."""
    folder = tmp_path_factory.mktemp("blank")
    Line(folder).close()
    return folder


@pytest.fixture
def own(tmp_path: Path, blank: Path) -> Iterator[Line]:
    """A department and its hub, on a scripted source."""
    made = Line(tmp_path, like=blank)
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many bad inputs were tried."""
    done = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.nodeid.startswith("tests/badinput/") and "[" in report.nodeid and report.when == "call"
    ]
    if done:
        terminalreporter.write_line(f"bad inputs tried: {len(done)}")
