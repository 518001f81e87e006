"""Every planted defect is caught; without it nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.testing.nodes.rabbitmq import BrokerSpace
from tests.planted.defects import DEFECTS, Defect
from tests.planted.ledgers import Violation
from tests.planted.scenarios import Stage

ROOT = Path(__file__).resolve().parent.parent.parent

every_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Stage]:
    """Folders of their own, and a virtual host for those who ask."""

    def make(name: str) -> Stage:
        (tmp_path / name).mkdir()
        return Stage(tmp_path / name, lambda: _space(request))

    return make


def _space(request: pytest.FixtureRequest) -> BrokerSpace:
    space: BrokerSpace = request.getfixturevalue("broker")
    return space


@every_defect
def test_a_planted_defect_is_caught(defect: Defect, stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario passes on the product as it is; with the defect its ledger check names the promises that are broken."""
    defect.scenario(stage("sound"))
    with monkeypatch.context() as patch:
        defect.plant(patch)
        with pytest.raises(Violation) as caught:
            defect.scenario(stage("planted"))
    assert caught.value.words == defect.breaks


def test_there_are_enough_of_them() -> None:
    """Eighteen defects with names of their own, each documented."""
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) == 18
    assert all(defect.plant.__doc__ for defect in DEFECTS)


QUICK = ("row_hash_as_id", "window_continues", "hub_does_not_dedupe", "receipt_unverified")
"""Whose regular test is also run in the quick form."""


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(defect, id=defect.name, marks=() if defect.name in QUICK else pytest.mark.long)
        for defect in DEFECTS
        if defect.regular
    ],
)
def test_the_regular_suite_catches_it_too(defect: Defect) -> None:
    """The named test of the regular suite, run with the defect planted, fails: a test failed, not the run."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.planted.planted_plugin", "--plant", defect.name]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", defect.regular]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr[-2000:]
