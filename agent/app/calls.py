"""The calls of the control socket: names and arguments turned into acts of the desk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from agent.adapters.control import Caller, Handler
from agent.queries import Operator
from agent.services.desk import Desk

T = TypeVar("T", "_OfFlow", "_OfGap", "_OfMessages", "_OfSubjects")


class _OfFlow(msgspec.Struct):
    flow: str
    why: str = ""


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
