"""zstd with caps. One frame, its size known beforehand, nothing behind it.

The size in a frame header is only what the sender says: it is capped before anything is allocated, and the decoder is given
exactly that much room, so a frame that lies in either direction ends in an error.
"""

from __future__ import annotations

import zstandard

from agent.wire.codes import refusal


class Compressor:
    """Compresses bodies at one level (0: not at all). Belongs to one thread."""

    def __init__(self, level: int = 1) -> None:
        self._level = level
        self._compressor = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)

    def compress(self, body: bytes) -> tuple[bytes, str]:
        """Return (octets, encoding); what does not shrink stays as it is, with encoding ""."""
        if self._level == 0:
            return body, ""
        packed = self._compressor.compress(body)
        return (packed, "zstd") if len(packed) < len(body) else (body, "")


def decompress(octets: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Return the document behind AMQP octets, at most `limit_bytes`. Raises BadMessage: bad_encoding, too_large."""
    if encoding == "zstd":
        return _one_frame(octets, limit_bytes)
    if encoding != "":
        raise refusal("bad_encoding", why=f"content_encoding {encoding[:32]!r}")
    _cap(len(octets), limit_bytes)
    return octets


def _one_frame(octets: bytes, limit_bytes: int) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(octets)
        if frame.content_size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise refusal("bad_encoding", why="the zstd frame does not tell its size")
        _cap(max(frame.content_size, frame.window_size), limit_bytes)
        # Without max_output_size the output buffer is the announced size, and more than fits is an error.
        return zstandard.ZstdDecompressor().decompress(octets, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise refusal("bad_encoding", why=str(error)) from error


def _cap(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise refusal("too_large", size_bytes=size, limit_bytes=limit_bytes)
