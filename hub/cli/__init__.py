"""`huitong hub`: the exchange node's part of the command line. Subcommands are imported only when they are used."""

from __future__ import annotations

from typing import Final

from agent.i18n import N_
from hub.cli.base import Entry, LazyGroup

COMMANDS: Final = (
    Entry("init", "hub.cli.init:init", N_("write a first hub.yaml, a signing key and an empty store")),
    Entry("validate", "hub.cli.validate:validate", N_("check hub.yaml, secrets, keys and message types; change nothing")),
    Entry("run", "hub.cli.run:run", N_("run one process of the hub")),
    Entry("admit", "hub.cli.admit:admit", N_("admit a department: queues, user, rights and key")),
    Entry("suspend", "hub.cli.admit:suspend", N_("take nothing more from a department, or take it again")),
    Entry("keys", "hub.cli.keys:keys", N_("keys of departments, and the hub's own")),
    Entry("status", "hub.cli.status:status", N_("departments and flows on one screen")),
    Entry("show", "hub.cli.show:show", N_("one message, or the history of one key")),
    Entry("quarantine", "hub.cli.quarantine:quarantine", N_("refused messages")),
    Entry("audit", "hub.cli.audit:audit", N_("the audit chain of a department")),
    Entry("types", "hub.cli.types:types", N_("message types")),
)

hub: Final = LazyGroup("hub", COMMANDS, help=N_("The exchange node: admit departments, run, look, find."))
