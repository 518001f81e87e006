"""A private OpenSSH server for SFTP."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.testing.nodes.node import Node
from agent.testing.nodes.ports import LOOPBACK, ask

_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")


class SshdNode(Node):
    """OpenSSH with SFTP for our own user, by key only.

    `client_key` is a private key that may log in and `known_hosts` pins the server's key. The account of our user must not be
    locked: sshd refuses locked accounts even with a key.
    """

    kind = "sshd"
    port_names = ("ssh",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.login: Final = getpass.getuser()
        self.client_key: Final = self.directory / "client_key"
        self.known_hosts: Final = self.directory / "known_hosts"

    def prepare(self) -> None:
        """Make the two key pairs the first time; write the configuration."""
        host_key = self.directory / "host_key"
        if not host_key.exists():
            (self.directory / "authorized_keys").write_text(_new_key(self.client_key) + "\n")
            self.known_hosts.write_text(f"[{LOOPBACK}]:{self.ports['ssh']} {_new_key(host_key)}\n")
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        lines = {
            "ListenAddress": f"{LOOPBACK}:{self.ports['ssh']}",
            "HostKey": str(host_key),
            "AuthorizedKeysFile": str(self.directory / "authorized_keys"),
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
            "ForceCommand": "internal-sftp",
        }
        (self.directory / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))

    def command(self) -> Sequence[str]:
        """Return the server in the foreground, its log on the standard error output."""
        return [self.program("sshd"), "-D", "-e", "-f", str(self.directory / "sshd_config")]

    def answers(self) -> bool:
        """Connect and look for the banner."""
        return ask(self.ports["ssh"], b"SSH-2.0-probe\r\n").startswith(b"SSH-2.0-")


def _new_key(path: Path) -> str:
    """Write a new private key and return the public one, both in OpenSSH's format."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
