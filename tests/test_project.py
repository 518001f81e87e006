"""The project's own files: locks, scripts, licence."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ("runtime.txt", "build.txt", "dev.txt")
PIN: Final = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?P<marker> ; [^\\]+)? \\$")
HASH: Final = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(lock: str) -> dict[str, str]:
    """Return name → version of a lock, having looked at every line of it."""
    found: dict[str, str] = {}
    hashes: dict[str, int] = {}
    name = ""
    for line in (ROOT / "requirements" / lock).read_text().splitlines():
        if pin := PIN.match(line):
            name = pin["name"]
            found[name] = pin["version"]
        else:
            assert HASH.match(line), f"{lock}: {line}"
            hashes[name] = hashes.get(name, 0) + 1
    assert hashes.keys() == found.keys()
    return found


def wanted(table: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-") for requirement in table}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_dependency_has_hashes_and_nothing_else(lock: str) -> None:
    """A lock holds pins and hashes: no index, no path, no comment."""
    assert pins(lock)


def test_what_ships_is_tested_at_the_same_versions() -> None:
    """Runtime and build locks are parts of the lock that tests run on."""
    everything = pins("dev.txt").items()
    assert pins("runtime.txt").items() <= everything
    assert pins("build.txt").items() <= everything


def test_the_locks_cover_what_the_project_declares() -> None:
    """Every declared dependency is in its lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["mysql"]]
    groups = project["dependency-groups"]
    assert wanted(runtime) <= pins("runtime.txt").keys()
    assert wanted(groups["build"]) <= pins("build.txt").keys()
    assert wanted([*runtime, *(name for group in groups.values() for name in group)]) <= pins("dev.txt").keys()
    assert wanted(project["build-system"]["requires"]) == wanted(groups["build"])


@pytest.mark.parametrize("script", ["script/bootstrap", "script/lock", "script/test", ".ci/run"])
def test_a_script_can_be_run(script: str) -> None:
    """Every shell script is executable, strict and free of syntax errors."""
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_a_newcomers_commands_exist() -> None:
    """What README and CONTRIBUTING tell a newcomer to run is there."""
    for page in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md"):
        for name in re.findall(r"^(script/[a-z_.]+|\.ci/run)", (ROOT / page).read_text(), re.MULTILINE):
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_the_licence_is_whole() -> None:
    """LICENSE is the Apache License 2.0, as pyproject.toml says."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
