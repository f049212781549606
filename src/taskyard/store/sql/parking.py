"""Parked entries: those that cannot be processed, kept with the reason, so that others go on.

An entry is parked by moving the time at which it is due next; the queries that look for what is due
need to know nothing of it. Its first due time is kept beside the reason.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.ports.dispatching import Parked, ParkedKind
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection, NotAsRemembered
from taskyard.store.sql.transactions import Repository, writes

T = TypeVar("T")

RETRY_S: Final = 600.0
REASON_CHARACTERS: Final = 500

_PUT_ASIDE: Final = {
    "task": "parking.park_task",
    "job": "parking.park_job",
    "schedule": "parking.park_schedule",
    "delivery": "parking.park_delivery",
}

log = structlog.get_logger(__name__)


class SqlParking(Repository):
    """Implements ``ports.dispatching.ParkingStore``."""

    @writes
    async def park(
        self, kind: ParkedKind, key: str, workspace: WorkspaceName, reason: str, now: Instant
    ) -> None:
        """See the port."""

        def write(connection: Connection) -> None:
            put_aside(connection, kind, key, workspace, reason, now)

        await self._session.write(write)

    async def parked(self, workspace: WorkspaceName, limit: int) -> Sequence[Parked]:
        """See the port."""
        values = {"workspace": workspace, "limit": limit}
        rows = await self._session.read(lambda c: c.execute("parking.parked", values).fetchall())
        return [Parked(*row) for row in rows]


def guarded(connection: Connection, counts: BatchCounts, do: Callable[[], T]) -> T | Exception:
    """Run something that leaves nothing if it fails; return what it raised.

    In a savepoint of its own if the batch is done carefully; else the batch is done again so.

    Raises:
        Unavailable, Overloaded, and ``connection.failures``: trouble of the store, which is
            nobody's own.
    """
    before = counts.savepoint()
    if not counts.is_careful:
        written = connection.total_changes
        try:
            return do()
        except connection.failures:
            raise
        except (NotAsRemembered, Unavailable, Overloaded):
            raise
        except Exception as error:
            if connection.total_changes != written:
                raise NotAsRemembered from error
            counts.restore(before)
            return error
    connection.savepoint("entry")
    try:
        result = do()
    except connection.failures:
        raise
    except (NotAsRemembered, Unavailable, Overloaded):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it must cost this entry alone
        connection.undo("entry")
        counts.restore(before)
        return error
    connection.release("entry")
    return result


def put_aside(
    connection: Connection,
    kind: ParkedKind,
    key: str | int,
    workspace: str,
    reason: str | Exception,
    now: Instant,
    due_at: Instant | None = None,
) -> bool:
    """Park an entry, inside a transaction. True if it was not parked before.

    Not one that has no time to wait for any more: it was removed, cancelled or dealt with after
    whoever failed had read it, and nothing would ever readmit it.
    """
    text = reason if isinstance(reason, str) else reason_of(reason)
    values = {
        "kind": kind,
        "key": str(key),
        "workspace": workspace,
        "reason": text[:REASON_CHARACTERS],
        "now": now,
        "retry_at": after(now, RETRY_S),
        "due_at": due_at,
    }
    if kind in _PUT_ASIDE and not connection.execute(_PUT_ASIDE[kind], values).rowcount:
        return False
    (is_new,) = connection.execute("parking.park", values).fetchone()
    if is_new:
        log.error("entry_parked", kind=kind, key=values["key"], reason=values["reason"])
    return bool(is_new)


def readmit(connection: Connection, kind: ParkedKind, key: str | int) -> Instant | None:
    """Unpark an entry that works again or is gone; returns when it was due, if known."""
    row = connection.execute("parking.readmit", {"kind": kind, "key": str(key)}).fetchone()
    return None if row is None or row[0] is None else Instant(row[0])


def retry_all(connection: Connection) -> None:
    """Retry all parked entries now; in a transaction of its own."""
    if connection.execute("parking.any_parked").fetchone() is None:
        return
    connection.begin()
    for name in ("retry_tasks", "retry_jobs", "retry_schedules", "retry_deliveries"):
        connection.execute(f"parking.{name}")
    connection.execute("parking.forget_others")
    connection.commit()


def reason_of(error: Exception) -> str:
    """Why an entry is parked, as text."""
    text = str(error) if isinstance(error, TaskyardError) else f"it cannot be read: {error}"
    return text[:REASON_CHARACTERS]
