"""The calls of the control socket: names and arguments turned into acts of the desk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from agent.adapters.control import Caller, Handler
from agent.model import WalkKind, WalkOrder
from agent.queries import Operator
from agent.services.desk import Desk

T = TypeVar("T", "_OfFlow", "_OfCompare", "_OfBackfill", "_OfGap", "_OfMessages", "_OfSubjects")


class _OfFlow(msgspec.Struct):
    flow: str
    why: str = ""


class _OfCompare(msgspec.Struct):
    flow: str
    why: str
    accept_deletes: bool = False


class _OfBackfill(msgspec.Struct):
    flow: str
    why: str = ""
    condition: str = ""
    since: str = ""
    until: str = ""
    first: str = ""
    last: str = ""
    again: bool = False

    def order(self) -> WalkOrder:
        """Return what is to be read."""
        return WalkOrder(
            WalkKind.BACKFILL,
            condition=self.condition,
            since=self.since,
            until=self.until,
            first=self.first,
            last=self.last,
            again=self.again,
        )


class _OfGap(msgspec.Struct):
    flow: str
    number: int
    why: str


class _OfMessages(msgspec.Struct):
    message_ids: list[str]
    why: str


class _OfSubjects(msgspec.Struct):
    subjects: list[str]
    why: str


def desk_calls(desk: Desk) -> Mapping[str, Handler]:
    """Return the handlers by name."""
    return {
        "flow.pause": _call(_OfFlow, lambda args, by: desk.pause(args.flow, by)),
        "flow.resume": _call(_OfFlow, lambda args, by: desk.resume(args.flow, by)),
        "flow.run": _call(_OfFlow, lambda args, _by: desk.run(args.flow)),
        "flow.compare": _call(_OfCompare, lambda args, by: desk.compare(args.flow, by, accept_deletes=args.accept_deletes)),
        "flow.backfill": _call(_OfBackfill, lambda args, by: desk.backfill(args.flow, args.order(), by)),
        "flow.count": _call(_OfBackfill, lambda args, _by: {"rows": desk.count(args.flow, args.order())}),
        "gap.close": _call(_OfGap, lambda args, by: desk.close_gap(args.flow, args.number, by)),
        "message.resend": _call(_OfMessages, lambda args, by: desk.resend(args.message_ids, by)),
        "dead.retry": _call(_OfSubjects, lambda args, by: desk.retry(args.subjects, by)),
        "dead.discard": _call(_OfSubjects, lambda args, by: desk.discard(args.subjects, by)),
    }


def _call(kind: type[T], act: Callable[[T, Operator], object]) -> Handler:
    def handle(caller: Caller, args: dict[str, object]) -> object:
        wanted = msgspec.convert(args, kind)
        done = act(wanted, Operator(caller.name, wanted.why))
        return {"done": True} if done is None else msgspec.to_builtins(done)

    return handle
