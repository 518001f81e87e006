"""The composition root: the only place that knows adapters, connectors and services at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import Finding
    from agent.settings.agent_file import AgentFile


def check_connections(settings: AgentFile) -> Sequence[Finding]:
    """Try everything the configuration names, read-only (see `agent.app.checks`)."""
    from agent.app import checks  # noqa: PLC0415 - drivers and the broker client are loaded only by those who connect

    return checks.check_connections(settings, os.environ)
