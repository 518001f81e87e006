"""`huitong demo`: a department, an agent and a hub on this machine, and the proof that both sides agree."""

from __future__ import annotations

from agent.cli.demo.command import demo

__all__ = ["demo"]
