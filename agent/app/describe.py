"""What is there to be read: a table of a connection, or a CSV file. Looks only; opens nothing for writing."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.adapters.clock import SystemClock
from agent.app.places import secrets_of
from agent.app.propose import Column, Described, Possible
from agent.errors import NotFound, SettingsError
from agent.formats.csv_reader import CsvOptions, CsvReader
from agent.formats.encodings import Encoding, detect_encoding
from agent.i18n import N_
from agent.settings.agent_file import AgentFile

HEAD_BYTES: Final = 1 << 20
_DELIMITERS: Final = ",;\t|"


def describe_connection(settings: AgentFile, environment: Mapping[str, str], name: str, table: str) -> Described:
    """Return a table behind a connection. Raises NotFound, SettingsError, SecretMissing, SourceUnavailable, SourceRefused."""
    from connectors.database.connect import database_for  # noqa: PLC0415 - drivers are loaded only by who looks at tables
    from connectors.database.describe import describe_table  # noqa: PLC0415 - as above

    if name not in settings.connections:
        known = ", ".join(settings.connections) or "–"
        hint = N_("defined are: {known}; or describe a new one with --type, --host, --database, --user, --path")
        raise NotFound(N_("there is no connection named {name}"), hint=hint, name=name, known=known)
    secrets = secrets_of(settings, environment)
    database = database_for(
        settings.connections[name], lambda secret: secrets.get(secret).reveal(), settings.agent.timezone, "huitong init"
    )
    found = describe_table(database, table)
    columns = tuple(Column(column.name, column.type, column.comment) for column in found.columns)
    return Described(table, columns, found.comment, found.key, found.cursor)


def possible_on(
    settings: AgentFile, environment: Mapping[str, str], name: str, flow: str, block: Mapping[str, object]
) -> Possible:
    """Return how changes of a table can be seen; `block` is the `from:` of a flow. Raises as `describe_connection` does."""
    from connectors.database.connect import database_for  # noqa: PLC0415 - as above
    from connectors.database.settings import DatabaseFrom  # noqa: PLC0415 - as above
    from connectors.database.survey import survey  # noqa: PLC0415 - as above

    connection = settings.connections[name]
    secrets = secrets_of(settings, environment)
    database = database_for(connection, lambda secret: secrets.get(secret).reveal(), settings.agent.timezone, "huitong init")
    found = survey(flow, DatabaseFrom.of(**block), database, getattr(connection, "user", ""), SystemClock())
    return Possible(found.mode, found.why, found.passed, found.grants)


def describe_csv(path: Path) -> tuple[Described, Encoding, str]:
    """Return a CSV file by its header, its encoding and its delimiter. Raises NotFound, SettingsError, BadFile."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise NotFound(N_("there is no file {path}"), path=path) from None
    except OSError as error:
        raise SettingsError(N_("{path} cannot be read: {why}"), path=path, why=error.strerror or str(error)) from error
    whole = head[: head.rfind(b"\n") + 1] or head  # a character cut in the middle says nothing about the encoding
    encoding = detect_encoding(io.BytesIO(whole)).encoding
    first = whole.split(b"\n", 1)[0]
    delimiter = max(_DELIMITERS, key=lambda one: first.count(one.encode()))
    header = CsvReader(io.BytesIO(whole), CsvOptions(encoding=encoding, delimiter=delimiter)).header
    return Described(path.name, tuple(Column(name) for name in header.columns)), header.encoding, delimiter


def absolute(path: Path) -> Path:
    """Return a path as it has to stand in the settings."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, which operators put there on purpose
