"""What a connector gets from the composition root, and the one call by which it is built.

Every source class has `build(wiring)` as a class method; nothing else about a connector is known above this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from agent.events import Events
from agent.model import Quarantined
from agent.ports import Clock, Source
from agent.settings.base import SettingsModel

S = TypeVar("S", bound=SettingsModel)


def _no_secrets(name: str) -> str:
    raise KeyError(name)


def _nothing_rejected(_token_prefix: str) -> Iterable[Quarantined]:
    return ()


@dataclass(frozen=True, slots=True)
class Wiring(Generic[S]):
    """Everything a source may need.

    `settings` is the `from:` block of the flow, `connection` the connection it names. `columns` are the source columns that
    the map and the key need, in a fixed order; none means all there are. `secret` turns the name of a secret into its value;
    `language` is that of texts for the people of the department. `rejected` gives the quarantined items of this flow,
    durable, whose token begins with a text: what a source of files writes down for those who have to correct them.
    """

    flow: str
    settings: S
    clock: Clock
    events: Events
    time_zone: str
    language: str = "zh"
    connection: SettingsModel | None = None
    columns: tuple[str, ...] = ()
    secret: Callable[[str], str] = field(default=_no_secrets)
    rejected: Callable[[str], Iterable[Quarantined]] = field(default=_nothing_rejected)


class Buildable(Source, Protocol[S]):
    """A source that knows how to build itself."""

    @classmethod
    def build(cls, wiring: Wiring[S]) -> Self:
        """Return the source, unopened. Touches nothing outside."""
        ...
