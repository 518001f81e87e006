"""Departments for command tests: a fresh one, and one with things in it that is only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.i18n import use_language
from tests.unit.cli.department import Department


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    """Leave the language as it was."""
    yield
    use_language("en")


@pytest.fixture
def department(tmp_path: Path) -> Department:
    """A department that was configured and has done nothing yet."""
    return Department(tmp_path)


@pytest.fixture
def filled(department: Department) -> Department:
    """A department that has captured two people and three tax lines, one of each bad."""
    return department.filled()


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Department:
    """A filled department that a module's tests only look at."""
    return Department(tmp_path_factory.mktemp("department")).filled()
