"""The units: hardened, validated before a start, not restarted over a wrong configuration."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent.cli.exit_codes import ExitCode

UNITS = sorted((Path(__file__).resolve().parents[1] / "systemd").glob("*.service"))
EXPOSURE = 15  # tenths, of a hundred

every_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def service(unit: Path) -> Mapping[str, Sequence[str]]:
    """Return what the section [Service] sets, each as a list."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_agent_and_hub_have_a_unit_each() -> None:
    """What the tests below look at is there."""
    assert [unit.stem for unit in UNITS] == ["huitong-agent", "huitong-hub"]


@every_unit
def test_exposure_is_low(unit: Path) -> None:
    """What systemd-analyze itself says of the unit."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert judged.returncode == 0, judged.stdout[-200:] + judged.stderr


@every_unit
def test_a_wrong_configuration_is_told_and_not_tried_again(unit: Path) -> None:
    """Checked before the start, without the network; exit 78 and 77 end it, everything else starts again."""
    said = service(unit)
    (before,), (run,) = said["ExecStartPre"], said["ExecStart"]
    assert before.rpartition(" ")[0] == run.rpartition(" ")[0]
    assert (before.split()[-1], run.split()[-1]) == ("validate", "run")
    assert said["RestartPreventExitStatus"] == [f"{ExitCode.DENIED:d} {ExitCode.CONFIGURATION:d}"]
    assert said["Restart"] == ["always"]


@every_unit
def test_it_is_watched_and_has_time_to_end(unit: Path) -> None:
    """sd_notify with a watchdog; what is on its way comes home before the kill."""
    said = service(unit)
    assert (said["Type"], said.get("NotifyAccess", ["main"])) == (["notify"], ["main"])
    assert int(said["WatchdogSec"][0]) >= 30
    assert int(said["TimeoutStopSec"][0]) > 30
