"""Settings of groups and workspaces, on SQLite."""

import sqlite3
from typing import Final

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.ports.workspaces import GroupRecord
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.transactions import Repository, writes

_SQL: Final = queries("groups")
_TASKS: Final = queries("tasks")


class SqliteGroups(Repository):
    """Implements ``ports.workspaces.GroupStore``."""

    async def groups(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[GroupRecord]:
        """See the port."""

        def read(connection: sqlite3.Connection) -> list[GroupRecord]:
            parameters = {"workspace": workspace, "after": after or "", "limit": limit}
            rows = connection.execute(_SQL.groups_page.sql, parameters).fetchall()
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
    ) -> GroupRecord:
        """See the port."""

        def write(connection: sqlite3.Connection) -> GroupRecord:
            old = record_of(connection, workspace, name)
            cap = concurrency_limit if concurrency_limit is not None else old.concurrency_limit
            connection.execute(
                _SQL.put_group.sql,
                {
                    "workspace": workspace,
                    "name": name,
                    "paused": int(old.paused if paused is None else paused),
                    "concurrency_limit": None if clear_limit else cap,
                },
            )
            return record_of(connection, workspace, name)

        return await self._session.write_urgently(write)

    @writes
    async def set_workspace_limit(self, workspace: WorkspaceName, limit: int | None) -> None:
        """See the port."""
        parameters = {"name": workspace, "concurrency_limit": limit}

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL.put_workspace.sql, parameters)

        await self._session.write_urgently(write)

    async def limits(self) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """See the port."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
            caps = dict(connection.execute(_SQL.workspace_limits.sql).fetchall())
            rows = connection.execute(_SQL.limited_groups.sql).fetchall()
            return caps, [GroupRecord(n, w, bool(paused), cap) for w, n, paused, cap in rows]

        return await self._session.read(read)


def record_of(
    connection: sqlite3.Connection, workspace: WorkspaceName, name: GroupName
) -> GroupRecord:
    """A group's settings and counts; defaults for an unknown one."""
    parameters = {"workspace": workspace, "name": name}
    row = connection.execute(_SQL.group_settings.sql, parameters).fetchone()
    paused, cap = row if row is not None else (0, None)
    return GroupRecord(name, workspace, bool(paused), cap, _counts(connection, workspace, name))


def _counts(connection: sqlite3.Connection, workspace: WorkspaceName, name: str) -> dict[str, int]:
    parameters = {"workspace": workspace, "group_name": name}
    rows = connection.execute(_TASKS.counts_of_group.sql, parameters)
    return {state: total for state, total in rows if total}
