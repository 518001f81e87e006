"""Who takes part in the vectors: two nodes, their test keys, a clock that stands still, octets that look random."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.model import ExchangeMessage
from agent.wire.event import RECEIPT_TYPE
from agent.wire.keys import jwk_of, load_signer, public_of
from agent.wire.parcel import CONTENT_TYPE
from agent.wire.signature import KeyState, Signer
from agent.wire.topology import ingress_exchange, user_name

DEPARTMENT, HUB = "510100-bdc-01", "510000-hub"
FLOW, EPOCH = "ownership", "e7f3a1c25b904d68"
SUBJECT, SCHEMA = "510100/realestate/ownership", "https://huitong.example/schemas/realestate.ownership/2"
INCARNATION, ENTITY = "pg:7316420987650012345:16384", "public.qszt"
MOMENT = datetime(2026, 11, 21, 3, 4, 5, 678901, UTC)

Json = dict[str, Any]


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return always the same moment."""
        return MOMENT

    def monotonic(self) -> float:
        """Return always the same second."""
        return 0.0


class Stream:
    """Octets that look random and are always the same: SHA-256 of a label and a counter."""

    def __init__(self, label: str) -> None:
        self._label, self._count = label, 0

    def __call__(self, size: int) -> bytes:
        """Return the next octets, at most 32."""
        self._count += 1
        return hashlib.sha256(f"{self._label} {self._count}".encode()).digest()[:size]


@dataclass(frozen=True)
class TestKey:
    """A key pair whose private half is public knowledge."""

    name: str
    owner: str
    alg: str
    state: str  # active, retiring, revoked, or unknown: not in the ring

    def pem(self) -> bytes:
        """Return the private key, derived from its name."""
        seed = hashlib.sha256(f"huitong test key, never use: {self.name}".encode()).digest()
        key = (
            Ed25519PrivateKey.from_private_bytes(seed)
            if self.alg == "EdDSA"
            else derive_private_key(int.from_bytes(seed), SECP256R1())
        )
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def signer(self) -> Signer:
        """Return its signer."""
        return load_signer(self.pem())

    def files(self) -> dict[str, Json]:
        """Return its public JWK as pinned, and its private JWK."""
        known = KeyState(self.state) if self.state != "unknown" else KeyState.ACTIVE
        jwk = jwk_of(public_of(self.pem(), self.owner, known))
        secret = hashlib.sha256(f"huitong test key, never use: {self.name}".encode()).digest()
        warning = {"warning": "TEST ONLY. This private key is public knowledge; whoever trusts it trusts everybody."}
        return {
            f"keys/{self.name}.jwk": {**jwk, "owner": self.owner, "state": self.state},
            f"keys/{self.name}.TEST-ONLY-private.jwk": {**warning, **jwk, "d": base64url(secret)},
        }


KEYS = {
    key.name: key
    for key in (
        TestKey("department-ed25519", DEPARTMENT, "EdDSA", "active"),
        TestKey("department-p256", DEPARTMENT, "ES256", "retiring"),
        TestKey("department-revoked", DEPARTMENT, "EdDSA", "revoked"),
        TestKey("stranger", DEPARTMENT, "EdDSA", "unknown"),
        TestKey("hub-ed25519", HUB, "EdDSA", "active"),
        TestKey("hub-p256", HUB, "ES256", "active"),
    )
}


def base64url(octets: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def vector(description: str, body: bytes, *, message_id: str, type_: str, encoding: str, jws: str, **more: Any) -> Json:
    """Return one message as it leaves the broker, and where it helps the reader what it says."""
    down = type_ == RECEIPT_TYPE or more.get("event", {}).get("sender") == HUB
    properties: Json = {
        "exchange": "to" if down else ingress_exchange(DEPARTMENT),
        "user_id": "hub" if down else user_name(DEPARTMENT),
        "app_id": "huitong/1.0.0",
        "message_id": message_id,
        "type": type_,
        "timestamp": int(MOMENT.timestamp()),
        "delivery_mode": 2,
        "content_type": CONTENT_TYPE,
        **({"content_encoding": encoding} if encoding else {}),
        "headers": {"jws": jws},
    }
    digest = hashlib.sha256(body).hexdigest()
    return {"description": description, **more, "amqp": properties, "body": base64.b64encode(body).decode(), "sha256": digest}


def message_vector(description: str, message: ExchangeMessage) -> Json:
    """Return a message made by our own writer, with the event in clear."""
    plain = zstandard.decompress(message.body) if message.encoding else message.body
    said = {"message_id": message.message_id, "type_": message.type, "encoding": message.encoding, "jws": message.jws}
    return vector(description, message.body, **said, event=json.loads(plain))
