"""Databases whose driver is an optional part of the product: it is handed in, so that their modules can be imported without."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from connectors.database.dialects.base import Database
from connectors.database.settings import ServerConnection

S = TypeVar("S", bound=ServerConnection)


class DrivenDatabase(Database, Generic[S]):
    """A database server behind a DB-API module. `application` is the name the DBA sees."""

    def __init__(self, settings: S, password: str | None, application: str, time_zone: str, driver: Any) -> None:
        self._settings = settings
        self._password = password
        self._application = application
        self._driver = driver
        self.account = settings.user
        super().__init__(time_zone)

    def engine_options(self) -> dict[str, Any]:
        """See Database."""
        return {"module": self._driver}
