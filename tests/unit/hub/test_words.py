"""Outcomes as hub staff read them."""

from __future__ import annotations

import pytest

from agent.model import Outcome
from hub.cli.words import outcome_text


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_words(outcome: Outcome) -> None:
    """Whatever stands in a store is shown in words, never as the word of the protocol."""
    assert outcome_text(outcome.value) != ""
    assert "_" not in outcome_text(outcome.value)
