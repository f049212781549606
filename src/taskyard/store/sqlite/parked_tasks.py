"""Tasks that cannot be dealt with now: put aside, with a line in their history."""

import sqlite3

from taskyard.core.changes import Change
from taskyard.core.instants import Instant, after
from taskyard.core.states import TaskEvent, TaskState
from taskyard.store.sqlite.batch_counts import BatchCounts
from taskyard.store.sqlite.parking import RETRY_S, put_aside, reason_of
from taskyard.store.sqlite.transitions import StoredTask, transition


def park_task(
    connection: sqlite3.Connection,
    counts: BatchCounts,
    subject: StoredTask,
    error: Exception,
    now: Instant,
    due_at: Instant | None = None,
) -> list[Change]:
    """Put a task aside that waits for its time or is ready; answers with what that changes."""
    text = reason_of(error)
    changes = []
    if subject.state is not TaskState.SCHEDULED:
        retry_at, event = after(now, RETRY_S), TaskEvent.RESCHEDULE
        changes = [
            transition(
                connection, counts, subject, event, "parked", now, start_at=retry_at, message=text
            )
        ]
    is_new = put_aside(connection, "task", subject.id, subject.workspace, text, now, due_at)
    if is_new and not changes:
        counts.event(subject.seq, "parked", now, detail=text)
    return changes
