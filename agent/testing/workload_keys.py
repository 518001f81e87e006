"""The keys of one writer: which have a row, which had one, and a way back when a transaction fails."""

from __future__ import annotations

from random import Random
from typing import Final

_REUSED: Final = 0.2  # share of free keys that had a row before
_TRIED_AGAIN: Final = 0.3  # share of chosen keys that the same transaction has touched before


class _Pool:
    """Keys from which one can be drawn, added and taken at the same cost however many they are."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._places: dict[str, int] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str) -> None:
        self._places[key] = len(self.keys)
        self.keys.append(key)

    def take(self, key: str) -> None:
        place, last = self._places.pop(key), self.keys.pop()
        if last != key:
            self.keys[place] = last
            self._places[last] = place


class KeyBook:
    """Draws keys, and remembers the moves of one transaction until they are kept or undone."""

    def __init__(self, prefix: str, random: Random) -> None:
        self._prefix, self._random = prefix, random
        self._alive, self._dead = _Pool(), _Pool()
        self._made = 0
        self._moves: list[tuple[str, _Pool | None]] = []  # and where the key was before

    def some(self) -> str | None:
        """Return a key that has a row, None when none has; sometimes one that this transaction has touched."""
        touched = [key for key, _ in self._moves if key in self._alive]
        if touched and self._random.random() < _TRIED_AGAIN:
            return self._random.choice(touched)
        return self._random.choice(self._alive.keys) if self._alive.keys else None

    def free(self) -> str:
        """Return a key that has no row: a new one, or one that had a row."""
        if self._dead.keys and self._random.random() < _REUSED:
            return self._random.choice(self._dead.keys)
        self._made += 1
        return f"{self._prefix}-{self._made}"

    def alive(self, key: str) -> None:
        """Learn that a key has a row now."""
        self._moves.append((key, self._put(key, self._alive)))

    def dead(self, key: str) -> None:
        """Learn that a key has no row any more."""
        self._moves.append((key, self._put(key, self._dead)))

    def mark(self) -> int:
        """Return the place to which `undo` can go back."""
        return len(self._moves)

    def undo(self, mark: int = 0) -> None:
        """Take back the moves since a mark."""
        while len(self._moves) > mark:
            key, before = self._moves.pop()
            self._put(key, before)

    def keep(self) -> None:
        """Make the moves final."""
        self._moves.clear()

    def _put(self, key: str, to: _Pool | None) -> _Pool | None:
        origin = next((pool for pool in (self._alive, self._dead) if key in pool), None)
        if origin is not None:
            origin.take(key)
        if to is not None:
            to.add(key)
        return origin
