"""Detached JWS over the exact octets of a body (RFC 7515, RFC 7797, `b64` false), and the ring of pinned keys.

What is signed is `BASE64URL(protected header) "." body`: the body as it stands in the AMQP message, after compression. A
signature is verified before the body is looked at, and nothing is ever serialised again to be verified.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec.json import encode as _json

from agent.errors import BadMessage, BadSignature
from agent.wire.codes import bad_signature
from agent.wire.strict import load_strict

MESSAGE: Final = "huitong-message"
CONTROL: Final = "huitong-control"
RECEIPT: Final = "huitong-receipt"
"""Values of `typ`: what a signature was made for, so that one can never pass as the other."""

MAX_JWS_CHARS: Final = 2048
_SIGNATURE_OCTETS: Final = 64


class KeyState(StrEnum):
    """What the keeper of the ring says of a key; never decided by the clock."""

    ACTIVE = "active"
    RETIRING = "retiring"  # verifies until the last message under it is closed
    REVOKED = "revoked"


class Signer(Protocol):
    """A private key at work. `sign` gives 64 octets: Ed25519, or r and s of P-256. Callable from any thread."""

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint of the public key."""
        ...

    @property
    def alg(self) -> str:
        """`EdDSA` or `ES256`."""
        ...

    def sign(self, octets: bytes) -> bytes:
        """Return the signature over octets."""
        ...


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A pinned public key (`public` is SPKI DER) and whose it is."""

    kid: str
    owner: str
    alg: str
    public: bytes
    state: KeyState = KeyState.ACTIVE


class ProtectedHeader(msgspec.Struct, frozen=True):
    """The protected header. Members not named here are not ours to understand and are ignored, unless `crit` names them."""

    alg: str
    kid: str
    typ: str
    b64: bool
    crit: list[str]
    mid: str
    aud: str
    cenc: str


class Sealer:
    """Signs bodies of one kind for one audience; what never changes of the header is written once."""

    def __init__(self, signer: Signer, typ: str, aud: str) -> None:
        self._signer = signer
        names = (signer.alg, signer.kid, typ, aud)
        self._head = b'{"alg":%b,"kid":%b,"typ":%b,"b64":false,"crit":["b64"],"aud":%b,"cenc":' % tuple(map(_json, names))

    def seal(self, mid: str, cenc: str, body: bytes) -> str:
        """Return the detached JWS, `header..signature`."""
        header = base64.urlsafe_b64encode(b'%b%b,"mid":%b}' % (self._head, _json(cenc), _json(mid))).rstrip(b"=")
        signature = base64.urlsafe_b64encode(self._signer.sign(header + b"." + body)).rstrip(b"=")
        return f"{header.decode()}..{signature.decode()}"


def detached_jws(signer: Signer, *, typ: str, mid: str, aud: str, cenc: str, body: bytes) -> str:
    """Return the detached JWS of one body."""
    return Sealer(signer, typ, aud).seal(mid, cenc, body)


Check = Callable[[bytes, bytes], None]
"""check(signature, octets); raises InvalidSignature."""


class KeyRing:
    """Pinned public keys. Immutable: build a new ring when keys change."""

    def __init__(self, keys: Iterable[PublicKey], allowed: Iterable[str] = ("EdDSA", "ES256")) -> None:
        self._keys: Mapping[str, PublicKey] = {key.kid: key for key in keys}
        self._checks: Mapping[str, Check] = {kid: _checker(key) for kid, key in self._keys.items()}
        self._allowed = frozenset(allowed)

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    def verify(self, jws: str, body: bytes, *, typ: str, mid: str, cenc: str, audience: str) -> PublicKey:
        """Return the key whose signature over exactly these octets this is.

        `mid` and `cenc` are those of the AMQP properties, `audience` the code of this node. The caller still has to ask
        whether the owner of the key may say what the body says. Raises BadSignature; its reason is a refusal code.
        """
        protected, signature = _split(jws)
        header = _read_header(protected)
        key = self._key_for(header)
        for name, said, expected in (("typ", header.typ, typ), ("mid", header.mid, mid), ("cenc", header.cenc, cenc)):
            if said != expected:
                raise bad_signature(f"{name}_mismatch", said=said[:64], expected=expected[:64])
        if header.aud != audience:
            raise bad_signature("wrong_audience", said=header.aud[:64], expected=audience)
        try:
            self._checks[key.kid](signature, protected + b"." + body)
        except InvalidSignature:
            raise bad_signature("bad_signature", kid=key.kid) from None
        return key

    def _key_for(self, header: ProtectedHeader) -> PublicKey:
        key = self._keys.get(header.kid)
        if key is None:
            raise bad_signature("unknown_key", kid=header.kid[:64])
        if key.state is KeyState.REVOKED:
            raise bad_signature("revoked_key", kid=key.kid)
        # The algorithm is that of the pinned key and of the policy; what the message says only has to agree.
        if header.alg != key.alg or key.alg not in self._allowed:
            raise bad_signature("alg_not_allowed", alg=header.alg[:32])
        return key


def _split(jws: str) -> tuple[bytes, bytes]:
    if len(jws) > MAX_JWS_CHARS or not jws.isascii():
        raise bad_signature("bad_header", why="too long, or not ASCII")
    protected, payload, signature = [*jws.encode().split(b"."), b"", b"", b""][:3]
    if jws.count(".") != 2 or payload or not protected:
        raise bad_signature("bad_header", why="not header..signature")
    octets = _octets(signature)
    if len(octets) != _SIGNATURE_OCTETS:
        raise bad_signature("bad_signature", kid="")
    return protected, octets


def _read_header(protected: bytes) -> ProtectedHeader:
    try:
        document = load_strict(_octets(protected), values=64)
        header = msgspec.convert(document, ProtectedHeader)
    except BadMessage as error:
        if isinstance(error, BadSignature):
            raise
        raise bad_signature("bad_header", why=str(error)) from error
    except msgspec.ValidationError as error:
        raise bad_signature("bad_header", why=str(error)) from error
    if header.crit != ["b64"]:
        raise bad_signature("unknown_crit", crit=",".join(header.crit)[:64])
    if header.b64:
        raise bad_signature("bad_header", why="b64 is not false")
    return header


def _octets(text: bytes) -> bytes:
    """Decode base64url without padding; only the one canonical spelling of some octets is accepted."""
    try:
        octets = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        octets = b""
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text:
        raise bad_signature("bad_header", why="not base64url")
    return octets


def _checker(key: PublicKey) -> Check:
    loaded = load_der_public_key(key.public)
    match key.alg, loaded:
        case "EdDSA", Ed25519PublicKey():
            return loaded.verify
        case "ES256", EllipticCurvePublicKey(curve=SECP256R1()):
            return lambda signature, octets: _verify_es256(loaded, signature, octets)
        case _:
            raise ValueError(f"key {key.kid} is not one for {key.alg}")


def _verify_es256(key: EllipticCurvePublicKey, signature: bytes, octets: bytes) -> None:
    half = _SIGNATURE_OCTETS // 2
    r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
    key.verify(encode_dss_signature(r, s), octets, ECDSA(SHA256()))
