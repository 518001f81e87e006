"""What one transaction of ingest knows and what it is going to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.events import Event
from agent.model import MessageKind, Outcome
from hub.audit import Head
from hub.events import MessageRefused, MessageRepeated
from hub.ingest.clerk import Clerk, Judgement
from hub.ingest.controls import Flows
from hub.ingest.items import Arrival, Prepared, Refusal
from hub.ingest.limiter import RefusalLimiter
from hub.model import Changes, EpochState, FlowState, MessageRow, PackedRecords, PostKind, Quarantine, RecordBatch, Seen
from hub.store.store import FlowName, IngestUnit


@dataclass(slots=True)
class Book:
    """State locked by the transaction, entries that wait for its end, and the events to tell once it has committed."""

    unit: IngestUnit
    clerk: Clerk
    limiter: RefusalLimiter
    now: datetime
    heads: dict[str, Head] = field(default_factory=dict)
    flows: Flows = field(default_factory=dict)
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    events: list[Event] = field(default_factory=list)
    _taken: set[tuple[int, int, int]] = field(default_factory=set)

    def lock(self, departments: set[str], flows: set[FlowName], messages: set[tuple[str, str]]) -> None:
        """Lock and read everything the group speaks of."""
        locked = self.unit.lock(departments, flows, messages)
        self.heads, self.flows, self.seen = locked.heads, locked.flows, locked.seen

    def write(self) -> None:
        """Hand everything to the store."""
        self.unit.write(self.flows.values(), self.changes, self.now)

    # -- questions ---------------------------------------------------------------------------------------------------

    def flow(self, department: str, name: str) -> FlowState | None:
        """Return a flow, None when it was never opened."""
        return self.flows.get((department, name))

    def open_flow(self, department: str, name: str) -> FlowState:
        """Create a flow."""
        flow = self.flows[department, name] = self.unit.open_flow((department, name), self.now)
        return flow

    def known(self, arrival: Arrival) -> Seen | None:
        """Return what is remembered of this message id, this group included."""
        return self.seen.get((arrival.department, arrival.message_id))

    def occupied(self, flow: FlowState, epoch: EpochState, sequence: int) -> bool:
        """Say whether a message, not a void, closed this sequence."""
        place = (flow.flow_id, epoch.ordinal, sequence)
        return place in self._taken or self.unit.occupied(*place)

    def fresh(self, flow: FlowState, packed: PackedRecords) -> PackedRecords:
        """Return the records whose ids the flow has not stored."""
        waiting = {one for batch in self.changes.records if batch.flow_id == flow.flow_id for one in batch.records.ids}
        stored = self.unit.stored_ids(flow.flow_id, packed.ids) | waiting
        return packed.only([index for index, one in enumerate(packed.ids) if one not in stored])

    # -- entries -----------------------------------------------------------------------------------------------------

    def add_records(self, flow: FlowState, epoch: EpochState, sequence: int, packed: PackedRecords, duplicates: int) -> None:
        """Add records and count them."""
        if packed.ids:
            self.changes.records.append(RecordBatch(flow.flow_id, epoch.ordinal, sequence, packed))
        flow.messages += 1
        flow.records += len(packed.ids)
        flow.duplicates += duplicates

    def close(self, item: Prepared, flow: FlowState, epoch: EpochState, judgement: Judgement, duplicates: int = 0) -> None:
        """Close the sequence of a message and remember the message under it."""
        sequence = item.place.sequence
        epoch.closed, epoch.changed = epoch.closed.close(sequence), True
        self._taken.add((flow.flow_id, epoch.ordinal, sequence))
        self._remember(item, judgement, (flow.flow_id, epoch.ordinal, sequence), duplicates)

    def remember_control(self, item: Prepared, judgement: Judgement) -> None:
        """Remember a control message; it has no place in the order."""
        flow = self.flow(item.arrival.department, item.place.flow)
        self._remember(item, judgement, (flow.flow_id if flow is not None else None, None, None), 0)

    def settle(self, judgement: Judgement, kind: PostKind) -> None:
        """Append to the audit chain and write the receipt that carries its new head."""
        department = judgement.arrival.department
        link = self.clerk.entry(self.heads[department], judgement, self.now)
        self.heads[department] = self.changes.heads[department] = Head(link.sequence, link.hash)
        self.changes.links.append(link)
        self.changes.posts.append(self.clerk.receipt(judgement, link, self.now, kind))

    def repeat(self, arrival: Arrival, flow_name: str) -> None:
        """Count a message that came again and send its receipt again."""
        flow = self.flow(arrival.department, flow_name)
        if flow is not None:
            flow.repeats += 1
        self.changes.repost.append((arrival.department, arrival.message_id))
        self.events.append(MessageRepeated(arrival.department, flow_name, arrival.message_id))

    def refuse(self, refusal: Refusal) -> None:
        """Quarantine a message and tell the owner of the exchange, within the limit on refusals."""
        arrival = refusal.arrival
        self.changes.quarantined.append(_quarantine(refusal, self.now))
        judgement = Judgement(arrival, refusal.place, refusal.outcome, refusal.code, refusal.text)
        remembered = self._close_refused(refusal, judgement)
        told = arrival.department in self.heads and arrival.message_id != ""
        told = told and (remembered or self.limiter.allow(arrival.department, refusal.code))
        if told:
            self.settle(judgement, PostKind.RECEIPT if remembered else PostKind.REFUSAL)
        self.events.append(
            MessageRefused(
                department=arrival.department,
                flow=refusal.place.flow,
                message_id=arrival.message_id,
                outcome=refusal.outcome.value,
                code=refusal.code,
                receipted=told,
            )
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _close_refused(self, refusal: Refusal, judgement: Judgement) -> bool:
        """Close the sequence that a finally refused, authentic envelope named; True when the message is remembered."""
        place = refusal.place
        flow = self.flow(refusal.arrival.department, place.flow)
        epoch = flow.epochs.get(place.epoch) if flow is not None else None
        if refusal.outcome is not Outcome.REFUSED_FINAL or place.sequence < 1 or flow is None or epoch is None:
            return False
        if epoch.frozen or epoch.closed.covers(place.sequence):
            return False
        if self.known(refusal.arrival) is not None:  # a conflict: the message id belongs to other octets
            epoch.closed, epoch.changed = epoch.closed.close(place.sequence), True
            return False
        self.close(Prepared(refusal.arrival, place, kid="", subject="", dataschema="", records=0), flow, epoch, judgement)
        return True

    def _remember(
        self, item: Prepared, judgement: Judgement, place: tuple[int | None, int | None, int | None], duplicates: int
    ) -> None:
        arrival = item.arrival
        stored = judgement.outcome in (Outcome.STORED, Outcome.PARTLY_STORED)
        flow_id, epoch_ordinal, sequence = place
        row = MessageRow(
            sender=arrival.department,
            message_id=arrival.message_id,
            flow_id=flow_id,
            epoch_ordinal=epoch_ordinal,
            sequence=sequence,
            kind=MessageKind.CONTROL if item.control is not None else MessageKind.RECORDS,
            type=arrival.type,
            subject=item.subject,
            dataschema=item.dataschema,
            digest_alg="sha-256",
            digest=arrival.digest,
            outcome=judgement.outcome,
            code=judgement.code,
            encoding=arrival.encoding,
            body=arrival.body if stored else None,  # what was refused lies in quarantine
            jws=arrival.jws,
            kid=item.kid,
            records=item.records,
            stored=judgement.stored,
            duplicates=duplicates,
            received_at=arrival.received_at,
            committed_at=self.now,
        )
        self.changes.messages.append(row)
        seen = Seen(arrival.message_id, arrival.digest, judgement.outcome, judgement.code)
        self.seen[arrival.department, arrival.message_id] = seen


def _quarantine(refusal: Refusal, now: datetime) -> Quarantine:
    arrival = refusal.arrival
    return Quarantine(
        department=arrival.department,
        exchange=arrival.exchange,
        user_id=arrival.user_id,
        claimed_sender=refusal.claimed_sender,
        message_id=arrival.message_id,
        outcome=refusal.outcome,
        code=refusal.code,
        text=refusal.text,
        digest=arrival.digest,
        encoding=arrival.encoding,
        headers=arrival.headers,
        raw=arrival.body,
        size_bytes=len(arrival.body),
        at=now,
    )


def places(items: Sequence[Prepared | Refusal]) -> set[FlowName]:
    """Return the (department, flow) pairs the messages themselves name."""
    return {(item.arrival.department, item.place.flow) for item in items if item.place.flow}
