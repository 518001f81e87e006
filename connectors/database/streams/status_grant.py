"""What the DBA has to allow, and had better create, so that a status column can be read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.i18n import N_
from connectors.database.settings import StatusFrom
from connectors.database.tables.reader import TableReader


@dataclass(frozen=True, slots=True)
class StatusGrant:
    """Implements ddl.Installed. `account` is who writes, by default who reads."""

    reader: TableReader
    status: StatusFrom
    account: str = ""

    def create(self) -> Sequence[str]:
        """Return the grant, and the index where there is none."""
        grant = [] if self._database == "sqlite" else [self.grant()]
        return grant if self._indexed else [*grant, self._index()]

    def drop(self) -> Sequence[str]:
        """Return what takes the right away. The index stays: the application may have come to use it."""
        if self._database == "sqlite":
            return []
        return [f"REVOKE UPDATE ({self._columns}) ON {self._table} FROM {self._grantee()}"]

    def grant(self) -> str:
        """Return what lets the account write, in the SQL of the database."""
        if self._database == "sqlite":
            return N_("chmod and chown, so that the account of the agent may write the file and its folder")
        return f"GRANT UPDATE ({self._columns}) ON {self._table} TO {self._grantee()}"

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _database(self) -> str:
        return self.reader.database.name

    @property
    def _indexed(self) -> bool:
        return self.reader.pages.shape.table.is_indexed(self.status.column)

    @property
    def _table(self) -> str:
        return self.reader.database.quoted(self.reader.pages.shape.table)

    @property
    def _columns(self) -> str:
        return ", ".join(map(self._quoted, self.status.written))

    def _quoted(self, name: str) -> str:
        return self.reader.database.dialect.identifier_preparer.quote_identifier(name)

    def _grantee(self) -> str:
        if self._database != "mysql":
            return self._quoted(self.account or str(self.reader.session.value("SELECT current_user")))
        user, _at, host = str(self.reader.session.value("SELECT CURRENT_USER()")).rpartition("@")
        # For another account nobody knows from where it comes.
        return f"'{user}'@'{host}'" if self.account in ("", user) else f"'{self.account}'@'%'"

    def _index(self) -> str:
        shape = self.reader.pages.shape
        names = dict.fromkeys([self.status.column, *(column.name for column in shape.key)])
        name = self._quoted(f"huitong_{self.status.column}")
        return f"CREATE INDEX {name} ON {self._table} ({', '.join(map(self._quoted, names))})"
