"""Every code an operator can meet, in one form: configuration problems and the error tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from agent.cli.output import IMPACT
from agent.errors import HuitongError, SettingsError, Side
from agent.i18n import N_, _
from agent.settings.codes import CODES, WARNINGS

ERROR_MODULES: Final = ("agent.errors", "agent.formats.errors", "agent.mapping.problems", "hub.errors")
"""Where errors with a code are declared."""

NOTHING_CHANGED: Final = N_("nothing was changed; a running agent goes on with the configuration it has")
ONLY_A_WARNING: Final = N_("none: the agent starts")


@dataclass(frozen=True, slots=True)
class CodePage:
    """What is known of one code. All texts are catalogue keys; any but `text` may be empty."""

    code: str
    text: str
    cause: str
    impact: str
    action: str
    side: Side

    def symptom(self) -> str:
        """Return what an operator sees, in the language of the context, with … for what differs from case to case."""
        return re.sub(r"\{\w+\}", "…", _(self.text))

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield (name, text) of cause, effect and action, as far as known, in the language of the context."""
        for name, fact in ((N_("cause"), self.cause), (N_("effect"), self.impact), (N_("action"), self.action)):
            if fact:
                yield _(name), re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), _(fact))


def code_pages() -> dict[str, CodePage]:
    """Return every code, in the order of the codes."""
    pages = [*_error_pages(), *_settings_pages()]  # of a code that both may raise, the settings tell more
    return {page.code: page for page in sorted(pages, key=lambda page: page.code)}


def _settings_pages() -> Iterator[CodePage]:
    for info in CODES.values():
        impact = _IMPACTS.get(info.code) or (ONLY_A_WARNING if info.code in WARNINGS else NOTHING_CHANGED)
        yield CodePage(info.code, info.text, info.cause, impact, info.fix, Side.AGENT)


def _error_pages() -> Iterator[CodePage]:
    for name in ERROR_MODULES:
        with suppress(ModuleNotFoundError):  # an agent-only installation has no hub
            import_module(name)
    for kind in _tree(HuitongError):
        if kind.__module__ in ERROR_MODULES:
            impact = _IMPACTS.get(kind.code) or IMPACT[kind.disposition]
            if issubclass(kind, SettingsError):
                impact = NOTHING_CHANGED
            action = _ACTIONS.get(kind.code) or kind.hint
            yield CodePage(kind.code, kind.text, _CAUSES.get(kind.code, ""), impact, action, kind.side)


def _tree(kind: type[HuitongError]) -> Iterator[type[HuitongError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


_UNTOUCHED: Final = N_("nothing was changed")

_IMPACTS: Final = {
    "HT-M001": N_("the map is not checked here; the hub decides whether it knows the type"),
    "HT-S001": N_("the agent stops and is started again; nothing that was promised is lost"),
    "HT-S002": N_("nothing was changed; the other process goes on"),
    "HT-S003": _UNTOUCHED,
    "HT-E404": _UNTOUCHED,
    "HT-E409": _UNTOUCHED,
}
"""What errors mean that stop a process or a command; the others are told by their disposition."""

_CAUSES: Final = {
    "HT-C000": N_("At least one file of the configuration has a problem."),
    "HT-C050": N_("The secret was never stored on this machine, or its file may be read by other accounts."),
    "HT-D001": N_("The database or folder is down, unreachable, or refuses the account."),
    "HT-D002": N_("A table or column is missing or was renamed, or the account lacks a right."),
    "HT-D003": N_("The source was restored, replaced, or dropped its log before it was read."),
    "HT-D004": N_("Columns of the table were added, dropped, renamed or retyped, and the flow must not go on by itself."),
    "HT-E404": N_("The name is misspelt, or what it named was removed."),
    "HT-E409": N_("Something else has to happen first; the message says what."),
    "HT-F001": N_("The file is damaged, empty, of another format, or in an encoding other than the one configured."),
    "HT-H001": N_("The hub's database is down, unreachable, read-only or out of disk."),
    "HT-H002": N_("This hub process was stopped or cut off for so long that another one took over."),
    "HT-H003": N_("A department repeated a record in another message."),
    "HT-H004": N_("A value holds something the database has no form for, a zero character for example."),
    "HT-H010": N_("The management interface of the broker is not reachable, or its account lacks the administrator tag."),
    "HT-H011": N_("The file is not the one the department exported, or it was changed on its way."),
    "HT-M020": N_("A value can be converted in one way only."),
    "HT-M021": N_("A line of the map names nothing to take the value from."),
    "HT-M022": N_("Two lines of the map fill the same field."),
    "HT-M023": N_("The name of a check, a code list or a time zone is misspelt."),
    "HT-M024": N_("Only text, whole numbers, true or false and nothing can be sent as a constant."),
    "HT-M025": N_("A field of a message is named with letters, digits and _, so that every recipient can read it."),
    "HT-N001": N_("The network, a firewall or the message broker is down."),
    "HT-N021": N_("Account, password or certificate is wrong or expired, or the hub has not admitted this node."),
    "HT-N022": N_("The hub has not declared the queue of this node, or removed it."),
    "HT-N023": N_("The queue at the hub is full because nothing consumes it, or the broker is short of memory or disk."),
    "HT-R001": N_("The value breaks a rule of the map or of the message type."),
    "HT-R002": N_("A line of a file is broken, or the driver cannot decode a value of a row."),
    "HT-S001": N_("The disk or the file system failed, or the file of the store is damaged."),
    "HT-S002": N_("The agent runs as a service, or another command works on the same store."),
    "HT-S003": N_("The command runs under another account than the service, or a file changed its owner."),
    "HT-S010": N_("The disk holding the outbox is nearly full."),
    "HT-W001": N_("A peer sent something that is not a message of this protocol."),
    "HT-W002": N_("The message was changed on its way, or signed with a key that is unknown or revoked."),
    "HT-W003": N_("A receipt is not signed by a trusted key of the hub, or names other contents than were sent."),
    "HT-W010": N_("A second agent runs with the same identity, or the store was put back from a copy."),
}

_ACTIONS: Final = {
    "HT-E404": N_("compare the name with what huitong status and huitong explain show"),
    "HT-E409": N_("do what the message says first, then repeat the command"),
    "HT-H002": N_("nothing; if it comes back, look at the load and the clock of this machine"),
    "HT-H003": N_("nothing: the group is stored again one message at a time"),
    "HT-H004": N_("look at it: huitong hub quarantine; the department has to correct the value"),
    "HT-M020": N_("keep one of them"),
    "HT-M021": N_("name a column, or give a constant: FIELD: {const: VALUE}"),
    "HT-M022": N_("remove one of the two lines"),
    "HT-M024": N_("put the value in quotes"),
    "HT-M025": N_("name it as the message type does"),
    "HT-W001": N_("look at it where it was put aside; ask the sender which version it runs"),
    "HT-W002": N_("compare the keys of both sides: huitong keys; a changed message is a security incident"),
    "HT-W003": N_("ask the hub for its current public key; until then the message stays without a receipt"),
}
"""What to do about errors whose class says nothing, because it depends on where they come up."""
