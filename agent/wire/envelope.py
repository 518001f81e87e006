"""Exchange messages: CloudEvents 1.0 structured JSON with a batch of records of one flow.

Writing joins octets: the records are JSON already when they come. Reading is in `agent.wire.reader`; its names are offered
here too, so that this module is all a caller needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from msgspec.json import encode as _json

from agent.model import ExchangeMessage, MessageKind, Op
from agent.ports import Clock
from agent.wire.codes import refusal
from agent.wire.compression import Compressor
from agent.wire.control import Control, ControlWriter
from agent.wire.event import (
    RECORDS_TYPE,
    RandomBytes,
    department_source,
    event_id,
    sequence_text,
    signature_typ,
    time_text,
    traceparent,
    write_event,
)
from agent.wire.limits import Limits
from agent.wire.reader import Envelope, WireRecord, check_properties, open_body, read_records
from agent.wire.signature import MESSAGE, Sealer, Signer, detached_jws
from agent.wire.strict import too_many_values

__all__ = [
    "Envelope",
    "Limits",
    "MessageWriter",
    "WireRecord",
    "check_properties",
    "encode_record",
    "encode_records",
    "open_body",
    "read_records",
    "renew_signature",
]

_HEADS: Final = {op: f'","op":"{op.value}","key":'.encode() for op in Op}


def encode_record(
    record_id: str, op: Op, key_json: bytes, data: bytes | None, at: str | None = None, corrects: str | None = None
) -> bytes:
    """Return one record as JSON octets.

    Nothing is parsed here: `record_id` and `corrects` are 32 hex digits, `key_json` and `data` are compact JSON objects made
    by the mapping. `data` None is a delete that carries none.
    """
    encoded = b'{"id":"' + record_id.encode() + _HEADS[op] + key_json
    if at is not None:
        encoded += b',"at":' + _json(at)
    if corrects is not None:
        encoded += b',"corrects":"' + corrects.encode() + b'"'
    return encoded + b',"data":' + data + b"}" if data is not None else encoded + b"}"


def encode_records(
    record_ids: Sequence[str],
    op: Op,
    key_json: Sequence[bytes],
    data: Sequence[bytes],
    times: Sequence[str | None] | None = None,
) -> list[bytes]:
    """Return many records with the same op, each as `encode_record` gives it; they have data and correct nothing."""
    head = _HEADS[op]
    ids = [record_id.encode() for record_id in record_ids]
    if times is None:
        return [b'{"id":"%b%b%b,"data":%b}' % (i, head, key, d) for i, key, d in zip(ids, key_json, data, strict=True)]
    ats = [b"" if at is None else b',"at":' + _json(at) for at in times]
    return [b'{"id":"%b%b%b%b,"data":%b}' % (i, head, key, at, d) for i, key, at, d in zip(ids, key_json, ats, data, strict=True)]


class MessageWriter:
    """Writes the messages of one flow and one epoch. Belongs to one thread."""

    def __init__(  # noqa: PLR0913 - by keyword only, named after the attributes they fill
        self,
        *,
        sender: str,
        receiver: str,
        flow: str,
        epoch: str,
        subject: str,
        dataschema: str,
        signer: Signer,
        clock: Clock,
        random_bytes: RandomBytes,
        compression_level: int = 1,
        limits: Limits | None = None,
    ) -> None:
        self._sender, self._receiver, self._flow, self._epoch = sender, receiver, flow, epoch
        self._subject, self._dataschema = subject, dataschema
        self._signer, self._clock, self._random_bytes = signer, clock, random_bytes
        self._sealer = Sealer(signer, MESSAGE, receiver)
        self._compressor = Compressor(compression_level)
        self._limits = limits or Limits()
        self._source = department_source(sender, flow)
        self._control = ControlWriter(sender, receiver, self._source, signer, clock, random_bytes)

    def records(self, sequence: int, records: Sequence[bytes]) -> ExchangeMessage:
        """Return the signed message of records made by `encode_record`, in their order.

        Raises BadMessage (too_large, too_many_records) when the receiver would refuse it for its size: nothing has been used
        up then, the caller may write the same sequence again with less.
        """
        moment = self._clock.now()
        message_id = event_id(moment, self._random_bytes)
        plain = write_event(
            b'{"records":[%b]}' % b",".join(records),
            id=message_id,
            source=self._source,
            type=RECORDS_TYPE,
            subject=self._subject,
            time=time_text(moment),
            datacontenttype="application/json",
            dataschema=self._dataschema,
            sender=self._sender,
            receiver=self._receiver,
            flow=self._flow,
            epoch=self._epoch,
            sequence=sequence_text(sequence),
            recordcount=len(records),
            traceparent=traceparent(self._random_bytes),
        )
        body, encoding = self._compressor.compress(plain)
        self._check_limits(len(records), plain, body)
        return ExchangeMessage(
            message_id=message_id,
            kind=MessageKind.RECORDS,
            type=RECORDS_TYPE,
            flow=self._flow,
            epoch=self._epoch,
            sequence=sequence,
            body=body,
            encoding=encoding,
            digest_alg="sha-256",
            digest=hashlib.sha256(body).digest(),
            jws=self._sealer.seal(message_id, encoding, body),
            kid=self._signer.kid,
            records=len(records),
            created_at=moment,
        )

    def control(self, data: Control) -> ExchangeMessage:
        """Return a signed control message about this flow; it takes no sequence."""
        return self._control.write(data, self._flow, self._epoch)

    def _check_limits(self, records: int, plain: bytes, body: bytes) -> None:
        limits = self._limits
        if not 1 <= records <= limits.records:
            raise refusal("too_many_records", records=records, limit=limits.records)
        for size, limit in ((len(body), limits.body_bytes), (len(plain), limits.decompressed_bytes)):
            if size > limit:
                raise refusal("too_large", size_bytes=size, limit_bytes=limit)
        if too_many_values(plain, limits.values):
            raise refusal("too_large", why=f"more than {limits.values} values")


def renew_signature(message: ExchangeMessage, signer: Signer, audience: str) -> ExchangeMessage:
    """Return the same message, octet for octet, signed with a newer key."""
    jws = detached_jws(
        signer,
        typ=signature_typ(message.type),
        mid=message.message_id,
        aud=audience,
        cenc=message.encoding,
        body=message.body,
    )
    return replace(message, jws=jws, kid=signer.kid)
