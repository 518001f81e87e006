"""`huitong version`."""

from __future__ import annotations

import platform
import sqlite3

from agent import __version__
from agent.cli.base import Session, command, pass_session
from agent.i18n import N_


@command("version", N_("Version of this installation and of what it runs on."))
@pass_session
def version(session: Session) -> None:
    """Show the version."""
    facts = {
        "huitong": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
    }
    session.output.data(facts, lambda: [f"huitong {facts['huitong']}", *(f"{name} {facts[name]}" for name in list(facts)[1:])])
