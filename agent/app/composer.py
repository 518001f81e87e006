"""The parts of one agent, each made from the settings and from the parts below it. Nothing here decides anything."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Final

from agent import __version__
from agent.adapters.amqp.feed import AmqpFeed
from agent.adapters.amqp.sink import AmqpSink
from agent.adapters.clock import SystemClock
from agent.adapters.store.reader import StoreReader
from agent.adapters.store.sqlite import SqliteStore
from agent.app.flows import FlowPlan, Surroundings, build_source, plan_flows
from agent.app.parts import broker_of, keys_of, trust_of
from agent.app.places import secrets_of, store_path
from agent.app.trust import Trust
from agent.events import Events
from agent.model import ExchangeMessage, Quarantined
from agent.ports import Parcel
from agent.services.capture import CaptureService
from agent.services.capture_messages import BatchLimits
from agent.services.capture_plan import CapturePlan, Quarantine
from agent.services.connecting import LastContact
from agent.services.dead_letters import Capturing
from agent.services.delivery import DeliveryLimits, DeliveryService
from agent.services.desk import Desk, Sending
from agent.services.greeting import Greeting
from agent.services.maintenance import MaintenanceService, Upkeep
from agent.services.receipts import Letterbox, ReceiptsService
from agent.services.restore import Restore
from agent.settings.agent_file import AgentFile
from agent.wire.control import Control, ControlWriter, Query
from agent.wire.envelope import MessageWriter, renew_signature
from agent.wire.event import department_source
from agent.wire.parcel import parcel_of
from agent.wire.signature import Signer
from agent.wire.topology import receipt_queue

PREFETCH: Final = 256
PAGE: Final = 500


class Composer:
    """Builds around an open store. What needs a key or a secret asks for it only then."""

    def __init__(self, settings: AgentFile, environment: Mapping[str, str], events: Events, store: SqliteStore) -> None:
        self.settings, self.events, self.store = settings, events, store
        self.clock = SystemClock()
        self.secrets = secrets_of(settings, environment)
        self.reader = StoreReader(store_path(settings))
        self._contact = LastContact()

    def close(self) -> None:
        """Let go of reader and store."""
        self.reader.close()
        self.store.close()

    @cached_property
    def signer(self) -> Signer:
        """The key that signs. Raises SettingsError when there is none, Denied."""
        return keys_of(self.settings).signer()

    @cached_property
    def trust(self) -> Trust:
        """The keys of the hub."""
        return trust_of(self.settings, self.clock, self.events)

    @cached_property
    def plans(self) -> Mapping[str, FlowPlan]:
        """What the settings say of each flow. Raises SettingsError."""
        return plan_flows(self.settings)

    # -- on the wire -------------------------------------------------------------------------------------------------

    def writer(self, flow: str, epoch: str, subject: str, dataschema: str) -> MessageWriter:
        """Return what writes the messages of a flow in an epoch."""
        return MessageWriter(
            sender=self.settings.agent.id,
            receiver=self.settings.hub.code,
            flow=flow,
            epoch=epoch,
            subject=subject,
            dataschema=dataschema,
            signer=self.signer,
            clock=self.clock,
            random_bytes=os.urandom,
            compression_level=self.settings.delivery.compression_level,
        )

    def write_control(self, control: Control, flow: str, epoch: str) -> ExchangeMessage:
        """Return a signed control message."""
        own, hub = self.settings.agent.id, self.settings.hub.code
        writer = ControlWriter(own, hub, department_source(own, flow), self.signer, self.clock, os.urandom)
        return writer.write(control, flow, epoch)

    def parcel(self, message: ExchangeMessage, tag: int) -> Parcel:
        """Return the publication of a message; one that an older key signed is signed anew, octet-identical otherwise."""
        if message.kid != self.signer.kid:
            message = renew_signature(message, self.signer, self.settings.hub.code)
        return parcel_of(message, self.settings.agent.id, tag)

    # -- services ----------------------------------------------------------------------------------------------------

    def capture(self, flow: str, notify: Callable[[str], None]) -> CaptureService:
        """Return the capture of one flow. Raises SettingsError, SecretMissing, Denied."""
        plan, delivery = self.plans[flow], self.settings.delivery
        about = CapturePlan(
            flow=flow,
            sender=self.settings.agent.id,
            spec=plan.spec,
            limits=BatchLimits(delivery.batch_records, delivery.batch_bytes),
            page_rows=getattr(plan.source_settings, "page_rows", 2000),
            whole_transactions=getattr(plan.source_settings, "transactions", "split") == "whole",
            most_deletes=getattr(plan.source_settings, "most_deletes", 0),
        )
        around = Surroundings(self.settings, self.clock, self.events, self.secrets, self._rejected)
        return CaptureService(
            about,
            source=build_source(plan, around),
            log=self.store,
            ledger=self.store,
            writer_for=lambda epoch: self.writer(flow, epoch, plan.subject, plan.dataschema),
            events=self.events,
            clock=self.clock,
            random=random.random,
            notify=lambda: notify(flow),
            quarantine=Quarantine(self.reader.item, lambda: self._items(flow, closed=False)),
        )

    def _items(self, flow: str, *, closed: bool) -> Iterator[Quarantined]:
        after = 0
        while page := self.reader.items(flow, closed=closed, after=after, limit=PAGE):
            yield from (item.input for item in page)
            after = page[-1].number

    def _rejected(self, flow: str, prefix: str) -> Iterator[Quarantined]:
        """Yield the quarantined items of a flow whose token begins with a text."""
        return (item for item in self._items(flow, closed=True) if item.token.startswith(prefix))

    def delivery(self, greet: Callable[[], Sequence[ExchangeMessage]]) -> DeliveryService:
        """Return the sending side. Raises SecretMissing, Denied, SettingsError."""
        settings = self.settings
        sink = AmqpSink(broker_of(settings, self.secrets), user_id=settings.broker_user, app_id=f"huitong/{__version__}")
        return DeliveryService(
            sink=sink,
            store=self.store,
            parcel=self.parcel,
            greet=greet,
            events=self.events,
            clock=self.clock,
            random=random.random,
            limits=DeliveryLimits(unconfirmed=settings.delivery.window, unsettled=settings.delivery.unsettled),
            contact=self._contact,
        )

    def receipts(self, delivery: DeliveryService, greeting: Greeting) -> ReceiptsService:
        """Return the receiving side."""
        own = self.settings.agent.id
        feed = AmqpFeed(broker_of(self.settings, self.secrets), [receipt_queue(own)], prefetch=PREFETCH)
        return ReceiptsService(
            feed=feed,
            outbox=self.store,
            letterbox=Letterbox(self.trust.ring, own),
            delivery=delivery,
            listener=greeting,
            events=self.events,
            clock=self.clock,
            random=random.random,
            contact=self._contact,
        )

    def maintenance(self, delivery: DeliveryService) -> MaintenanceService:
        """Return the upkeep."""
        settings = self.settings
        return MaintenanceService(
            outbox=self.store,
            ask=lambda ids: delivery.say(self.write_control(Query(list(ids)), "", "")),
            chores=(self.store.room,),
            events=self.events,
            clock=self.clock,
            upkeep=Upkeep(
                keep_days=settings.agent.retention / timedelta(days=1),
                know_days=settings.agent.receipt_retention / timedelta(days=1),
                overdue_secs=settings.hub.receipt_within.total_seconds(),
            ),
        )

    # -- for operators -----------------------------------------------------------------------------------------------

    def desk(self, captures: Mapping[str, Capturing], delivery: Sending) -> Desk:
        """Return the acts of operators."""
        return Desk(
            store=self.store,
            files=self.reader,
            captures=captures,
            delivery=delivery,
            write=self.write_control,
            events=self.events,
        )

    def restore(self) -> Restore:
        """Return the way out of a fork."""
        return Restore(
            store=self.store,
            diary=self.reader,
            write=self.write_control,
            writer_for=self.writer,
            random_bytes=os.urandom,
            events=self.events,
        )
