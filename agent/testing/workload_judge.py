"""Compares what was captured with what happened. Pure; every figure is exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.model import Op
from agent.testing.workload_truth import Captured, Change

Histories = Mapping[str, Sequence[Change]]
_SHOWN: Final = 10
_DELETED: Final = "deleted"


@dataclass(slots=True)
class Verdict:
    """What is wrong, in numbers; `total` is what should have come: changes, rows there in the end, or rows inserted."""

    total: int = 0
    missed: int = 0  # never came
    stale: int = 0  # states only: came, but what came last is not what is there in the end
    unseen_deletes: int = 0  # states only: captured once, gone since, and nobody said so
    doubled: int = 0
    disorder: int = 0  # came after something that happened later to the same key
    phantoms: int = 0  # was never committed
    examples: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """What is not, or not rightly, at the other end."""
        return self.missed + self.stale

    @property
    def exact(self) -> bool:
        """Whether nothing at all is wrong, and there was something to be judged."""
        wrong = self.missed, self.stale, self.unseen_deletes, self.doubled, self.disorder, self.phantoms
        return self.total > 0 and not any(wrong)

    def example(self, text: str) -> None:
        """Keep one of the first complaints for people."""
        if len(self.examples) < _SHOWN:
            self.examples.append(text)

    def __str__(self) -> str:
        figures = ("missed", "stale", "unseen_deletes", "doubled", "disorder", "phantoms")
        wrong = [f"{name} {getattr(self, name)}" for name in figures if getattr(self, name)]
        return f"{self.total} judged, " + (", ".join(wrong) + ": " + "; ".join(self.examples) if wrong else "exact")


def judge_changes(
    histories: Histories,
    captured: Sequence[Captured],
    *,
    times: Mapping[str, float] | None = None,
    since: float | None = None,
) -> Verdict:
    """Judge a capture that promises every change, once and in order.

    Captured states (without a token: a first load) stand for all earlier changes of their key. With `times` and `since`,
    what was committed up to then is owed as a state only: the last of it must have come, or something later of the same key.
    """
    verdict = Verdict(total=sum(map(len, histories.values())))
    seen = _by_key(_without_repeated_tokens(captured, verdict))
    for key in histories.keys() | seen.keys():
        history = histories.get(key, ())
        early = 0
        if times is not None and since is not None:
            early = next((i for i, change in enumerate(history) if times[change.version] > since), len(history))
        _judge_key(verdict, key, history, seen.get(key, ()), early)
    return verdict


def judge_states(histories: Histories, captured: Sequence[Captured]) -> Verdict:
    """Judge a capture that promises the final state of every row: versions in between may be skipped, not come out of order."""
    verdict = Verdict()
    seen = _by_key(captured)
    for key in histories.keys() | seen.keys():
        history, records = histories.get(key, ()), seen.get(key, ())
        _judge_sequence(verdict, key, history, records)
        if not history:
            continue
        last = records[-1] if records else None
        if history[-1].op is Op.DELETE:
            verdict.unseen_deletes += last is not None and last.op is Op.UPSERT
            continue
        verdict.total += 1
        if last is not None and _name(last) == history[-1].version:
            continue
        if _life(history) & {_name(record) for record in records}:
            verdict.stale += 1
            verdict.example(f"{key} ends as {history[-1].version}, captured last {_name(last) if last else None}")
        else:
            verdict.missed += 1
            verdict.example(f"{key} {history[-1].version} never came")
    return verdict


def judge_inserts(histories: Histories, captured: Sequence[Captured]) -> Verdict:
    """Judge a capture that promises nothing but new rows: each row still there that was inserted came in some version."""
    verdict = Verdict()
    seen = _by_key(captured)
    for key in histories.keys() | seen.keys():
        history, records = histories.get(key, ()), seen.get(key, ())
        _judge_sequence(verdict, key, history, records)
        life = _life(history)
        if not any(change.born for change in history if change.version in life):
            continue  # deleted, or renamed to this key: no row of its own
        verdict.total += 1
        if not life & {_name(record) for record in records}:
            verdict.missed += 1
            verdict.example(f"{key} {min(life)} never came")
    return verdict


# -- every change ----------------------------------------------------------------------------------------------------


def _without_repeated_tokens(captured: Sequence[Captured], verdict: Verdict) -> Sequence[Captured]:
    """Count records whose token came before for the same key as doubled, and leave them out.

    Two records of one token are right where a key changed: the old key's delete and the row under the new one.
    """
    tokens: set[tuple[str, str]] = set()
    once = []
    for record in captured:
        if record.token is not None and (record.key, record.token) in tokens:
            verdict.doubled += 1
            verdict.example(f"{record.key} {_name(record)} came again with token {record.token}")
            continue
        if record.token is not None:
            tokens.add((record.key, record.token))
        once.append(record)
    return once


def _judge_key(verdict: Verdict, key: str, history: Sequence[Change], records: Sequence[Captured], early: int) -> None:
    """Explain what was captured of one key by the fewest faults: what is not in the longest common order is wrong."""
    there, here = [_name(change) for change in history], [_name(record) for record in records]
    pairs = _common(there, here)
    matched, used = {i for i, _ in pairs}, {j for _, j in pairs}
    states = {name for name, record in zip(here, records, strict=True) if record.token is None}
    covered = max((i for i, name in enumerate(there) if name in states), default=-1)
    for name in (name for j, name in enumerate(here) if j not in used):
        place = next((i for i, other in enumerate(there) if other == name and i not in matched), None)
        if place is not None:
            matched.add(place)
            verdict.disorder += 1
            verdict.example(f"{key} {name} came out of order")
        elif name in there:
            verdict.doubled += 1
            verdict.example(f"{key} {name} came twice")
        else:
            verdict.phantoms += 1
            verdict.example(f"{key} {name} was never committed")
    for i in range(len(history)):
        if i not in matched and i > covered and not (i < early and _owed_no_more(history, matched, i, early)):
            verdict.missed += 1
            verdict.example(f"{key} {there[i]} never came")


def _owed_no_more(history: Sequence[Change], matched: set[int], place: int, early: int) -> bool:
    """Whether the first load need not show a change from before it: it was overtaken, or there is no row any more."""
    last = place == early - 1
    return not last or history[place].op is Op.DELETE or any(i > place for i in matched)


def _common(a: Sequence[str], b: Sequence[str]) -> Sequence[tuple[int, int]]:
    """Return places of a longest common subsequence (dynamic programming over what is left between the equal ends)."""
    start, shorter = 0, min(len(a), len(b))
    while start < shorter and a[start] == b[start]:
        start += 1
    tail = 0
    while tail < shorter - start and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    pairs = [(i, i) for i in range(start)]
    pairs += [(start + i, start + j) for i, j in _longest(a[start : len(a) - tail], b[start : len(b) - tail])]
    return pairs + [(len(a) - tail + i, len(b) - tail + i) for i in range(tail)]


def _longest(a: Sequence[str], b: Sequence[str]) -> Sequence[tuple[int, int]]:
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if a[i] == b[j] else max(lengths[i + 1][j], lengths[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


# -- states ----------------------------------------------------------------------------------------------------------


def _judge_sequence(verdict: Verdict, key: str, history: Sequence[Change], records: Sequence[Captured]) -> None:
    """Count versions that came twice, that came after a later one, and that never were."""
    places = {change.version: i for i, change in enumerate(history) if change.op is Op.UPSERT}
    seen: set[str] = set()
    highest = -1
    for name in (_name(record) for record in records if record.op is Op.UPSERT):
        if name not in places:
            verdict.phantoms += 1
            verdict.example(f"{key} {name} was never committed")
        elif name in seen:
            verdict.doubled += 1
        elif places[name] < highest:
            verdict.disorder += 1
            verdict.example(f"{key} {name} came after {history[highest].version}")
        seen.add(name)
        highest = max(highest, places.get(name, -1))


def _life(history: Sequence[Change]) -> set[str]:
    """Return the versions of the row that is there in the end: all since the last delete."""
    versions: set[str] = set()
    for change in history:
        if change.op is Op.DELETE:
            versions.clear()
        else:
            versions.add(change.version)
    return versions


def _by_key(captured: Sequence[Captured]) -> Mapping[str, Sequence[Captured]]:
    found: dict[str, list[Captured]] = defaultdict(list)
    for record in captured:
        found[record.key].append(record)
    return found


def _name(record: Change | Captured) -> str:
    """Return what names a record among those of its key; deletes have no name of their own."""
    return _DELETED if record.op is Op.DELETE else str(record.version)
