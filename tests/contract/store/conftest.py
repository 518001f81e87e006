"""Lets asserts of the suites explain themselves."""

from __future__ import annotations

import pytest

for module in ("capture", "outbox", "oversight", "epochs"):
    pytest.register_assert_rewrite(f"tests.contract.store.{module}_contract")
