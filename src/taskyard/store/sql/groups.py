"""Settings of groups and workspaces, on SQLite."""

from msgspec import structs

from taskyard.core.access.principals import AuditEntry
from taskyard.core.changes import Cached
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.ports.workspaces import GroupRecord
from taskyard.store.sql.access import append_audit, append_given
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_name
from taskyard.store.sql.transactions import Repository, writes


class SqlGroups(Repository):
    """Implements ``ports.workspaces.GroupStore``."""

    async def groups(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[GroupRecord]:
        """See the port."""

        def read(connection: Connection) -> list[GroupRecord]:
            parameters = {"workspace": workspace, "after": after or "", "limit": limit}
            rows = connection.execute("groups.groups_page", parameters).fetchall()
            return [
                GroupRecord(
                    name, workspace, bool(paused), cap, _counts(connection, workspace, name)
                )
                for name, paused, cap in rows
            ]

        return await self._session.read(read)

    async def group(self, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
        """See the port."""
        return await self._session.read(lambda c: record_of(c, workspace, name))

    @writes
    async def set_group(
        self,
        workspace: WorkspaceName,
        name: GroupName,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        clear_limit: bool = False,
        audit: AuditEntry | None = None,
    ) -> GroupRecord:
        """See the port."""

        def write(connection: Connection) -> GroupRecord:
            lock_name(connection, "group", workspace, name)
            old = record_of(connection, workspace, name)
            cap = concurrency_limit if concurrency_limit is not None else old.concurrency_limit
            connection.execute(
                "groups.put_group",
                {
                    "workspace": workspace,
                    "name": name,
                    "paused": int(old.paused if paused is None else paused),
                    "concurrency_limit": None if clear_limit else cap,
                },
            )
            self._session.counts.outdate(Cached.LIMITS)
            new = record_of(connection, workspace, name)
            if audit is not None:
                append_audit(connection, structs.replace(audit, detail=new.settings))
            return new

        return await self._session.write_urgently(write)

    @writes
    async def set_workspace_limit(
        self, workspace: WorkspaceName, limit: int | None, audit: AuditEntry | None = None
    ) -> None:
        """See the port."""
        parameters = {"name": workspace, "concurrency_limit": limit}

        def write(connection: Connection) -> None:
            connection.execute("groups.put_workspace", parameters)
            append_given(connection, audit)
            self._session.counts.outdate(Cached.LIMITS)

        await self._session.write_urgently(write)

    async def limits(self) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """See the port."""

        def read(
            connection: Connection,
        ) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
            caps = dict(connection.execute("groups.workspace_limits").fetchall())
            rows = connection.execute("groups.limited_groups").fetchall()
            return caps, [GroupRecord(n, w, bool(paused), cap) for w, n, paused, cap in rows]

        return await self._session.read(read)


def record_of(connection: Connection, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
    """A group's settings and counts; defaults for an unknown one."""
    parameters = {"workspace": workspace, "name": name}
    row = connection.execute("groups.group_settings", parameters).fetchone()
    paused, cap = row if row is not None else (0, None)
    return GroupRecord(name, workspace, bool(paused), cap, _counts(connection, workspace, name))


def _counts(connection: Connection, workspace: WorkspaceName, name: str) -> dict[str, int]:
    parameters = {"workspace": workspace, "group_name": name}
    rows = connection.execute("tasks.counts_of_group", parameters)
    return {state: total for state, total in rows if total}
