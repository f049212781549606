"""Totals of kept output, and whose it may be."""

from collections.abc import Sequence

import msgspec

from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.transactions import Repository


class SqlOutputTotals(Repository):
    """Implements ``ports.logs.OutputTotals``."""

    async def totals(self) -> dict[WorkspaceName, int]:
        """See the port."""

        def read(connection: Connection) -> dict[WorkspaceName, int]:
            rows = connection.execute("output.output_totals")
            return {WorkspaceName(name): size for name, size in rows}

        return await self._session.read(read)

    async def of_task(self, task_id: TaskId) -> int:
        """See the port."""

        def read(connection: Connection) -> int:
            (size,) = connection.execute("output.output_of_task", {"task_id": task_id}).fetchone()
            return int(size)

        return await self._session.read(read)

    async def known(self, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
        """See the port."""
        ids = msgspec.json.encode(attempt_ids).decode()

        def read(connection: Connection) -> set[AttemptId]:
            rows = connection.execute("output.known_attempts", {"ids": ids})
            return {AttemptId(row[0]) for row in rows}

        return await self._session.read(read)
