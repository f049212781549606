"""Retention: removes ended tasks, and gives their space back to the file system."""

import sqlite3
from typing import Final

from taskyard.core.ids import AttemptId
from taskyard.core.instants import DAY, Instant
from taskyard.store.sqlite.batch_counts import BatchCounts
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.tasks import remove

_SQL: Final = queries("dispatch")
_ENDPOINTS: Final = queries("endpoints")
_DAYS_APART: Final = 8
"""Days whose removed calls are counted one by one: a week that began at any time of the day."""
_PAGES_AT_ONCE: Final = 2000


def prune(
    connection: sqlite3.Connection,
    counts: BatchCounts,
    now: Instant,
    older_than: Instant | None,
    keep_count: int | None,
    limit: int,
) -> tuple[int, list[AttemptId]]:
    """See ``ports.dispatching.DispatchStore.prune``."""
    # The counts below have to include what earlier operations of this batch did.
    counts.flush(connection)
    removed: list[AttemptId] = []
    left = limit
    for workspace, total in connection.execute(_SQL.ended_counts.sql).fetchall():
        seqs: list[int] = []
        if older_than is not None:
            seqs = _prunable(connection, workspace, older_than, left)
        if keep_count is not None and total - len(seqs) > keep_count:
            surplus = min(total - keep_count, left)
            seqs = _prunable(connection, workspace, Instant(now + 1), surplus)
        for seq in seqs:
            group, state = connection.execute(_SQL.group_and_state.sql, (seq,)).fetchone()
            removed += remove(connection, seq)
            counts.add(workspace, group, state, -1)
        left -= len(seqs)
        if left <= 0:
            break
    if left < limit:
        _fold(connection, now)
    _vacuum(connection)
    return limit - left, removed


def _fold(connection: sqlite3.Connection, now: Instant) -> None:
    """Summarize the counts of removed calls, which would grow every day."""
    values = {"before": f"{now // DAY - _DAYS_APART:05d}"}
    connection.execute(_ENDPOINTS.fold_removed_calls.sql, values)
    connection.execute(_ENDPOINTS.forget_folded_calls.sql, values)


def _vacuum(connection: sqlite3.Connection) -> None:
    """Give free pages back, one a statement: the driver stops after one, whatever is asked for."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, _PAGES_AT_ONCE)):
        connection.execute("PRAGMA incremental_vacuum(1)")


def _prunable(
    connection: sqlite3.Connection, workspace: str, older_than: Instant, limit: int
) -> list[int]:
    parameters = {"workspace": workspace, "older_than": older_than, "limit": limit}
    return [row[0] for row in connection.execute(_SQL.prunable.sql, parameters)]
