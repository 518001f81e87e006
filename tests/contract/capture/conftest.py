"""Lets asserts of the suite explain themselves."""

from __future__ import annotations

import pytest

for _name in (
    "rig",
    "sites",
    "base",
    "durable_cases",
    "event_cases",
    "transaction_cases",
    "load_cases",
    "value_cases",
    "gap_cases",
    "compare_cases",
):
    pytest.register_assert_rewrite(f"tests.contract.capture.{_name}")
