"""Retention: removes ended tasks, and gives their space back to the file system."""

from typing import Final

from taskyard.core.ids import AttemptId
from taskyard.core.instants import DAY, Instant
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.tasks import remove

_DAYS_APART: Final = 8
"""Days whose removed calls are counted one by one: a week that began at any time of the day."""


def prune(
    connection: Connection,
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
    for workspace, total in connection.execute("dispatch.ended_counts").fetchall():
        seqs: list[int] = []
        if older_than is not None:
            seqs = _prunable(connection, workspace, older_than, left)
        if keep_count is not None and total - len(seqs) > keep_count:
            surplus = min(total - keep_count, left)
            seqs = _prunable(connection, workspace, Instant(now + 1), surplus)
        for seq in seqs:
            group, state = connection.execute("dispatch.group_and_state", (seq,)).fetchone()
            removed += remove(connection, seq)
            counts.add(workspace, group, state, -1)
        left -= len(seqs)
        if left <= 0:
            break
    if left < limit:
        _fold(connection, now)
    if connection.is_shared:
        for query in ("shards.fold_counts", "shards.drop_zero_counts", "shards.fold_output"):
            connection.execute(query)
    connection.give_back()
    return limit - left, removed


def _fold(connection: Connection, now: Instant) -> None:
    """Summarize the counts of removed calls, which would grow every day."""
    values = {"before": f"{now // DAY - _DAYS_APART:05d}"}
    connection.execute("endpoints.fold_removed_calls", values)
    connection.execute("endpoints.forget_folded_calls", values)


def _prunable(connection: Connection, workspace: str, older_than: Instant, limit: int) -> list[int]:
    parameters = {"workspace": workspace, "older_than": older_than, "limit": limit}
    return [row[0] for row in connection.execute("dispatch.prunable", parameters)]
