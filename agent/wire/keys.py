"""Key pairs: Ed25519 and P-256, PKCS 8 PEM for the private half, JWK for the public one.

A key is named by its RFC 7638 thumbprint (SHA-256, base64url), so a name can never point at another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from agent.errors import SettingsError
from agent.i18n import N_
from agent.wire.signature import KeyState, PublicKey, Signer
from agent.wire.topology import NODE_CODE

ALGORITHMS: Final = ("EdDSA", "ES256")
_P256_OCTETS: Final = 32
_Public = Ed25519PublicKey | EllipticCurvePublicKey
_NEITHER: Final = "neither Ed25519 nor P-256"


@dataclass(frozen=True, slots=True)
class _EdDsa:
    kid: str
    key: Ed25519PrivateKey
    alg: str = "EdDSA"

    def sign(self, octets: bytes) -> bytes:
        return self.key.sign(octets)


@dataclass(frozen=True, slots=True)
class _Es256:
    kid: str
    key: EllipticCurvePrivateKey
    alg: str = "ES256"

    def sign(self, octets: bytes) -> bytes:
        """Sign; RFC 6979 makes the nonce from key and message, so no weak random source can give the key away."""
        r, s = decode_dss_signature(self.key.sign(octets, ECDSA(SHA256(), deterministic_signing=True)))
        return r.to_bytes(_P256_OCTETS) + s.to_bytes(_P256_OCTETS)


def generate(alg: str = "EdDSA") -> bytes:
    """Return a new private key as PKCS 8 PEM, unencrypted: file mode and the disk protect it."""
    if alg not in ALGORITHMS:
        raise _unusable(f"algorithm {alg!r}")
    key = Ed25519PrivateKey.generate() if alg == "EdDSA" else generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_signer(pem: bytes) -> Signer:
    """Return the signer of a private key in PEM. Raises SettingsError."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable("not an unencrypted PKCS 8 PEM file") from error
    match key:
        case Ed25519PrivateKey():
            return _EdDsa(thumbprint(_jwk_members(key.public_key())), key)
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return _Es256(thumbprint(_jwk_members(key.public_key())), key)
        case _:
            raise _unusable(_NEITHER)


def public_of(pem: bytes, owner: str, state: KeyState = KeyState.ACTIVE) -> PublicKey:
    """Return the public half of a private key in PEM. Raises SettingsError."""
    signer = load_signer(pem)
    if not isinstance(signer, _EdDsa | _Es256):
        raise _unusable(_NEITHER)
    return _public_key(signer.key.public_key(), owner, state)


def jwk_of(key: PublicKey) -> dict[str, str]:
    """Return a public key as JWK (RFC 7517, RFC 8037): kty, crv, x, y, kid, alg, use."""
    loaded = load_der_public_key(key.public)
    if not isinstance(loaded, _Public):
        raise _unusable(_NEITHER)
    return {**_jwk_members(loaded), "kid": key.kid, "alg": key.alg, "use": "sig"}


def public_from_jwk(jwk: Mapping[str, object], owner: str, state: KeyState = KeyState.ACTIVE) -> PublicKey:
    """Return the public key of a JWK. Raises SettingsError: unusable, private, or a `kid` that is not its thumbprint."""
    if "d" in jwk:
        raise SettingsError(
            N_("this file holds a private key; only public keys are exchanged"),
            hint=N_("treat that key as lost, make a new one: huitong keys new"),
        )
    key = _public_key(_load_jwk(jwk), owner, state)
    if jwk.get("kid", key.kid) != key.kid or jwk.get("alg", key.alg) != key.alg:
        raise _unusable("kid or alg does not belong to the key")
    return key


def write_enrolment(node: str, keys: Iterable[PublicKey]) -> bytes:
    """Return the text of an enrolment file: who we are and our public keys, for the next node to pin."""
    return json.dumps({"node": node, "keys": [jwk_of(key) for key in keys]}, indent=2).encode() + b"\n"


def read_enrolment(text: bytes) -> tuple[str, list[PublicKey]]:
    """Return (node code, keys) of an enrolment file. Raises SettingsError.

    Nothing in it proves whose it is: an operator compares the thumbprints with the sender by telephone before pinning.
    """
    try:
        document = json.loads(text)
        node, jwks = document["node"], document["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unusable("not an enrolment file") from error
    if not isinstance(node, str) or not NODE_CODE.fullmatch(node) or not isinstance(jwks, list) or not jwks:
        raise _unusable("not an enrolment file")
    if not all(isinstance(jwk, dict) for jwk in jwks):
        raise _unusable("not an enrolment file")
    return node, [public_from_jwk(jwk, node) for jwk in jwks]


def thumbprint(members: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint of the required members of a JWK."""
    required = ("crv", "kty", "x", "y") if members["kty"] == "EC" else ("crv", "kty", "x")
    text = ",".join(f'"{name}":"{members[name]}"' for name in required)
    return _text(hashlib.sha256(f"{{{text}}}".encode()).digest())


def _public_key(key: _Public, owner: str, state: KeyState) -> PublicKey:
    members = _jwk_members(key)
    return PublicKey(
        kid=thumbprint(members),
        owner=owner,
        alg="ES256" if members["kty"] == "EC" else "EdDSA",
        public=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        state=state,
    )


def _jwk_members(key: _Public) -> dict[str, str]:
    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _text(key.public_bytes_raw())}
    point = key.public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": _coordinate(point.x), "y": _coordinate(point.y)}


def _load_jwk(jwk: Mapping[str, object]) -> _Public:
    try:
        match jwk.get("kty"), jwk.get("crv"):
            case "OKP", "Ed25519":
                return Ed25519PublicKey.from_public_bytes(_octets(jwk["x"]))
            case "EC", "P-256":
                x, y = (int.from_bytes(_octets(jwk[name])) for name in ("x", "y"))
                return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
            case _:
                raise _unusable(_NEITHER)
    except (KeyError, ValueError) as error:
        raise _unusable("its members do not make a key") from error


def _octets(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != 43:  # 32 octets
        raise ValueError("not 32 octets in base64url")
    octets = base64.urlsafe_b64decode(text + "=")
    if _text(octets) != text:
        raise binascii.Error("not canonical base64url")
    return octets


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _coordinate(number: int) -> str:
    return _text(number.to_bytes(_P256_OCTETS))


def _unusable(why: str) -> SettingsError:
    return SettingsError(
        N_("this key cannot be used: {why}"),
        hint=N_("signing keys are Ed25519 or P-256; make one with: huitong keys new"),
        why=why,
    )
