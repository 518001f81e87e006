"""A hub that checks the records of a type: bad ones are refused alone, the rest is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.adapters.clock import SystemClock
from agent.model import Op, Outcome
from agent.settings.message_types import MessageField, MessageTypeFile
from agent.wire.envelope import encode_record
from hub.ingest.rules import RecordRules
from hub.store.migrate import migrate
from hub.store.opening import Sqlite, open_store
from hub.testing import DATASCHEMA, SampleDepartment, StillHub
from hub.types import KnownType, MessageTypes

pytestmark = pytest.mark.integration

TITLE = {"zh": "人员", "en": "person"}


def test_a_message_is_stored_in_part(tmp_path: Path) -> None:
    """Partly stored: the refused record is named with field and reason, its neighbours keep their places; a repeat gets the same receipt."""
    definition = MessageTypeFile.of(
        code="people.person",
        version=1,
        title=TITLE,
        resource="101001/000001",
        dataschema=DATASCHEMA,
        fields={"id": MessageField.of(title=TITLE, type="integer", required=True)},
    )
    store = open_store(Sqlite(tmp_path / "hub.db"))
    migrate(store)
    hub = StillHub(store, SystemClock())
    hub.preparer._types = MessageTypes([KnownType("people.person@1", DATASCHEMA, "", 1, RecordRules(definition))])
    bdc = SampleDepartment("bdc-01", hub.code, SystemClock())
    hub.admit(bdc)
    hub.send(bdc, bdc.opening())
    rows = [
        encode_record(f"{n:032x}", Op.UPSERT, b'{"id":"%d"}' % n, json.dumps({"id": value}).encode())
        for n, value in enumerate(["1", "x", "3"])
    ]
    message = bdc.records(1, rows)
    (receipt,) = hub.send(bdc, message)
    assert (receipt.outcome, receipt.stored) == (Outcome.PARTLY_STORED, 2)
    assert [(one.record, one.field, one.code) for one in receipt.refused] == [(f"{1:032x}", "id", "invalid_record")]
    with store.transaction() as connection:
        assert connection.execute(text("SELECT position FROM record ORDER BY position")).scalars().all() == [0, 2]
        assert connection.scalar(text("SELECT high_water FROM epoch")) == 1
    assert hub.send(bdc, message) == [receipt]
    store.close()
