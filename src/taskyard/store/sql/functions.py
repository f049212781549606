"""Functions, their versions and what calls answered."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from taskyard.core.access.principals import AuditEntry
from taskyard.core.changes import Cached
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.functions.functions import (
    BuildState,
    CallResult,
    Function,
    FunctionId,
    Version,
    group_of,
)
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.functions import FoundFunction, FunctionChange
from taskyard.store.sql.access import append_audit, append_given
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.function_rows import (
    check_free,
    find_function,
    function_of,
    look_up,
    row_of,
    update_function,
    version_of,
    version_row,
)
from taskyard.store.sql.locks import lock_function, lock_name
from taskyard.store.sql.rows import readable
from taskyard.store.sql.tasks import find
from taskyard.store.sql.transactions import Repository, writes

_BEHIND_ALL: Final = "~"
"""Behind every id, in the order of text."""
_LAST: Final = 2**62
_pairs: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


class SqlFunctions(Repository):
    """Implements ``ports.functions.FunctionStore``."""

    @writes
    async def create(self, function: Function) -> Function:
        """See the port."""

        def write(connection: Connection) -> Function:
            lock_name(connection, "function", function.workspace, function.name)
            check_free(connection, function)
            if not connection.execute("functions.insert_function", row_of(function)).rowcount:
                raise Conflict(f"there is a function with id {function.id} already")
            self._session.counts.outdate(Cached.FUNCTIONS)
            return function

        return await self._session.write(write)

    async def function(self, workspace: WorkspaceName, key: str) -> Function:
        """See the port."""
        return await self._session.read(lambda c: find_function(c, workspace, key))

    async def look_up(
        self, keys: Sequence[tuple[WorkspaceName, str]]
    ) -> list[FoundFunction | None]:
        """See the port."""

        def read(connection: Connection) -> list[FoundFunction | None]:
            return look_up(connection, keys)

        return await self._session.read(read)

    async def functions(
        self,
        workspace: WorkspaceName,
        *,
        after: str | None,
        limit: int,
        tag: str | None = None,
        deleted: bool = False,
        newest_first: bool = False,
    ) -> list[Function]:
        """See the port."""
        sql = (
            "functions.functions_newest_first"
            if newest_first
            else "functions.functions_of_workspace"
        )
        parameters = {
            "workspace": workspace,
            "after": after or (_BEHIND_ALL if newest_first else ""),
            "tag": tag,
            "deleted": int(deleted),
            "limit": limit,
        }
        rows = await self._session.read(lambda c: c.execute(sql, parameters).fetchall())
        return [function_of(row) for row in rows]

    async def everything(self) -> list[Function]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("functions.all_functions").fetchall())
        return readable(function_of, rows)

    @writes
    async def change(
        self,
        workspace: WorkspaceName,
        function_id: FunctionId,
        change: FunctionChange,
        now: Instant,
        audit: AuditEntry | None = None,
    ) -> Function:
        """See the port."""

        def write(connection: Connection) -> Function:
            lock_function(connection, function_id)
            was = find_function(connection, workspace, function_id, alive=True)
            given = {
                name: value
                for name, value in msgspec.structs.asdict(change).items()
                if value is not None
            }
            new = replace(was, updated_at=now, **given)
            if new.name != was.name:
                lock_name(connection, "function", workspace, new.name)
                check_free(connection, new)
            update_function(connection, new)
            append_given(connection, audit)
            self._session.counts.outdate(Cached.FUNCTIONS)
            return new

        return await self._session.write(write)

    @writes
    async def set_deleted(
        self,
        workspace: WorkspaceName,
        function_id: FunctionId,
        deleted: bool,
        now: Instant,
        audit: AuditEntry | None = None,
    ) -> Function:
        """See the port."""

        def write(connection: Connection) -> Function:
            lock_function(connection, function_id)
            was = find_function(connection, workspace, function_id, alive=deleted)
            if not deleted and was.deleted_at is None:
                return was
            new = replace(was, updated_at=now, deleted_at=now if deleted else None)
            if not deleted:
                lock_name(connection, "function", workspace, new.name)
                check_free(connection, new)
            update_function(connection, new)
            if audit is not None:
                append_audit(connection, replace(audit, target=new.name))
            self._session.counts.outdate(Cached.FUNCTIONS)
            return new

        return await self._session.write_urgently(write)

    @writes
    async def add_version(self, version: Version, audit: AuditEntry | None = None) -> Version:
        """See the port."""

        def write(connection: Connection) -> Version:
            parameters = {"id": version.function_id, "now": version.created_at}
            row = connection.execute("functions.next_version", parameters).fetchone()
            if row is None:
                raise NotFound("function", version.function_id)
            new = replace(version, number=row[0])
            connection.execute("functions.insert_version", version_row(new))
            if audit is not None:
                append_audit(connection, replace(audit, detail=f"version {new.number}"))
            self._session.counts.outdate(Cached.FUNCTIONS)
            return new

        return await self._session.write(write)

    async def version(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> Version:
        """See the port."""

        def read(connection: Connection) -> Version:
            find_function(connection, workspace, function_id)
            parameters = {"function_id": function_id, "number": number}
            row = connection.execute("functions.version_by_number", parameters).fetchone()
            if row is None:
                raise NotFound("version", str(number))
            return version_of(row)

        return await self._session.read(read)

    async def versions(
        self, workspace: WorkspaceName, function_id: FunctionId, before: int | None, limit: int
    ) -> list[Version]:
        """See the port."""

        def read(connection: Connection) -> list[Version]:
            find_function(connection, workspace, function_id)
            parameters = {
                "function_id": function_id,
                "before": _LAST if before is None else before,
                "limit": limit,
            }
            rows = connection.execute("functions.versions_of_function", parameters)
            return [version_of(row) for row in rows]

        return await self._session.read(read)

    async def unbuilt(self) -> list[tuple[WorkspaceName, Version]]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("functions.unbuilt").fetchall())
        return readable(lambda row: (WorkspaceName(row[16]), version_of(row)), rows)

    async def image_versions(self) -> frozenset[tuple[FunctionId, int]]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("functions.image_versions").fetchall())
        return frozenset((FunctionId(row[0]), int(row[1])) for row in rows)

    async def bundles(self) -> frozenset[str]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("functions.bundles").fetchall())
        return frozenset(row[0] for row in rows)

    @writes
    async def claim_build(
        self, function_id: FunctionId, number: int, builder: str, now: Instant, until: Instant
    ) -> bool:
        """See the port."""
        parameters = {
            "function_id": function_id,
            "number": number,
            "builder": builder,
            "now": now,
            "until": until,
        }

        def write(connection: Connection) -> bool:
            return connection.execute("functions.claim_build", parameters).rowcount > 0

        return await self._session.write(write)

    @writes
    async def set_build(
        self,
        function_id: FunctionId,
        number: int,
        state: BuildState,
        now: Instant,
        *,
        log: str | None = None,
        message: str | None = None,
        digest: str | None = None,
        goes_live: bool = False,
    ) -> None:
        """See the port."""
        ended = state in {BuildState.READY, BuildState.FAILED}
        parameters = {
            "function_id": function_id,
            "number": number,
            "state": state.value,
            "log": log,
            "message": message,
            "digest": digest,
            "finished_at": now if ended else None,
            "now": now,
        }

        def write(connection: Connection) -> None:
            connection.execute("functions.set_build", parameters)
            if goes_live:
                connection.execute("functions.go_live", parameters)
                self._session.counts.outdate(Cached.FUNCTIONS)

        await self._session.write(write)

    async def build_log(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> str | None:
        """See the port."""

        def read(connection: Connection) -> str | None:
            find_function(connection, workspace, function_id)
            parameters = {"function_id": function_id, "number": number}
            row = connection.execute("functions.build_log", parameters).fetchone()
            if row is None:
                raise NotFound("version", str(number))
            return None if row[0] is None else str(row[0])

        return await self._session.read(read)

    async def in_use(self, function: Function) -> set[int]:
        """See the port."""
        parameters = {
            "workspace": function.workspace,
            "group_name": group_of(function.id, function.name),
        }
        rows = await self._session.read(
            lambda c: c.execute("functions.versions_in_use", parameters).fetchall()
        )
        return {row[0] for row in rows if row[0] is not None}

    async def result(
        self, workspace: WorkspaceName, task_id: TaskId
    ) -> tuple[AttemptId, CallResult] | None:
        """See the port."""

        def read(connection: Connection) -> tuple[AttemptId, CallResult] | None:
            task = find(connection, workspace, task_id)
            row = connection.execute("functions.result_of_task", {"seq": task.seq}).fetchone()
            if row is None or row[1] is None:
                return None
            return AttemptId(row[0]), CallResult(row[1], _pairs(row[2]), row[4], row[3])

        return await self._session.read(read)

    async def blob(self, function_id: FunctionId) -> bytes | None:
        """See the port."""
        parameters = {"function_id": function_id}
        row = await self._session.read(
            lambda c: c.execute("functions.blob_of_function", parameters).fetchone()
        )
        return None if row is None else row[0]
