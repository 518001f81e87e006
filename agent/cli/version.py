"""`huitong version`."""

from __future__ import annotations

import platform

from agent import __version__
from agent.adapters.store.engine import engine_version
from agent.cli.base import Session, command, pass_session
from agent.i18n import N_


@command("version", N_("Version of this installation and of what it runs on."))
@pass_session
def version(session: Session) -> None:
    """Show the version."""
    facts = {
        "huitong": __version__,
        "python": platform.python_version(),
        "sqlite": ".".join(map(str, engine_version())),
        "system": f"{platform.system()} {platform.machine()}",
    }
    session.output.data(facts, lambda: [f"huitong {facts['huitong']}", *(f"{name} {facts[name]}" for name in list(facts)[1:])])
