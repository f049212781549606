"""Tokens, users, secrets and the audit trail.

What exists already is told by the insert itself, which then adds nothing: a constraint's error
would fail everybody in the writer's batch, and what was looked for before may come meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from taskyard.core.access.principals import AuditEntry, Role, Token, User
from taskyard.core.changes import Cached
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.access import EncryptedValue, SecretRecord, StoredToken, StoredUser
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_name
from taskyard.store.sql.transactions import Repository, Session, writes

AUDIT_KEPT: Final = 100_000
"""Entries of the audit trail kept for each workspace."""
REFUSED_SHARE: Final = 10
"""Of refused attempts one entry is kept for so many others, so that they never displace those."""

_TRIM_EVERY: Final = 64
"""Looking for entries to drop costs too much to do at each one; a few more than the limit stay."""

_LAST: Final = 2**63 - 1


class SqlAccessStore(Repository):
    """Implements the token, user, secret and audit stores."""

    def __init__(self, session: Session, audit_kept: int = AUDIT_KEPT) -> None:
        """Prepare; ``audit_kept`` is how many entries of each workspace's audit trail stay."""
        super().__init__(session)
        self._audit_kept = audit_kept

    @writes
    async def add_token(self, token: Token, digest: bytes, entry: AuditEntry) -> None:
        """See ``TokenStore``."""

        def operation(connection: Connection) -> None:
            values = {**structs.asdict(token), "role": int(token.role), "digest": digest}
            if not connection.execute("access.insert_token", values).rowcount:
                raise Conflict(f"there is a token {token.id!r} already")
            self._append(connection, entry)

        await self._session.write_urgently(operation)

    async def find_token(self, token_id: str) -> StoredToken | None:
        """See ``TokenStore``."""

        def operation(connection: Connection) -> StoredToken | None:
            row = connection.execute("access.find_token", {"id": token_id}).fetchone()
            return StoredToken(_token(row), row[8]) if row else None

        return await self._session.read(operation)

    async def tokens(self, workspace: WorkspaceName, after: str | None, limit: int) -> list[Token]:
        """See ``TokenStore``."""
        return [
            _token(row) for row in await self._page("access.list_tokens", workspace, after, limit)
        ]

    @writes
    async def revoke_token(
        self, workspace: WorkspaceName, token_id: str, now: Instant, entry: AuditEntry
    ) -> Token:
        """See ``TokenStore``."""

        def operation(connection: Connection) -> Token:
            row = connection.execute("access.find_token", {"id": token_id}).fetchone()
            if row is None or row[2] != workspace:
                raise NotFound("token", token_id)
            if connection.execute("access.revoke_token", {"id": token_id, "now": now}).rowcount:
                self._append(connection, entry)
                self._session.counts.outdate(Cached.TOKEN, token_id)
            return _token(connection.execute("access.find_token", {"id": token_id}).fetchone())

        return await self._session.write_urgently(operation)

    @writes
    async def note_uses(self, uses: Mapping[str, Instant]) -> None:
        """See ``TokenStore``."""
        rows = [{"id": token_id, "at": at} for token_id, at in sorted(uses.items())]

        def operation(connection: Connection) -> None:
            for row in rows:
                connection.execute("access.note_use", row)

        await self._session.write(operation)

    @writes
    async def add_user(self, user: User, password_hash: str, entry: AuditEntry) -> None:
        """See ``UserStore``."""

        def operation(connection: Connection) -> None:
            values: dict[str, Any] = {**structs.asdict(user), "role": int(user.role)}
            values["password_hash"] = password_hash
            if not connection.execute("access.insert_user", values).rowcount:
                raise Conflict(f"the user name {user.name!r} is taken")
            self._append(connection, entry)

        await self._session.write_urgently(operation)

    async def find_user(self, name: str) -> StoredUser | None:
        """See ``UserStore``."""

        def operation(connection: Connection) -> StoredUser | None:
            row = connection.execute("access.find_user", {"name": name}).fetchone()
            return StoredUser(_user(row), row[4]) if row else None

        return await self._session.read(operation)

    async def users(self, workspace: WorkspaceName, after: str | None, limit: int) -> list[User]:
        """See ``UserStore``."""
        return [
            _user(row) for row in await self._page("access.list_users", workspace, after, limit)
        ]

    async def remove_user(self, workspace: WorkspaceName, name: str, entry: AuditEntry) -> None:
        """See ``UserStore``."""
        await self._change(
            "access.delete_user", {"workspace": workspace, "name": name}, "user", entry
        )

    async def set_password(
        self, workspace: WorkspaceName, name: str, password_hash: str, entry: AuditEntry
    ) -> None:
        """See ``UserStore``."""
        values = {"workspace": workspace, "name": name, "password_hash": password_hash}
        await self._change("access.set_password", values, "user", entry)

    @writes
    async def put_secret(
        self, workspace: WorkspaceName, name: str, value: bytes, now: Instant, entry: AuditEntry
    ) -> bool:
        """See ``SecretStore``."""
        key = {"workspace": workspace, "name": name}

        def operation(connection: Connection) -> bool:
            lock_name(connection, "secret", workspace, name)
            known = connection.execute("access.secret_exists", key).fetchone()
            connection.execute("access.put_secret", {**key, "value": value, "now": now})
            self._append(connection, entry)
            return known is None

        return await self._session.write(operation)

    async def secrets(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[SecretRecord]:
        """See ``SecretStore``."""
        rows = await self._page("access.list_secrets", workspace, after, limit)
        return [SecretRecord(*row) for row in rows]

    async def sealed(self, workspace: WorkspaceName, names: Sequence[str]) -> dict[str, bytes]:
        """See ``SecretStore``."""

        def operation(connection: Connection) -> dict[str, bytes]:
            found = {}
            for name in names:
                key = {"workspace": workspace, "name": name}
                if row := connection.execute("access.sealed_secret", key).fetchone():
                    found[name] = row[0]
            return found

        return await self._session.read(operation)

    async def delete_secret(self, workspace: WorkspaceName, name: str, entry: AuditEntry) -> None:
        """See ``SecretStore``."""
        await self._change(
            "access.delete_secret", {"workspace": workspace, "name": name}, "secret", entry
        )

    async def sample(self) -> EncryptedValue | None:
        """See ``SecretStore``."""

        def operation(connection: Connection) -> EncryptedValue | None:
            row = connection.execute("access.sample_sealed").fetchone()
            return EncryptedValue(*row) if row else None

        return await self._session.read(operation)

    @writes
    async def append(self, entry: AuditEntry) -> int:
        """See ``AuditStore``."""
        return await self._session.write_urgently(
            lambda connection: self._append(connection, entry)
        )

    @writes
    async def recount(self, more: Mapping[int, int]) -> None:
        """See ``AuditStore``."""
        rows = [{"number": number, "more": count} for number, count in sorted(more.items())]

        def operation(connection: Connection) -> None:
            for row in rows:
                connection.execute("access.recount_audit", row)

        await self._session.write(operation)

    async def audit(
        self, workspace: WorkspaceName, before: int | None, limit: int
    ) -> list[AuditEntry]:
        """See ``AuditStore``."""
        key = {
            "workspace": workspace,
            "before": _LAST if before is None else before,
            "limit": limit,
        }

        def operation(connection: Connection) -> list[AuditEntry]:
            rows = connection.execute("access.list_audit", key).fetchall()
            return [AuditEntry(*row) for row in rows]

        return await self._session.read(operation)

    async def _page(
        self, sql: str, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[Any]:
        key = {"workspace": workspace, "after": after or "", "limit": limit}
        return await self._session.read(lambda connection: connection.execute(sql, key).fetchall())

    @writes
    async def _change(self, sql: str, values: dict[str, str], kind: str, entry: AuditEntry) -> None:
        def operation(connection: Connection) -> None:
            if kind == "secret":  # it may be put at the same time, which tells whether it is new
                lock_name(connection, kind, values["workspace"], values["name"])
            if not connection.execute(sql, values).rowcount:
                raise NotFound(kind, values["name"])
            if kind == "user":
                self._session.counts.outdate(Cached.USER, values["name"])
            self._append(connection, entry)

        await self._session.write_urgently(operation)

    def _append(self, connection: Connection, entry: AuditEntry) -> int:
        return append_audit(connection, entry, self._audit_kept)


def append_audit(connection: Connection, entry: AuditEntry, kept: int = AUDIT_KEPT) -> int:
    """Add an audit entry inside a transaction; returns its number."""
    (number,) = connection.execute("access.append_audit", structs.asdict(entry)).fetchone()
    if number % _TRIM_EVERY == 0:
        keep = kept if entry.outcome == "done" else max(1, kept // REFUSED_SHARE)
        parameters = {"workspace": entry.workspace, "outcome": entry.outcome, "keep": keep}
        connection.execute("access.trim_audit", parameters)
    return int(number)


def append_given(connection: Connection, entry: AuditEntry | None) -> None:
    """Add an audit entry inside a transaction, if there is one."""
    if entry is not None:
        append_audit(connection, entry)


def _token(row: Sequence[Any]) -> Token:
    return Token(
        id=row[0],
        name=row[1],
        workspace=row[2],
        role=Role(row[3]),
        created_at=row[4],
        expires_at=row[5],
        revoked_at=row[6],
        last_used_at=row[7],
    )


def _user(row: Sequence[Any]) -> User:
    return User(name=row[0], workspace=row[1], role=Role(row[2]), created_at=row[3])
