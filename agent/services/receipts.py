"""The receipts service: takes what the hub says, verifies it, settles it in one transaction, then acks.

A statement that does not verify settles nothing and is reported as a security event. One whose key is not known yet is kept,
without an ack, until the key is known; at most half the prefetch is kept so, so that it cannot stand in the way of others.
What goes beyond is acked: its message stays confirmed, becomes overdue, and the hub, asked about it, states it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.errors import BadMessage, Forbidden, NotConnected
from agent.events import Events, ReceiptIgnored, ReceiptRejected, ReceiptSettled
from agent.failpoints import failpoint
from agent.model import Receipt, Settled, State, Verdict
from agent.ports import Clock, Delivered, Feed, Outbox
from agent.services.connecting import ROUND_SECS, LastContact, Opener
from agent.services.service import Service
from agent.wire.codes import refusal
from agent.wire.control import Control, HubHello, QueryAnswer, decode_control
from agent.wire.event import CONTROL_TYPE, RECEIPT_TYPE
from agent.wire.limits import Limits
from agent.wire.parcel import SIGNATURE_HEADER
from agent.wire.reader import check_properties, open_body
from agent.wire.receipt import read_receipt
from agent.wire.signature import CONTROL, KeyRing

BATCH: Final = 256
KEPT: Final = 128
KEPT_RETRY_SECS: Final = 60.0

UNKNOWN_KEY: Final = "unknown_key"


@dataclass(frozen=True, slots=True)
class Word:
    """A verified control message and the hub that signed it."""

    hub: str
    control: Control


class Letterbox:
    """Reads what arrives in our receipt queue. `keyring` holds the keys of the hubs and is asked every time."""

    def __init__(self, keyring: Callable[[], KeyRing], own_code: str) -> None:
        self._keyring = keyring
        self._own_code = own_code

    def read(self, message: Delivered) -> Receipt | Word:
        """Return what a delivery says. Raises BadMessage (BadReceipt, BadSignature); its reason is a refusal code."""
        jws, mid = str(message.headers.get(SIGNATURE_HEADER, "")), message.message_id or ""
        if message.type == RECEIPT_TYPE:
            return read_receipt(message.body, message.encoding, jws, self._keyring(), mid, self._own_code)
        if message.type != CONTROL_TYPE:
            raise refusal("unknown_type", why=str(message.type)[:64])
        encoding = message.encoding
        key = self._keyring().verify(jws, message.body, typ=CONTROL, mid=mid, cenc=encoding, audience=self._own_code)
        envelope = open_body(message.body, encoding, Limits())
        check_properties(envelope, mid, CONTROL_TYPE)
        if envelope.sender != key.owner or envelope.receiver != self._own_code:
            raise refusal("wrong_sender", why=envelope.sender)
        return Word(key.owner, decode_control(envelope))


class Delivery(Protocol):
    """Who has to know what receipts did (the delivery service); callable from any thread."""

    def settled(self, message_ids: Sequence[str]) -> None:
        """Note that these have their receipts."""
        ...

    def refused(self, flow: str, message_id: str, why: str) -> None:
        """Note that the hub refused a message for now."""
        ...

    def reopened(self, message_ids: Sequence[str]) -> None:
        """Note that these are pending again."""
        ...


class Listener(Protocol):
    """Who deals with what is not about one message (the greeting)."""

    def hear(self, hub: str, hello: HubHello) -> None:
        """Take the hub's answer to our hello."""
        ...

    def freeze(self, flow: str, epoch: str) -> None:
        """Stop a flow of which the hub holds another history."""
        ...


class ReceiptsService(Service):
    """Owns the consuming connection. Only `wake` and `keys_changed` are for other threads."""

    def __init__(  # noqa: PLR0913 - a composition root hands it everything by name
        self,
        *,
        feed: Feed,
        outbox: Outbox,
        letterbox: Letterbox,
        delivery: Delivery,
        listener: Listener,
        events: Events,
        clock: Clock,
        random: Callable[[], float],
        contact: LastContact | None = None,
    ) -> None:
        super().__init__("receipts", events, clock)
        self._feed, self._outbox, self._letterbox = feed, outbox, letterbox
        self._delivery, self._listener = delivery, listener
        self._opener = Opener("consume", feed, events, clock, random, contact=contact)
        self._kept: dict[int, Delivered] = {}
        self._new_keys = threading.Event()
        self._retry_at = 0.0

    def wake(self) -> None:
        """Make the round in progress return. Any thread."""
        self._opener.ring()
        self._feed.wake()

    def keys_changed(self) -> None:
        """Read again what was kept for want of a key. Any thread."""
        self._new_keys.set()
        self.wake()

    def run_once(self) -> None:
        """Take what is there, at most 256, and deal with it; or wait for a second."""
        try:
            if self._opener.is_open or self._opener.open():
                self._take(self._feed.poll(ROUND_SECS, BATCH))
                self._read_again()
        except (NotConnected, Forbidden) as error:
            self._kept.clear()  # the broker delivers them again
            self._opener.lose(error)

    def finish(self) -> None:
        """Close the connection; what was kept is delivered again."""
        self._opener.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _read_again(self) -> None:
        now = self._clock.monotonic()
        if self._kept and (self._new_keys.is_set() or now >= self._retry_at):
            self._new_keys.clear()
            self._retry_at = now + KEPT_RETRY_SECS
            self._take(list(self._kept.values()))

    def _take(self, messages: Sequence[Delivered]) -> None:
        receipts: list[Receipt] = []
        words: list[Word] = []
        dealt_with: list[int] = []
        for message in messages:
            said = self._read(message)
            if isinstance(said, Receipt):
                receipts.append(said)
            elif isinstance(said, Word):
                words.append(said)
            if said is not None:
                dealt_with.append(message.tag)
        if receipts:
            self._settle(receipts)
        for word in words:
            self._hear(word)
        if dealt_with:
            failpoint("C17")
            self._feed.ack(dealt_with)
            self._opener.prove()

    def _read(self, message: Delivered) -> Receipt | Word | BadMessage | None:
        """Return what a message says or why it says nothing; None when it is kept."""
        kept_before = self._kept.pop(message.tag, None) is not None
        try:
            return self._letterbox.read(message)
        except BadMessage as error:
            keep = error.reason == UNKNOWN_KEY and len(self._kept) < KEPT
            if not (keep and kept_before):
                self._events.emit(ReceiptRejected(error.reason, message.message_id or ""))
            if not keep:
                return error
            self._kept[message.tag] = message
            return None

    def _settle(self, receipts: Sequence[Receipt]) -> None:
        failpoint("C16")
        results = self._outbox.settle(receipts).result()
        over: list[str] = []
        for receipt, settled in zip(receipts, results, strict=True):
            self._tell(receipt, settled)
            if settled.verdict is Verdict.MOVED and settled.state is State.PENDING:
                self._delivery.refused(settled.flow, settled.message_id, receipt.code)
            elif settled.verdict in (Verdict.MOVED, Verdict.REPEAT):
                over.append(settled.message_id)
        self._delivery.settled(over)

    def _tell(self, receipt: Receipt, settled: Settled) -> None:
        match settled.verdict:
            case Verdict.MOVED:
                created_at = settled.created_at or receipt.committed_at
                latency_secs = (self._clock.now() - created_at).total_seconds()
                outcome, records = receipt.outcome.value, settled.records
                self._events.emit(ReceiptSettled(settled.flow, settled.message_id, outcome, records, latency_secs))
            case Verdict.MISMATCH:
                self._events.emit(ReceiptRejected("digest_mismatch", settled.message_id))
            case Verdict.HELD:
                self._listener.freeze(receipt.flow, receipt.epoch)
            case Verdict.REPEAT | Verdict.UNKNOWN:
                self._events.emit(ReceiptIgnored(settled.message_id, settled.verdict.value))

    def _hear(self, word: Word) -> None:
        match word.control:
            case HubHello():
                self._listener.hear(word.hub, word.control)
            case QueryAnswer(missing=missing):
                self._outbox.reopen(missing).result()
                self._delivery.reopened(missing)
            case _:
                self._events.emit(ReceiptIgnored("", "not for an agent"))
