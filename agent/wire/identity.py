"""Record ids: permanent, derived, so that reading the same change again gives the same id (I2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from msgspec.json import encode as _json

from agent.model import Op

NO_DATA_HASH = hashlib.sha256().hexdigest()
"""What stands for the data of a delete that carries none."""


def data_hash(data: bytes | None) -> str:
    """Return lower hex SHA-256 over the exact octets of a record's `data` as they stand in the body."""
    return hashlib.sha256(data).hexdigest() if data is not None else NO_DATA_HASH


class RecordIds:
    """Ids of the records of one entity of one flow; what never changes is hashed once.

    The id is the first 32 hex digits of SHA-256 over the UTF-8 JSON array, without white space,
    `[1,sender,flow,incarnation,entity,key,token,op,data_hash]`; strings are escaped as in RFC 8785, section 3.2.2.2.
    """

    def __init__(self, sender: str, flow: str, incarnation: str, entity: str) -> None:
        names = b",".join(map(_json, (sender, flow, incarnation, entity)))
        self._prefix = hashlib.sha256(b"[1," + names + b",")
        self._ends = {op: f',"{op.value}","'.encode() for op in Op}

    def of(self, key: str, token: str, op: Op, data_hash: str) -> str:
        """Return the id, 32 lower hex digits.

        `key` is canonical key text, itself JSON (`[["s","5101"],["i","7"]]`); `token` any text; `data_hash` from `data_hash`.
        """
        digest = self._prefix.copy()
        digest.update(key.encode() + b"," + _json(token) + self._ends[op] + data_hash.encode() + b'"]')
        return digest.hexdigest()[:32]

    def of_many(self, keys: Sequence[str], tokens: Sequence[str], op: Op, data_hashes: Iterable[str]) -> list[str]:
        """Return the ids of many records with the same op, as `of` gives them one by one."""
        if not _needs_no_escape("".join(tokens)):
            tokens = [_json(token).decode()[1:-1] for token in tokens]
        copy, end = self._prefix.copy, self._ends[op].decode()
        ids = []
        for key, token, data_hash in zip(keys, tokens, data_hashes, strict=True):
            digest = copy()
            digest.update(f'{key},"{token}"{end}{data_hash}"]'.encode())
            ids.append(digest.hexdigest()[:32])
        return ids


def _needs_no_escape(text: str) -> bool:
    return len(_json(text)) == len(text.encode()) + 2  # the quotation marks
