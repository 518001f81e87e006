"""Plants one defect for a whole run of the regular suite: `python -m pytest -p tests.planted.planted_plugin --plant NAME …`.

It lives in the test process alone. A run with it is expected to fail.
"""

from __future__ import annotations

import pytest

from tests.planted.defects import DEFECTS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --plant."""
    parser.addoption("--plant", choices=[defect.name for defect in DEFECTS], required=True, help="the defect to plant")


def pytest_configure(config: pytest.Config) -> None:
    """Plant it, until the run ends."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    (chosen,) = (defect for defect in DEFECTS if defect.name == config.getoption("--plant"))
    chosen.plant(patch)
