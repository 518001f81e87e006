"""The message types a hub knows, by the `dataschema` that messages carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.settings.message_types import MessageTypeFile, load_message_types
from agent.wire.codes import refusal
from hub.ingest.rules import RecordRules


@dataclass(frozen=True, slots=True)
class KnownType:
    """One message type in one version; with rules when its records are checked here as well."""

    name: str  # realestate.ownership@2
    dataschema: str
    title: str
    fields: int
    rules: RecordRules | None = None


class MessageTypes:
    """Immutable; a hub reads its definitions when it starts."""

    def __init__(self, known: Iterable[KnownType]) -> None:
        self._known = {one.dataschema: one for one in known}
        self._families = {_family(dataschema) for dataschema in self._known}

    def __iter__(self) -> Iterator[KnownType]:
        return iter(sorted(self._known.values(), key=lambda one: one.name))

    def require(self, dataschema: str) -> KnownType:
        """Return the type of a message. Raises BadMessage: unknown_type, unknown_version."""
        known = self._known.get(dataschema)
        if known is None:
            family = _family(dataschema)
            raise refusal("unknown_version" if family in self._families else "unknown_type", why=dataschema[:128])
        return known


def _family(dataschema: str) -> str:
    """Return a schema's URI without its last part, which is the version."""
    return dataschema.rstrip("/").rpartition("/")[0]


def read_types(folder: Path | None, checked: Iterable[str] = (), language: str = "en") -> MessageTypes:
    """Return the shipped definitions and those of a folder; `checked` names the types whose records the hub checks.

    Raises SettingsError with every problem in the definitions.
    """
    wanted = frozenset(checked)
    return MessageTypes(_known(one, one.name in wanted, language) for one in load_message_types(folder).values())


def _known(definition: MessageTypeFile, checked: bool, language: str) -> KnownType:
    rules = RecordRules(definition) if checked else None
    title = definition.title.zh if language == "zh" else definition.title.en
    return KnownType(definition.name, definition.dataschema, title, len(definition.fields), rules)
