"""The maintenance switch, on SQLite."""

from taskyard.core.access.principals import AuditEntry
from taskyard.core.changes import Cached
from taskyard.core.instants import Instant
from taskyard.ports.workspaces import MaintenanceRecord
from taskyard.store.sql.access import append_given
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.transactions import Repository, writes


class SqlMaintenance(Repository):
    """Implements ``ports.workspaces.MaintenanceStore``."""

    async def read(self) -> MaintenanceRecord:
        """See the port."""
        return await self._session.read(_read)

    @writes
    async def put(
        self, *, is_on: bool, now: Instant, audit: AuditEntry | None = None
    ) -> MaintenanceRecord:
        """See the port."""

        def write(connection: Connection) -> MaintenanceRecord:
            parameters = {"is_on": int(is_on), "changed_at": now}
            connection.execute("maintenance.put_maintenance", parameters)
            append_given(connection, audit)
            self._session.counts.outdate(Cached.MAINTENANCE)
            return _read(connection)

        return await self._session.write_urgently(write)


def _read(connection: Connection) -> MaintenanceRecord:
    row = connection.execute("maintenance.maintenance").fetchone()
    if row is None:
        return MaintenanceRecord(is_on=False)
    return MaintenanceRecord(bool(row[0]), row[1])
