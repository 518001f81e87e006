"""Which files make up a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DEFAULT_FILE: Final = Path("/etc/huitong/agent.yaml")
PARTS_FOLDER: Final = "conf.d"


def configuration_files(path: Path, main: str = "agent.yaml") -> tuple[Path, ...]:
    """Return the main file and the files of the conf.d beside it, in the order in which they are read.

    `path` is the main file, the folder it lies in, or one of the files in its conf.d: each means the whole configuration,
    so that whatever is checked is what the service reads.
    """
    if path.is_dir():
        path = path / main
    elif path.parent.name == PARTS_FOLDER:
        path = path.parent.parent / main
    parts = path.parent / PARTS_FOLDER
    return (
        path,
        *sorted(part for part in parts.glob("*.y*ml") if part.suffix in (".yaml", ".yml") and not part.name.startswith(".")),
    )
