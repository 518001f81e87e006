"""`huitong schema`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from agent.cli.base import Session, argument, command, pass_session
from agent.cli.output import as_json
from agent.errors import NotFound
from agent.i18n import N_
from agent.settings.json_schema import json_schema
from agent.settings.schemas import file_models
from connectors import BUILTIN

NAMES = ("agent", "hub", "message-type")


@command(
    "schema",
    N_(
        "JSON Schema of a configuration file, for editors.\nPut this line first in the file: # yaml-language-server: $schema=FILE"
    ),
)
@argument("name", type=click.Choice(NAMES), default="agent", metavar="agent|hub|message-type")
@pass_session
def schema(session: Session, name: str) -> None:
    """Print the schema; it is JSON in either form of output."""
    models = file_models(BUILTIN)
    if name not in models:
        raise NotFound(what=N_("schema"), name=name)
    document = json_schema(models[name], f"urn:huitong:schema:{name}")

    def text() -> Iterator[str]:
        yield as_json(document, indent=2)

    session.output.data(document, text)
