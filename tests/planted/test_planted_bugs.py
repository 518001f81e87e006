"""Every planted defect is caught; without it nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.testing.nodes.rabbitmq import BrokerSpace
from tests.planted.defects import DEFECTS, Defect
from tests.planted.ledgers import Violation
from tests.planted.scenarios import Stage

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
