"""Totals of kept output, on SQLite."""

import sqlite3
from typing import Final

from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.transactions import Repository

_SQL: Final = queries("output")


class SqliteOutputTotals(Repository):
    """Implements ``ports.logs.OutputTotals``."""

    async def totals(self) -> dict[WorkspaceName, int]:
        """See the port."""

        def read(connection: sqlite3.Connection) -> dict[WorkspaceName, int]:
            rows = connection.execute(_SQL.output_totals.sql)
            return {WorkspaceName(name): size for name, size in rows}

        return await self._session.read(read)

    async def of_task(self, task_id: TaskId) -> int:
        """See the port."""

        def read(connection: sqlite3.Connection) -> int:
            (size,) = connection.execute(_SQL.output_of_task.sql, {"task_id": task_id}).fetchone()
            return int(size)

        return await self._session.read(read)
