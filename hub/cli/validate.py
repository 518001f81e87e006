"""`huitong hub validate`: everything a start needs that can be checked without a network."""

from __future__ import annotations

import os

from agent.i18n import N_, _
from hub.app import broker_of, facts_of, keys_of, location_of, management_of, secrets_of, types_of
from hub.cli.base import HubSession, command, pass_session


@command(
    "validate",
    N_("Check hub.yaml, secrets, keys and message types; change nothing.\nA start does the same first; nothing is connected to."),
)
@pass_session
def validate(session: HubSession) -> int:
    """Make every part that does not connect; what is wrong is raised, with every problem of the file at once."""
    settings = session.settings()
    secrets, keys = secrets_of(settings, os.environ), keys_of(settings)
    location_of(settings, secrets)
    broker_of(settings, secrets)
    management_of(settings, secrets)
    signer = keys.signer()
    facts_of(settings, keys)
    types = len(list(types_of(settings)))
    told = {"valid": True, "config": str(session.config), "kid": signer.kid, "message_types": types}
    session.output.data(told, lambda: [f"√ {session.config}", _(N_("√ signs with {kid}")).format(kid=signer.kid)])
    return 0
