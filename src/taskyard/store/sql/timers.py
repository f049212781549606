"""Timers of waiting tasks: they become ready, fire, or expire."""

from functools import partial
from typing import Final
from uuid import UUID, uuid5

import msgspec

from taskyard.core.changes import Change
from taskyard.core.cron import firings_due
from taskyard.core.ids import TaskId
from taskyard.core.instants import Instant, rfc3339
from taskyard.core.states import Reason, TaskEvent, TaskState
from taskyard.core.tasks import NewTask, TaskSpec
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.parking import guarded, readmit
from taskyard.store.sql.rows import PLAIN_SPEC, new_task_row, spec_of, spec_or_plain
from taskyard.store.sql.transactions import Session
from taskyard.store.sql.transitions import park_task, ready, stored_task_of, transition

FIRINGS_AT_ONCE: Final = 100
"""Missed firings made up for in one transaction, for each recurring task."""


def run_due(connection: Connection, session: Session, now: Instant, limit: int) -> list[Change]:
    """Process due tasks, up to about ``limit`` changes."""
    changes = _expire(connection, session, now, limit)
    rows = connection.execute("dispatch.due_tasks", {"now": now, "limit": limit}).fetchall()
    for row in rows:
        if len(changes) >= limit:
            break
        done = guarded(connection, session.counts, partial(_run, connection, session, row, now))
        if isinstance(done, Exception):
            subject = stored_task_of(row[0], row[1], row[2], row[4], PLAIN_SPEC, row[5], row[3])
            done = park_task(connection, session.counts, subject, done, now, row[6])
        changes += done
    return changes


def _run(connection: Connection, session: Session, row: Row, now: Instant) -> list[Change]:
    """Process one due task."""
    was_due_at = readmit(connection, "task", row[1])
    spec = spec_of(row[9])
    if row[8]:
        return _fire(connection, session, row, spec, was_due_at or row[6], now)
    subject = stored_task_of(row[0], row[1], row[2], row[4], spec, row[5], row[3])
    return [transition(connection, session.counts, subject, TaskEvent.DUE, "due", now)]


def _expire(connection: Connection, session: Session, now: Instant, limit: int) -> list[Change]:
    rows = connection.execute("dispatch.expired_tasks", {"now": now, "limit": limit}).fetchall()
    changes = []
    for row in rows:
        spec = spec_or_plain(row[6])
        subject = stored_task_of(row[0], row[1], row[2], row[4], spec, row[5], row[3])
        late = row[7]
        changes.append(
            transition(
                connection,
                session.counts,
                subject,
                TaskEvent.EXPIRE,
                "expired",
                now,
                reason=Reason.EXPIRED,
                message=f"expired at {rfc3339(late)}",
            )
        )
    return changes


def _fire(
    connection: Connection,
    session: Session,
    row: Row,
    spec: TaskSpec,
    due_at: Instant,
    now: Instant,
) -> list[Change]:
    """Create a task for each firing that is due, and move the recurring task to its next one.

    Both in one transaction, guarded by the firing time that was waited for: no firing time ever
    yields two tasks, and none is skipped by a crash in between.
    """
    seq, task_id = row[0], row[1]
    owed, next_at = firings_due(
        spec.cron or "", spec.timezone, due_at, now, spec.catch_up, FIRINGS_AT_ONCE
    )
    if next_at is None:
        subject = stored_task_of(seq, task_id, row[2], row[4], spec, row[5], row[3])
        ended = transition(
            connection,
            session.counts,
            subject,
            TaskEvent.EXPIRE,
            "expired",
            now,
            reason=Reason.EXPIRED,
            message="has no further firing",
        )
        return [*_create(connection, session, task_id, row, spec, owed, now), ended]
    parameters = {"seq": seq, "next_at": next_at, "due_at": row[6]}
    if connection.execute("dispatch.advance_recurring", parameters).rowcount != 1:
        return []
    return _create(connection, session, task_id, row, spec, owed, now)


def _create(
    connection: Connection,
    session: Session,
    schedule_id: TaskId,
    row: Row,
    spec: TaskSpec,
    owed: list[Instant],
    now: Instant,
) -> list[Change]:
    single = msgspec.structs.replace(
        spec, cron=None, start_at=None, idempotency_key=None, priority=row[5]
    )
    changes = []
    for due_at in owed:
        # A clock or a schedule that was turned back may come by a firing time once more.
        parameters = {"schedule_id": schedule_id, "due_at": due_at}
        if connection.execute("dispatch.fired", parameters).fetchone() is not None:
            continue
        # Derived, not drawn: the same firing has the same id whoever creates it.
        new = NewTask(
            id=TaskId(str(uuid5(UUID(schedule_id), str(due_at)))),
            workspace=row[2],
            spec=single,
            state=TaskState.QUEUED,
            created_at=now,
            schedule_id=schedule_id,
            due_at=due_at,
        )
        seq = next(connection.positions(1))
        if not connection.write_many("tasks.insert_task", [new_task_row(seq, new)]):
            continue
        labels = [(new.workspace, label, value, seq) for label, value in single.labels.items()]
        connection.write_later("tasks.insert_label", labels)
        session.counts.event(seq, "submitted", now, detail=f"firing of {schedule_id}", is_held=True)
        session.counts.add(new.workspace, single.group, new.state)
        subject = stored_task_of(seq, new.id, new.workspace, new.state, single, single.priority)
        fired = Change.submitted(new, seq, at=now, ready=ready(subject, now), kind="fired")
        session.counts.announce(fired)
        changes.append(fired)
    return changes
