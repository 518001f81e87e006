"""When the certificates named in the settings expire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from agent.settings.agent_file import AgentFile


def expiries(settings: AgentFile) -> Sequence[tuple[str, datetime]]:
    """Return (file name, end of its validity) of each certificate that can be read; of a file with several the first to end."""
    found = []
    for path in (settings.hub.cert, settings.hub.ca):
        if path is None:
            continue
        try:
            certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue  # connecting says what is wrong with it, and with its path
        found.append((path.name, min(certificate.not_valid_after_utc for certificate in certificates)))
    return found
