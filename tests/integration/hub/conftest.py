"""A whole hub in this process, on the memory broker and a SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.testing import LiveHub


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveHub]:
    """A hub that is not running yet; stopped and closed at the end, without failure."""
    hub = LiveHub(tmp_path)
    yield hub
    hub.stop()
    hub.store.close()
    assert hub.failure is None
