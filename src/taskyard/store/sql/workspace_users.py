"""Unix users of workspaces, on SQLite."""

from taskyard.core.access.principals import INSTALLATION
from taskyard.core.errors import Conflict
from taskyard.core.functions.functions import Language
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_name
from taskyard.store.sql.transactions import Repository, writes


class SqlWorkspaceUsers(Repository):
    """Implements ``ports.workspaces.WorkspaceUserStore``."""

    @writes
    async def user_id(self, workspace: WorkspaceName, first: int, last: int) -> int:
        """See the port."""

        def write(connection: Connection) -> int:
            parameters = {"workspace": workspace, "first": first, "last": last}
            lock_name(connection, "work users")
            connection.execute("identities.add_workspace_user", parameters)
            row = connection.execute("identities.workspace_user", parameters).fetchone()
            if row is None:
                raise Conflict(
                    f"all user ids from {first} to {last} belong to workspaces;"
                    " widen work_user_range"
                )
            return int(row[0])

        return await self._session.write(write)

    async def workspaces(self, now: Instant) -> dict[WorkspaceName, bool]:
        """See the port."""

        def read(connection: Connection) -> dict[WorkspaceName, bool]:
            rows = connection.execute(
                "identities.workspaces",
                {"now": now, "installation": INSTALLATION, "image": Language.IMAGE},
            )
            return {WorkspaceName(name): bool(functions) for name, functions in rows}

        return await self._session.read(read)
