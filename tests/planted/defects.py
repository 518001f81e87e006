"""Deliberate defects, planted one at a time into a running test process, and who catches each.

The product has no switch for any of this. `plant` replaces functions of the product through a `pytest.MonkeyPatch`, which
takes everything back at the end; the plugin beside this file plants one for a whole run of the regular suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.planted import agent_defects, hub_defects, scenarios
from tests.planted.scenarios import Scenario

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Defect:
    """A defect, the scenario that shows it, the promises it breaks there, and a regular test that fails with it too."""

    plant: Plant
    scenario: Scenario
    breaks: frozenset[str]
    regular: str  # empty: only the scenario looks at this

    @property
    def name(self) -> str:
        """The name of the defect."""
        return self.plant.__name__


_CAPTURE = "tests/unit/services/test_capture_identity.py::"
_STORE = "tests/contract/store/test_sqlite_store.py::"
_DELIVERY = "tests/unit/services/test_delivery_trouble.py::"
_INGEST = "tests/contract/hub_store/test_ingest.py::"


def _defect(plant: Plant, scenario: Scenario, breaks: str, regular: str) -> Defect:
    return Defect(plant, scenario, frozenset(breaks.split(", ")), regular)


DEFECTS = (
    _defect(
        agent_defects.row_hash_as_id,
        scenarios.there_and_back_again,
        "lost",
        f"{_CAPTURE}test_there_and_back_again_are_three_events",
    ),
    _defect(
        agent_defects.record_id_random,
        scenarios.outbox_lost,
        "twice",
        f"{_CAPTURE}test_the_same_history_gives_the_same_ids",
    ),
    _defect(
        agent_defects.ledger_ignored,
        scenarios.overlapping_polls,
        "twice",
        f"{_CAPTURE}test_an_overlapping_reread_is_no_event",
    ),
    _defect(
        agent_defects.position_saved_first,
        scenarios.killed_inside_the_append,
        "lost",
        f"{_STORE}TestCapture::test_a_step_that_does_not_fit_is_a_conflict",
    ),
    _defect(
        agent_defects.sequence_not_given_back,
        scenarios.killed_inside_the_append,
        "gap",
        f"{_STORE}TestCapture::test_a_step_that_does_not_fit_is_a_conflict",
    ),
    _defect(
        agent_defects.archive_before_commit,
        scenarios.killed_before_the_append,
        "lost",
        "tests/contract/source/test_file_drop.py::TestFileDrop::test_reading_resumes_from_every_stored_position",
    ),
    _defect(
        agent_defects.decimal_through_float,
        scenarios.exact_amounts,
        "altered",
        "tests/unit/mapping/test_conversions.py::test_decimals_are_exact_canonical_text",
    ),
    _defect(
        agent_defects.undecodable_replaced,
        scenarios.broken_characters,
        "invented, not put aside",
        "tests/unit/formats/test_csv_reader.py::test_a_bad_row_is_put_aside_and_its_neighbours_flow_on",
    ),
    _defect(
        agent_defects.not_mandatory,
        scenarios.no_route,
        "custody",
        "tests/contract/broker/test_sink_contract.py::test_no_route_is_an_error_not_a_confirm",
    ),
    _defect(
        agent_defects.window_continues,
        scenarios.nack_in_the_window,
        "overtaken",
        f"{_DELIVERY}test_after_a_nack_nothing_new_is_sent_before_the_window_came_home",
    ),
    _defect(
        agent_defects.sent_counts_as_confirmed,
        scenarios.connection_lost_before_the_message,
        "custody",
        f"{_DELIVERY}test_after_a_nack_nothing_new_is_sent_before_the_window_came_home",
    ),
    _defect(
        agent_defects.purge_on_confirm,
        scenarios.purge_before_the_receipt,
        "body gone, custody, lost, unfinished",
        f"{_STORE}TestOutbox::test_only_stored_bodies_are_purged_oldest_first",
    ),
    _defect(
        hub_defects.hub_acks_before_commit,
        scenarios.hub_killed_before_the_commit,
        "custody",
        "tests/integration/hub/test_live_hub.py::test_a_lost_lease_gives_everything_back",
    ),
    _defect(
        hub_defects.hub_does_not_dedupe,
        scenarios.hub_killed_after_the_commit,
        "twice",
        f"{_INGEST}test_a_repeat_gets_the_same_receipt",
    ),
    _defect(
        hub_defects.receipt_before_commit,
        scenarios.hub_store_fails_in_the_middle,
        "unproved",
        f"{_INGEST}test_a_record_stored_before_is_counted_not_stored_again",
    ),
    _defect(
        agent_defects.receipt_unverified,
        scenarios.forged_receipts,
        "unproved, lost",
        "tests/unit/services/test_receipts.py::test_a_bad_signature_never_settles",
    ),
    _defect(
        agent_defects.digest_not_compared,
        scenarios.receipts_for_other_octets,
        "unproved, lost",
        f"{_STORE}TestOutbox::test_a_receipt_that_does_not_fit_moves_nothing",
    ),
    _defect(
        agent_defects.confirm_shown_as_stored,
        scenarios.status_while_the_hub_is_away,
        "untrue",
        "",
    ),
)
