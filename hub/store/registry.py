"""Registry on SQLAlchemy Core: departments and pinned keys, every change audited in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from agent.errors import Conflict, NotFound
from agent.i18n import N_
from agent.wire.signature import KeyState, PublicKey
from hub import audit
from hub.audit import Head
from hub.model import Department, DepartmentState
from hub.store import schema as t
from hub.store.sql import SqlStore

_LATER = {KeyState.ACTIVE: 0, KeyState.RETIRING: 1, KeyState.REVOKED: 2}


class SqlRegistry:
    """Registry over the same database as a SqlStore."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def departments(self) -> Sequence[Department]:
        """Return all departments in order of their code."""
        with self._store.transaction() as connection:
            rows = connection.execute(select(t.department).order_by(t.department.c.code)).all()
        return [Department(r.code, r.title, r.contact, DepartmentState(r.state), r.admitted_at) for r in rows]

    def keys(self, owner: str | None = None) -> Sequence[PublicKey]:
        """Return pinned keys, oldest first."""
        query = select(t.public_key).order_by(t.public_key.c.added_at, t.public_key.c.kid)
        if owner is not None:
            query = query.where(t.public_key.c.owner == owner)
        with self._store.transaction() as connection:
            return [_key(row) for row in connection.execute(query)]

    def admit(self, department: Department, key: PublicKey | None, by: str) -> bool:
        """Register or renew a department and pin its key.

        A renewal changes the title and contact that are given now, never the state: who was suspended stays so.
        """
        words = {"title": department.title, "contact": department.contact}
        given = {name: value for name, value in words.items() if value}
        values = {**words, "state": department.state.value}
        with self._store.transaction() as connection:
            new = not _known(connection, department.code)
            if new:
                row = {"code": department.code, **values, "admitted_at": department.admitted_at}
                connection.execute(insert(t.department).values(row))
                head = {"department": department.code, "sequence": 0, "hash": audit.GENESIS}
                connection.execute(insert(t.audit_head).values(head))
            elif given:
                connection.execute(update(t.department).where(t.department.c.code == department.code).values(given))
            _audit(
                connection,
                department.code,
                department.admitted_at,
                by,
                "admitted" if new else "renewed",
                **(values if new else given),
            )
            if key is not None:
                _pin(connection, key, department.admitted_at, by)
        return new

    def set_state(self, code: str, state: DepartmentState, at: datetime, by: str) -> None:
        """Suspend or readmit a department."""
        with self._store.transaction() as connection:
            change = update(t.department).where(t.department.c.code == code).values(state=state.value)
            if connection.execute(change).rowcount == 0:
                raise _no_department(code)
            _audit(connection, code, at, by, state.value)

    def add_key(self, key: PublicKey, at: datetime, by: str) -> None:
        """Pin a key."""
        with self._store.transaction() as connection:
            if not _known(connection, key.owner):
                raise _no_department(key.owner)
            _pin(connection, key, at, by)

    def set_key(self, kid: str, state: KeyState, at: datetime, by: str) -> None:
        """Retire or revoke a key."""
        with self._store.transaction() as connection:
            row = connection.execute(select(t.public_key).where(t.public_key.c.kid == kid)).one_or_none()
            if row is None:
                raise NotFound(what=N_("key"), name=kid)
            if _LATER[state] < _LATER[KeyState(row.state)]:
                raise Conflict(why=f"{kid}: {row.state}")
            change = update(t.public_key).where(t.public_key.c.kid == kid).values(state=state.value, changed_at=at)
            connection.execute(change)
            _audit(connection, row.owner, at, by, f"key_{state.value}", kid=kid)


def _known(connection: Connection, code: str) -> bool:
    return connection.scalar(select(t.department.c.code).where(t.department.c.code == code)) is not None


def _pin(connection: Connection, key: PublicKey, at: datetime, by: str) -> None:
    row = connection.execute(select(t.public_key).where(t.public_key.c.kid == key.kid)).one_or_none()
    if row is not None:
        if row.owner != key.owner or row.state == KeyState.REVOKED:
            raise Conflict(why=f"{key.kid}: {row.owner}, {row.state}")
        return
    values = {"kid": key.kid, "owner": key.owner, "alg": key.alg, "spki": key.public, "state": key.state.value}
    connection.execute(insert(t.public_key).values(**values, added_at=at, changed_at=at))
    _audit(connection, key.owner, at, by, "key_added", kid=key.kid, alg=key.alg)


def _audit(connection: Connection, department: str, at: datetime, by: str, action: str, **facts: str) -> None:
    h = t.audit_head.c
    row = connection.execute(select(t.audit_head).where(h.department == department).with_for_update()).one()
    entry = json.dumps({"action": action, "by": by, **facts}, ensure_ascii=False, separators=(",", ":"))
    link = audit.append(Head(row.sequence, row.hash), department, entry, at)
    values = {
        "department": department,
        "sequence": link.sequence,
        "previous": link.previous,
        "hash": link.hash,
        "entry": link.entry,
        "at": at,
    }
    connection.execute(insert(t.audit).values(values))
    moved = update(t.audit_head).where(h.department == department).values(sequence=link.sequence, hash=link.hash)
    connection.execute(moved)


def _key(row: Any) -> PublicKey:
    return PublicKey(kid=row.kid, owner=row.owner, alg=row.alg, public=row.spki, state=KeyState(row.state))


def _no_department(code: str) -> NotFound:
    return NotFound(what=N_("department"), name=code)
