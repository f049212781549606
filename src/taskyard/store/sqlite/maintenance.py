"""The maintenance switch, on SQLite."""

import sqlite3
from typing import Final

from taskyard.core.instants import Instant
from taskyard.ports.workspaces import MaintenanceRecord
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.transactions import Repository, writes

_SQL: Final = queries("maintenance")


class SqliteMaintenance(Repository):
    """Implements ``ports.workspaces.MaintenanceStore``."""

    async def read(self) -> MaintenanceRecord:
        """See the port."""
        return await self._session.read(_read)

    @writes
    async def put(self, *, is_on: bool, now: Instant) -> MaintenanceRecord:
        """See the port."""

        def write(connection: sqlite3.Connection) -> MaintenanceRecord:
            parameters = {"is_on": int(is_on), "changed_at": now}
            connection.execute(_SQL.put_maintenance.sql, parameters)
            return _read(connection)

        return await self._session.write_urgently(write)


def _read(connection: sqlite3.Connection) -> MaintenanceRecord:
    row = connection.execute(_SQL.maintenance.sql).fetchone()
    if row is None:
        return MaintenanceRecord(is_on=False)
    return MaintenanceRecord(bool(row[0]), row[1])
