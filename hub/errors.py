"""What can go wrong at the exchange node, as one branch of the error tree."""

from __future__ import annotations

from agent.errors import Disposition, HuitongError, Side
from agent.i18n import N_


class StoreUnavailable(HuitongError):
    """The hub's store cannot be reached or cannot write now. Nothing was committed; the broker keeps the messages."""

    code = "HT-H001"
    side = Side.HUB
    disposition = Disposition.RECONNECT
    text = N_("the hub's store cannot be used now: {why}")
    hint = N_("messages wait safely at the broker; check the database, its disk and its account")


class LeaseLost(HuitongError):
    """Another hub process has taken over a department; what this one was about to write is rolled back."""

    code = "HT-H002"
    side = Side.HUB
    disposition = Disposition.RECONNECT
    text = N_("the lease of {departments} went to another hub process")


class RecordsCollide(HuitongError):
    """A bulk insert met a record id that is stored already; the group is redone one message at a time."""

    code = "HT-H003"
    side = Side.HUB
    disposition = Disposition.RETRY
    text = N_("a record id is stored already")


class Unstorable(HuitongError):
    """The database cannot take a value of this message, and never will."""

    code = "HT-H004"
    side = Side.HUB
    disposition = Disposition.QUARANTINE
    text = N_("the store cannot hold this message: {why}")


class BrokerRefused(HuitongError):
    """The broker's management interface did not do what admission asked for."""

    code = "HT-H010"
    side = Side.HUB
    disposition = Disposition.PAUSE
    text = N_("the management interface of the message broker refused: {why}")
    hint = N_("check broker.management in hub.yaml, or let the commands be printed: huitong hub admit CODE --print")


class BadKeyFile(HuitongError):
    """An enrolment file that cannot be trusted or read."""

    code = "HT-H011"
    side = Side.HUB
    disposition = Disposition.QUARANTINE
    text = N_("{path} holds no usable public key: {why}")
    hint = N_("ask the department for the file that this command wrote: huitong keys export")
