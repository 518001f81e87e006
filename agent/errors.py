"""The error tree.

Adapters translate what their libraries raise into one of these at their edge, so nothing above them imports pika, SQLAlchemy
or paramiko. Each error carries a stable code, one sentence of what happened, a hint the operator can act on and the side
that has to act. `disposition` is the only place that decides what the host of an operation does about an error.

Texts are catalogue keys in English with `{named}` fields; `str(error)` is the English, `error.localised()` the language of
the context.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from agent.i18n import N_, _, spoken


class Side(StrEnum):
    """Who has to act."""

    SOURCE = "source"
    AGENT = "agent"
    HUB = "hub"
    NETWORK = "network"


class Disposition(StrEnum):
    """What the host of a failed operation does next."""

    RETRY = "retry"  # the same thing again, after a backoff
    RECONNECT = "reconnect"  # close, back off, open, go on; counts as no attempt
    QUARANTINE = "quarantine"  # this item only; its neighbours flow on
    PAUSE = "pause"  # every item would fail; stop the flow, raise the alarm, look again slowly
    FATAL = "fatal"  # stop the process; the service manager restarts it


class HuitongError(Exception):
    """Root of the tree; never raised itself."""

    code: ClassVar[str] = "HT-E000"
    side: ClassVar[Side] = Side.AGENT
    disposition: ClassVar[Disposition] = Disposition.FATAL
    text: str = N_("an operation failed")
    hint: str = ""

    def __init__(self, text: str | None = None, /, *, hint: str | None = None, **details: object) -> None:
        if text is not None:
            self.text = text
        if hint is not None:
            self.hint = hint
        self.details = details
        super().__init__(text, hint, details)

    def __str__(self) -> str:
        return _fill(self.text, self.details)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.text, self.hint, self.details))

    def localised(self) -> tuple[str, str]:
        """Return (text, hint) in the language of the context."""
        details = spoken(self.details)
        return _fill(_(self.text), details), _fill(_(self.hint), details)


def _fill(template: str, details: dict[str, object]) -> str:
    return template.format_map(details) if details else template


def _rebuild(kind: type[HuitongError], text: str, hint: str, details: dict[str, object]) -> HuitongError:
    return kind(text, hint=hint, **details)


# -- configuration and the command line ------------------------------------------------------------------------------


class SettingsError(HuitongError):
    """The configuration is wrong; `problems` (if any) name each place."""

    code = "HT-C000"
    text = N_("the configuration has errors")
    hint = N_("run: huitong validate")

    def __init__(
        self,
        text: str | None = None,
        /,
        *,
        hint: str | None = None,
        problems: tuple[object, ...] = (),
        **details: object,
    ) -> None:
        super().__init__(text, hint=hint, **details)
        self.problems = problems


class SecretMissing(SettingsError):
    """A named secret has no value, or its file can be read by others."""

    code = "HT-C050"
    text = N_("the secret {name} has no value")
    hint = N_("store it with: huitong secret set {name}; at a hub, write the file {name} into its folder of secrets, chmod 600")


class Busy(HuitongError):
    """Another process holds what this one needs; try again later (exit 75)."""

    code = "HT-S002"
    text = N_("another Huitong process is at work on this store: {path}")
    hint = N_("stop it, or ask it: huitong status")


class Denied(HuitongError):
    """The operating system refused (exit 77)."""

    code = "HT-S003"
    text = N_("no permission: {path}")
    hint = N_("run as the user huitong, or correct the owner and mode of this path")


class NotFound(HuitongError):
    """The thing an operator named does not exist (exit 1). `what`, where given, is a catalogue key."""

    code = "HT-E404"
    text = N_("there is no {what} named {name}")


class Conflict(HuitongError):
    """The thing exists, but is not in a state that allows the action (exit 1)."""

    code = "HT-E409"
    text = N_("this action is not possible now: {why}")


# -- sources ---------------------------------------------------------------------------------------------------------


class SourceUnavailable(HuitongError):
    """The source cannot be reached now."""

    code = "HT-D001"
    side = Side.SOURCE
    disposition = Disposition.RECONNECT
    text = N_("the source cannot be reached: {why}")
    hint = N_("check that it is up and that address, account and password are right: huitong doctor")


class SourceRefused(HuitongError):
    """The source answers, but does not allow or does not have what the flow asks for."""

    code = "HT-D002"
    side = Side.SOURCE
    disposition = Disposition.PAUSE
    text = N_("the source refuses: {why}")
    hint = N_("check the table, its columns and the grants: huitong doctor")


class SourceGone(HuitongError):
    """The stored position, or the source it belongs to, no longer exists; data may have been missed."""

    code = "HT-D003"
    side = Side.SOURCE
    disposition = Disposition.PAUSE
    text = N_("the position {position} is no longer available at the source: {why}")
    hint = N_("a numbered gap was recorded; compare, then resume: huitong flow resume {flow} --why TEXT")


class SourceChanged(HuitongError):
    """The columns of a table are not what they were, and the flow is not to go on by itself.

    `difference` says what changed, in names and types; `shape` is what the host stores once the flow is paused, because whoever
    resumes it accepts the columns as they are now.
    """

    code = "HT-D004"
    side = Side.SOURCE
    disposition = Disposition.PAUSE
    text = N_("the columns of {table} have changed: {difference}")
    hint = N_("a numbered gap was recorded; if the flow may go on with this table: huitong flow resume {flow} --why TEXT")

    def __init__(
        self,
        text: str | None = None,
        /,
        *,
        hint: str | None = None,
        shape: str = "",
        **details: object,
    ) -> None:
        super().__init__(text, hint=hint, **details)
        self.shape = shape


class BadRecord(HuitongError):
    """One record cannot be read or translated; `reason` is a stable word for grouping."""

    code = "HT-R001"
    side = Side.SOURCE
    disposition = Disposition.QUARANTINE
    text = N_("field {field}: {why}")
    hint = N_("correct it at the source; the corrected record is then sent by itself")

    def __init__(
        self,
        text: str | None = None,
        /,
        *,
        reason: str,
        field: str = "",
        hint: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(text, hint=hint, field=field, **details)
        self.reason = reason
        self.field = field


class UnreadableRecord(BadRecord):
    """One record of the input could not be read at all: its bytes are kept as they were."""

    code = "HT-R002"
    text = N_("a record cannot be read: {why}")


# -- the broker ------------------------------------------------------------------------------------------------------


class NotConnected(HuitongError):
    """There is no usable connection to the broker."""

    code = "HT-N001"
    side = Side.NETWORK
    disposition = Disposition.RECONNECT
    text = N_("no connection to the message broker: {why}")
    hint = N_("what is captured waits safely in the outbox, what was sent at the broker; check network and address")


class Forbidden(HuitongError):
    """The broker refuses our credentials, our certificate or our rights."""

    code = "HT-N021"
    side = Side.HUB
    disposition = Disposition.PAUSE
    text = N_("the message broker refuses this node: {why}")
    hint = N_("ask the hub to run: huitong hub admit {node}")


class Unroutable(HuitongError):
    """The broker has no queue for our message: the topology at the hub is wrong, every message would fail."""

    code = "HT-N022"
    side = Side.HUB
    disposition = Disposition.PAUSE
    text = N_("the message broker has no route for {exchange}")
    hint = N_("nothing is lost; ask the hub to declare its topology again: huitong hub admit {node}")


class Refused(HuitongError):
    """The broker did not take a message (queue full, internal error, blocked)."""

    code = "HT-N023"
    side = Side.HUB
    disposition = Disposition.RETRY
    text = N_("the message broker did not take the message: {why}")
    hint = N_("it is sent again by itself; if this lasts, ask the hub whether its consumer runs")


# -- the wire --------------------------------------------------------------------------------------------------------


class BadMessage(HuitongError):
    """Bytes from a peer that break the protocol; `reason` is a stable word."""

    code = "HT-W001"
    disposition = Disposition.QUARANTINE
    text = N_("not a valid exchange message: {why}")

    def __init__(self, text: str | None = None, /, *, reason: str, hint: str | None = None, **details: object) -> None:
        super().__init__(text, hint=hint, **details)
        self.reason = reason


class BadSignature(BadMessage):
    """The signature does not verify over the exact octets received, or may not be used here."""

    code = "HT-W002"
    text = N_("the signature does not verify: {why}")


class BadReceipt(BadMessage):
    """A receipt that must never settle anything."""

    code = "HT-W003"
    side = Side.HUB
    text = N_("not a valid receipt: {why}")


class Fork(HuitongError):
    """The hub has seen a second history for a flow: a clone of this agent, or a store put back from a copy."""

    code = "HT-W010"
    disposition = Disposition.PAUSE
    text = N_("flow {flow} is frozen: the hub already has another history of it")
    hint = N_("make sure no second agent runs with this identity, then: huitong restore --why TEXT")


# -- the store -------------------------------------------------------------------------------------------------------


class StoreError(HuitongError):
    """The local store failed in a way that must not be worked around."""

    code = "HT-S001"
    text = N_("the local store failed: {why}")
    hint = N_("look at disk and file system, then start again; nothing that was promised is lost")


class StoreFull(HuitongError):
    """There is no room to capture more. The source is the buffer until there is."""

    code = "HT-S010"
    disposition = Disposition.PAUSE
    text = N_("capture pauses: {path} has {free_bytes} bytes free, the low-water mark is {mark_bytes}")
    hint = N_("free some space; sending goes on and capture resumes by itself")


def disposition(error: BaseException) -> Disposition:
    """Decide what the host of a failed operation does next. What is unknown is fatal."""
    return error.disposition if isinstance(error, HuitongError) else Disposition.FATAL
