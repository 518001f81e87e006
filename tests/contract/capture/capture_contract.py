"""What every capture mode keeps, whatever it reads from: the acceptance list, as a suite that is run per database and mode.

A subclass brings the fixtures `mode` and `site`, and `own_site`, a database that a test may stop. Exact modes (`rig.exact`) see
every change. Modes that see states promise the last state of every key; deletes are seen by those that compare, and by all of
them at the next comparison.
"""

from __future__ import annotations

from tests.contract.capture.compare_cases import CompareCases
from tests.contract.capture.durable_cases import DurableCases
from tests.contract.capture.event_cases import EventCases
from tests.contract.capture.gap_cases import GapCases
from tests.contract.capture.load_cases import LoadCases
from tests.contract.capture.transaction_cases import TransactionCases
from tests.contract.capture.value_cases import ValueCases


class CaptureContract(DurableCases, EventCases, TransactionCases, LoadCases, ValueCases, GapCases, CompareCases):
    """Everything."""
