"""What a node is willing to read. The hub announces its limits in its hello; these are the defaults."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one exchange message, sizes in bytes.

    `values` bounds the memory a decoded document can take: it counts the octets `[`, `{` and `,` of the document, wherever
    they stand. `depth` is how deep arrays and objects may nest, the event itself being 1.
    """

    body_bytes: int = 8 * MIB
    decompressed_bytes: int = 64 * MIB
    records: int = 5_000
    depth: int = 32
    values: int = 2_000_000
