"""Credentials of workers on other machines."""

from collections.abc import Sequence
from typing import Any

import msgspec

from taskyard.core.access.principals import AuditEntry
from taskyard.core.access.worker_tokens import StoredWorkerToken, WorkerToken
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.instants import Instant
from taskyard.store.sql.access import append_audit
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.transactions import Repository, writes


class SqlWorkerTokens(Repository):
    """Implements ``ports.worker_tokens.WorkerTokenStore``."""

    @writes
    async def add(self, token: WorkerToken, digest: bytes, now: Instant, entry: AuditEntry) -> None:
        """See the port."""
        values = {
            "name": token.name,
            "digest": digest,
            "tags": msgspec.json.encode(token.tags).decode(),
            "created_at": token.created_at,
            "created_by": token.created_by,
            "expires_at": token.expires_at,
            "now": now,
        }

        def operation(connection: Connection) -> None:
            if not connection.execute("worker_tokens.add", values).rowcount:
                raise Conflict(
                    f"there is a valid worker token {token.name!r} already; revoke it first, or"
                    " choose another name"
                )
            append_audit(connection, entry)

        await self._session.write_urgently(operation)

    async def find(self, name: str) -> StoredWorkerToken | None:
        """See the port."""
        return await self._session.read(lambda connection: _find(connection, name))

    async def page(self, after: str | None, limit: int) -> list[WorkerToken]:
        """See the port."""
        key = {"after": after or "", "limit": limit}
        rows = await self._session.read(
            lambda connection: connection.execute("worker_tokens.page", key).fetchall()
        )
        return [_token(row) for row in rows]

    @writes
    async def revoke(self, name: str, now: Instant, entry: AuditEntry) -> WorkerToken:
        """See the port."""

        def operation(connection: Connection) -> WorkerToken:
            key = {"name": name, "now": now}
            if connection.execute("worker_tokens.revoke", key).rowcount:
                append_audit(connection, entry)
            found = _find(connection, name)
            if found is None:
                raise NotFound("worker token", name)
            return found.token

        return await self._session.write_urgently(operation)

    @writes
    async def seen(self, name: str, digest: bytes, now: Instant) -> None:
        """See the port."""
        values = {"name": name, "digest": digest, "now": now}

        def operation(connection: Connection) -> None:
            connection.execute("worker_tokens.seen", values)

        await self._session.write(operation)


def _find(connection: Connection, name: str) -> StoredWorkerToken | None:
    row = connection.execute("worker_tokens.find", {"name": name}).fetchone()
    return StoredWorkerToken(_token(row), row[7]) if row else None


def _token(row: Sequence[Any]) -> WorkerToken:
    return WorkerToken(
        name=row[0],
        tags=msgspec.json.decode(row[1], type=tuple[str, ...]),
        created_at=row[2],
        created_by=row[3],
        expires_at=row[4],
        revoked_at=row[5],
        last_seen_at=row[6],
    )
