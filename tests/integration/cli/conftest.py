"""The worlds of the fault suite, for people who work at their command line."""

from __future__ import annotations

from tests.faults.conftest import MakeWorld, make_world, tally

__all__ = ["MakeWorld", "make_world", "tally"]
