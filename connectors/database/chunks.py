"""What a comparison remembers of a table: its parts, each with the last key in it, and what it looked like.

Parts follow each other as a linked list, because keys are in the order of the database, which nobody else can compute. A part
never holds more rows than one page; one that grew is cut in two. The facts live in the memory of the flow, `chunk:1` first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connectors.database.tables.values import Place, from_json, to_json

_NAME: Final = "chunk:"
FIRST: Final = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a table up to `upto`, None for the rest of it; `digest` is None when it was never computed."""

    upto: Place | None = None
    following: int | None = None
    digest: str | None = None


class Chunks:
    """All parts of one table. What `put` and `cut` change is handed out by `changed`, to be stored with the next batch."""

    def __init__(self, memory: Mapping[str, str]) -> None:
        self._chunks = {int(name.removeprefix(_NAME)): _read(text) for name, text in memory.items() if name.startswith(_NAME)}
        self._dirty: dict[int, Chunk] = {}

    def get(self, number: int) -> Chunk:
        """Return a part; one that is not known reaches to the end of the table."""
        return self._chunks.get(number, Chunk())

    def put(self, number: int, chunk: Chunk) -> None:
        """Remember what a part looks like."""
        if self._chunks.get(number) != chunk:
            self._chunks[number] = self._dirty[number] = chunk

    def cut(self, number: int, upto: Place, digest: str | None) -> int:
        """Let a part end at a key; returns the number of the new part that holds the rest."""
        whole = self.get(number)
        rest = max([number, *self._chunks]) + 1
        self.put(number, Chunk(upto, rest, digest))
        self.put(rest, Chunk(whole.upto, whole.following))
        return rest

    def changed(self) -> dict[str, str]:
        """Return the facts that changed since this was asked last."""
        changed, self._dirty = self._dirty, {}
        return {f"{_NAME}{number}": _write(chunk) for number, chunk in changed.items()}


def _write(chunk: Chunk) -> str:
    upto = None if chunk.upto is None else to_json(chunk.upto)
    return json.dumps([upto, chunk.following, chunk.digest], ensure_ascii=False, separators=(",", ":"))


def _read(text: str) -> Chunk:
    upto, following, digest = json.loads(text)
    return Chunk(from_json(upto) if upto is not None else None, following, digest)
