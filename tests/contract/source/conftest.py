"""Lets asserts of the suite explain themselves."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.source.contract")
