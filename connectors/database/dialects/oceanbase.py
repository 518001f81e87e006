"""OceanBase in MySQL mode, through PyMySQL. For its Oracle mode there is no open driver.

What is special to it comes from the vendor's documents; it was never run against a server.
"""

from __future__ import annotations

from typing import Any, Final

from agent.errors import HuitongError, SourceRefused
from connectors.database.dialects.base import Session, too_slow
from connectors.database.dialects.mysql import MysqlDatabase

_TOO_SLOW: Final = frozenset({4012})


class OceanbaseDatabase(MysqlDatabase):
    """A tenant of OceanBase. Statements are limited by ob_query_timeout, which is ten seconds unless it is set."""

    name = "oceanbase"

    def connect_driver(self) -> Any:
        """See Database."""
        connection = super().connect_driver()
        timeout_us = round(self._settings.statement_timeout.total_seconds() * 1_000_000)
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION ob_query_timeout = {timeout_us}, ob_trx_timeout = {timeout_us}")
        return connection

    def incarnation(self, session: Session) -> str:
        """Return tenant and database. The UUID of a server would change with the node that a proxy takes."""
        try:
            tenant = session.value("SELECT effective_tenant_id()")
        except SourceRefused:
            tenant = self._settings.user.partition("@")[2]
        return f"oceanbase:{tenant}:{self._settings.database}"

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if number in _TOO_SLOW:
            return too_slow(self._settings.statement_timeout.total_seconds())
        return super().translate(error, connecting=connecting)
