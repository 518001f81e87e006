"""A certificate authority for tests and demonstrations: its keys live in a directory and are worth nothing elsewhere."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2120, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files a server needs to speak TLS, and whether it demands a certificate from its clients."""

    authority: Path
    certificate: Path
    key: Path
    demands_client: bool = True


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files a client needs."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a client context that verifies the server and shows our certificate."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


class CertificateAuthority:
    """Issues server and client certificates (P-256) into a directory."""

    def __init__(self, directory: Path, name: str = "Huitong test authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        own = (
            _builder(self._name, self._name, self._key, EARLIEST, LATEST)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate: Final = directory / "authority.pem"
        self.certificate.write_bytes(own.public_bytes(Encoding.PEM))

    def server(self, name: str = "localhost", *, demands_client: bool = True) -> ServerTls:
        """Issue a certificate for `name` and 127.0.0.1."""
        certificate, key = self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, EARLIEST, LATEST)
        return ServerTls(self.certificate, certificate, key, demands_client)

    def client(self, name: str, *, not_before: datetime = EARLIEST, not_after: datetime = LATEST) -> ClientTls:
        """Issue a client certificate whose common name is `name`; the validity can be chosen to be wrong."""
        certificate, key = self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, not_before, not_after)
        return ClientTls(self.certificate, certificate, key)

    def _issue(self, name: str, usage: x509.ObjectIdentifier, not_before: datetime, not_after: datetime) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _builder(_name(name), self._name, key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
