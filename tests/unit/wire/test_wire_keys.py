"""Keys and signatures: thumbprints, JWK, enrolment, what a ring accepts."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from agent.errors import BadSignature, SettingsError
from agent.wire.keys import generate, jwk_of, load_signer, public_from_jwk, public_of, read_enrolment, thumbprint, write_enrolment
from agent.wire.signature import CONTROL, MESSAGE, KeyRing, KeyState, PublicKey, Sealer, detached_jws

PEMS = {alg: generate(alg) for alg in ("EdDSA", "ES256")}


def jws(pem: bytes, body: bytes = b"body") -> str:
    return detached_jws(load_signer(pem), typ=MESSAGE, mid="m", aud="hub-1", cenc="zstd", body=body)


def verify(ring: KeyRing, text: str, body: bytes = b"body") -> PublicKey:
    return ring.verify(text, body, typ=MESSAGE, mid="m", cenc="zstd", audience="hub-1")


def reason(ring: KeyRing, text: str) -> str:
    with pytest.raises(BadSignature) as caught:
        verify(ring, text)
    return caught.value.reason


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    """The Ed25519 key of RFC 8037, appendix A.2, has the thumbprint of appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert public_from_jwk(jwk, "d-1").kid == thumbprint(jwk)


@pytest.mark.parametrize("alg", PEMS)
def test_keys_travel_as_jwk(alg: str) -> None:
    """A public key survives its JWK, and its name is its thumbprint."""
    key = public_of(PEMS[alg], "d-1", KeyState.RETIRING)
    assert (key.alg, key.owner, key.kid) == (alg, "d-1", load_signer(PEMS[alg]).kid)
    assert public_from_jwk(jwk_of(key), "d-1", KeyState.RETIRING) == key
    assert "d" not in jwk_of(key)


@pytest.mark.parametrize("alg", PEMS)
def test_signatures_are_deterministic(alg: str) -> None:
    """The same octets under the same key give the same signature, so that no random source can give a key away."""
    assert jws(PEMS[alg]) == jws(PEMS[alg])
    assert len(load_signer(PEMS[alg]).sign(b"x")) == 64


@pytest.mark.parametrize("alg", PEMS)
def test_states_decide_whether_a_key_verifies(alg: str) -> None:
    """Active and retiring keys verify; revoked and unknown ones do not, and are told apart."""
    for state in (KeyState.ACTIVE, KeyState.RETIRING):
        assert verify(KeyRing([public_of(PEMS[alg], "d-1", state)]), jws(PEMS[alg])).owner == "d-1"
    assert reason(KeyRing([public_of(PEMS[alg], "d-1", KeyState.REVOKED)]), jws(PEMS[alg])) == "revoked_key"
    assert reason(KeyRing([]), jws(PEMS[alg])) == "unknown_key"


@pytest.mark.parametrize("alg", PEMS)
def test_the_allow_list_decides_which_algorithms_verify(alg: str) -> None:
    """A pinned key of an algorithm the policy does not list verifies nothing."""
    key = public_of(PEMS[alg], "d-1")
    assert verify(KeyRing([key], [alg]), jws(PEMS[alg])) == key
    assert reason(KeyRing([key], [other for other in PEMS if other != alg]), jws(PEMS[alg])) == "alg_not_allowed"


def test_a_signature_holds_for_one_purpose() -> None:
    """The same octets signed for another kind, id, encoding or node do not verify."""
    ring = KeyRing([public_of(PEMS["EdDSA"], "d-1")])
    text = jws(PEMS["EdDSA"])
    good = {"typ": MESSAGE, "mid": "m", "cenc": "zstd", "audience": "hub-1"}
    ring.verify(text, b"body", **good)
    expected = {"typ": "typ_mismatch", "mid": "mid_mismatch", "cenc": "cenc_mismatch", "audience": "wrong_audience"}
    for name, code in expected.items():
        with pytest.raises(BadSignature) as caught:
            ring.verify(text, b"body", **{**good, name: CONTROL})
        assert caught.value.reason == code


def test_names_in_the_header_cannot_break_out() -> None:
    """Quotes and backslashes in an id stay inside their string."""
    signer = load_signer(PEMS["EdDSA"])
    text = Sealer(signer, MESSAGE, "hub-1").seal('","aud":"x\\', "", b"body")
    ring = KeyRing([public_of(PEMS["EdDSA"], "d-1")])
    assert ring.verify(text, b"body", typ=MESSAGE, mid='","aud":"x\\', cenc="", audience="hub-1").kid == signer.kid


def test_a_ring_refuses_a_key_that_is_not_what_it_says() -> None:
    """A key whose octets do not fit its algorithm never enters a ring."""
    key = public_of(PEMS["EdDSA"], "d-1")
    with pytest.raises(ValueError, match=key.kid):
        KeyRing([PublicKey(key.kid, "d-1", "ES256", key.public)])
    assert key.kid in KeyRing([key])


def other_pem(kind: str) -> bytes:
    encryption = BestAvailableEncryption(b"x") if kind == "encrypted" else NoEncryption()
    curve = ec.SECP384R1() if kind == "P-384" else ec.SECP256R1()
    key = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(curve)
    return b"-----BEGIN NOTHING-----" if kind == "nothing" else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("kind", ["nothing", "encrypted", "P-384", "RSA"])
def test_other_private_keys_are_refused(kind: str) -> None:
    """What is not an unencrypted Ed25519 or P-256 key is refused with the fix."""
    with pytest.raises(SettingsError) as caught:
        load_signer(other_pem(kind))
    assert "huitong keys new" in caught.value.hint


def test_an_unknown_algorithm_is_refused() -> None:
    """Keys are made for the algorithms of the protocol only."""
    with pytest.raises(SettingsError):
        generate("RS256")


GOOD_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.mark.parametrize(
    "changes",
    [
        {"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
        {"kid": "another"},
        {"alg": "ES256"},
        {"x": "short"},
        {"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"},
        {"x": 1},
        {"crv": "Ed448"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": "P-256", "y": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ],
)
def test_bad_jwks_are_refused(changes: dict[str, object]) -> None:
    """Private members, wrong names, wrong lengths, loose bits and points off the curve are refused."""
    with pytest.raises(SettingsError):
        public_from_jwk({**GOOD_JWK, **changes}, "d-1")


def test_an_enrolment_file_brings_all_keys() -> None:
    """What one node exports, the next reads."""
    keys = [public_of(pem, "d-1") for pem in PEMS.values()]
    assert read_enrolment(write_enrolment("d-1", keys)) == ("d-1", keys)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"node":"d-1","keys":[]}',
        b'{"node":"D 1","keys":[{}]}',
        b'{"node":"d-1","keys":[1]}',
        b'{"node":"d-1","keys":[{}]}',
        json.dumps({"node": 1, "keys": [GOOD_JWK]}).encode(),
    ],
)
def test_other_files_are_no_enrolment(text: bytes) -> None:
    """Anything else is refused."""
    with pytest.raises(SettingsError):
        read_enrolment(text)
