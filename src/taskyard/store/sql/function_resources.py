"""Resources of functions on SQLite: endpoints, triggers, schedules, tags, nodes and builds."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from taskyard.core.access.principals import AuditEntry
from taskyard.core.changes import Cached
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.functions.functions import FunctionId
from taskyard.core.functions.resources import FunctionResource, Schedule, Trigger
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.dispatching import ParkedKind
from taskyard.store.sql.access import append_given
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_entry, lock_name
from taskyard.store.sql.parking import put_aside, readmit, reason_of
from taskyard.store.sql.rows import text
from taskyard.store.sql.transactions import Repository, writes

_entry: Final = msgspec.json.Decoder(FunctionResource).decode


class SqlFunctionResources(Repository):
    """Implements ``ports.function_resources.FunctionResourceStore``."""

    @writes
    async def add(
        self,
        entry: FunctionResource,
        due_at: Instant | None = None,
        audit: AuditEntry | None = None,
    ) -> None:
        """See the port."""
        values = _values(entry, due_at)

        def write(connection: Connection) -> None:
            if not connection.execute("endpoints.insert_entry", values).rowcount:
                raise Conflict(f"there is a {_kind(type(entry))} {entry.id} already")
            if isinstance(entry, Trigger):
                # Calls that are stored meanwhile either know of it, or are there to be found.
                lock_name(connection, "calls", entry.function_id)
                connection.execute("endpoints.unsettle", values)
            append_given(connection, audit)
            self._session.counts.outdate(Cached.SCHEDULES)

        await self._session.write(write)

    async def get(
        self, kind: type[FunctionResource], entry_id: str, workspace: WorkspaceName | None
    ) -> FunctionResource:
        """See the port."""
        values = {"kind": _kind(kind), "id": entry_id, "workspace": workspace}
        row = await self._session.read(
            lambda c: c.execute("endpoints.entry_by_id", values).fetchone()
        )
        if row is None:
            raise NotFound(_kind(kind), entry_id)
        found: FunctionResource = _entry(row[0])
        return found

    async def page(
        self,
        kind: type[FunctionResource],
        workspace: WorkspaceName,
        *,
        function_id: str | None,
        timezone: str | None,
        offset: int,
        limit: int,
    ) -> tuple[list[FunctionResource], int]:
        """See the port."""
        values = {
            "kind": _kind(kind),
            "workspace": workspace,
            "function_id": function_id,
            "zone": timezone,
            "offset": offset,
            "limit": limit,
        }

        def read(connection: Connection) -> tuple[list[FunctionResource], int]:
            (total,) = connection.execute("endpoints.entries_total", values).fetchone()
            rows = connection.execute("endpoints.entries_page", values)
            return [_entry(row[0]) for row in rows], int(total)

        return await self._session.read(read)

    async def oldest_first(
        self, kind: type[FunctionResource], workspace: WorkspaceName, after: int, limit: int
    ) -> list[tuple[int, FunctionResource]]:
        """See the port."""
        values = {"kind": _kind(kind), "workspace": workspace, "after": after, "limit": limit}
        rows = await self._session.read(
            lambda c: c.execute("endpoints.entries_oldest_first", values).fetchall()
        )
        return [(row[0], _entry(row[1])) for row in rows]

    async def some(
        self, kind: type[FunctionResource], workspace: WorkspaceName, ids: Collection[str]
    ) -> list[FunctionResource]:
        """See the port."""
        values = {"kind": _kind(kind), "workspace": workspace, "ids": text(list(ids))}
        rows = await self._session.read(
            lambda c: c.execute("endpoints.entries_by_ids", values).fetchall()
        )
        return [_entry(row[0]) for row in rows]

    @writes
    async def replace(
        self,
        entry: FunctionResource,
        due_at: Instant | None = None,
        was: FunctionResource | None = None,
    ) -> bool:
        """See the port."""
        values = _values(entry, due_at)

        def write(connection: Connection) -> bool:
            if was is not None:
                lock_entry(connection, values["kind"], entry.id, entry.workspace)
                row = connection.execute("endpoints.entry_by_id", values).fetchone()
                if row is None or _entry(row[0]) != was:
                    return False
            if not connection.execute("endpoints.update_entry", values).rowcount:
                return False
            self._session.counts.outdate(Cached.SCHEDULES)
            readmit(connection, values["kind"], entry.id)
            return True

        return await self._session.write(write)

    @writes
    async def remove(self, entry: FunctionResource, audit: AuditEntry | None = None) -> None:
        """See the port."""
        values = _values(entry, None)

        def write(connection: Connection) -> None:
            connection.execute("endpoints.delete_entry", values)
            append_given(connection, audit)
            readmit(connection, values["kind"], entry.id)

        await self._session.write(write)

    @writes
    async def remove_of_function(self, function_id: FunctionId) -> None:
        """See the port."""
        values = {"function_id": function_id}

        def write(connection: Connection) -> None:
            gone = connection.execute("endpoints.delete_entries_of_function", values).fetchall()
            for kind, key in gone:
                if kind in {"trigger", "schedule"}:
                    readmit(connection, kind, key)

        await self._session.write(write)

    async def triggers(self, function_id: FunctionId, now: Instant) -> list[Trigger]:
        """See the port."""
        values = {"function_id": function_id}
        rows = await self._session.read(
            lambda c: c.execute("endpoints.triggers_of_function", values).fetchall()
        )
        found = await self._readable("trigger", [(row[1], row[2], row[0]) for row in rows], now)
        return [one for one in found if isinstance(one, Trigger)]

    async def followed(self) -> set[str]:
        """See the port."""
        rows = await self._session.read(
            lambda c: c.execute("endpoints.followed_functions").fetchall()
        )
        return {row[0] for row in rows}

    async def due(self, now: Instant, limit: int) -> list[tuple[Instant, Schedule]]:
        """See the port."""
        values = {"now": now, "limit": limit}
        rows = await self._session.read(
            lambda c: c.execute("endpoints.entries_due", values).fetchall()
        )
        found = await self._readable("schedule", [(row[2], row[3], row[1]) for row in rows], now)
        return [
            (Instant(row[0]), one)
            for row, one in zip(rows, found, strict=True)
            if isinstance(one, Schedule)
        ]

    async def _readable(
        self, kind: ParkedKind, rows: Sequence[tuple[str, str, str]], now: Instant
    ) -> list[FunctionResource | None]:
        """Entries, decoded from rows; parks those that cannot be decoded, and has None for them."""
        found: list[FunctionResource | None] = []
        unreadable: list[tuple[str, str, str]] = []
        for key, workspace, content in rows:
            try:
                found.append(_entry(content))
            except Exception as error:  # noqa: BLE001 - whatever it is, the others count
                found.append(None)
                unreadable.append((key, workspace, reason_of(error)))
        if unreadable:
            await self._park(kind, unreadable, now)
        return found

    @writes
    async def _park(
        self, kind: ParkedKind, entries: Sequence[tuple[str, str, str]], now: Instant
    ) -> None:
        def write(connection: Connection) -> None:
            for key, workspace, reason in entries:
                put_aside(connection, kind, key, workspace, reason, now)

        await self._session.write(write)

    async def next_due(self) -> Instant | None:
        """See the port."""
        row = await self._session.read(lambda c: c.execute("endpoints.next_due_entry").fetchone())
        return None if row[0] is None else Instant(row[0])

    async def build_began(self, function_id: FunctionId, number: int) -> Instant | None:
        """See the port."""
        values = {"function_id": function_id, "number": number}
        row = await self._session.read(
            lambda c: c.execute("endpoints.began_at_of_version", values).fetchone()
        )
        return None if row is None or row[0] is None else Instant(row[0])

    async def pending_builds(self, workspace: WorkspaceName) -> int:
        """See the port."""
        values = {"workspace": workspace}
        row = await self._session.read(
            lambda c: c.execute("endpoints.pending_builds", values).fetchone()
        )
        return int(row[0])


def _kind(kind: type[FunctionResource]) -> str:
    return str(kind.__struct_config__.tag)


def _values(entry: FunctionResource, due_at: Instant | None) -> dict[str, Any]:
    return {
        "kind": _kind(type(entry)),
        "id": entry.id,
        "workspace": entry.workspace,
        "function_id": getattr(entry, "function_id", None),
        "next_id": getattr(entry, "next_id", None),
        "due_at": due_at,
        "content": text(entry),
    }
