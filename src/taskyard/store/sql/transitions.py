"""State transitions of stored tasks: guarded, counted, and recorded in their history.

1. The table of ``core/states.py`` says whether an event is legal in a state, and what comes next.
   An illegal one raises ``IllegalTransition`` before anything is written.
2. The row is updated only where it is still in the state that was read (``update_state``); a row
   that has moved on raises as well, and the operation's savepoint undoes the rest.
3. Every transition changes the counts, adds a line to the task's history, and answers with the
   change that is announced after the commit.
4. A waiting task that is cancelled, expires or is rescheduled is no longer parked.
5. If the task has webhooks, its deliveries are queued in the same transaction; they quote the row,
   so the row is written first. Without webhooks a caller may write many rows with one statement.
"""

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.changes import Change
from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.notifications.webhooks import events_of
from taskyard.core.scheduling.requirements import ReadyTask, Requirements, requirements_of
from taskyard.core.states import TERMINAL, WAITING, Reason, TaskEvent, TaskState, next_task_state
from taskyard.core.tasks import TaskSpec
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.parking import RETRY_S, put_aside, readmit, reason_of
from taskyard.store.sql.rows import attempt_of, task_of
from taskyard.store.sql.webhooks import enqueue

_LEAVES_PARKING: Final = frozenset({TaskEvent.CANCEL, TaskEvent.EXPIRE, TaskEvent.RESCHEDULE})
"""What ends the reason why a waiting task was put aside."""
StateRow = tuple[Any, ...]
"""Values of ``tasks.update_state``; for ``tasks.leave_attempt``, with the attempt behind them."""


class StoredTask(Struct, frozen=True):
    """The columns of a task's row that a transition depends on."""

    seq: int
    id: TaskId
    workspace: WorkspaceName
    group: GroupName
    state: TaskState
    priority: int = 0
    requirements: Requirements = Requirements()
    expires_at: Instant | None = None
    webhooks: bool = False
    """Whether webhooks are delivered for it."""


def stored_task_of(
    seq: int,
    task_id: str,
    workspace: str,
    state: str,
    spec: TaskSpec,
    priority: int,
    group: str | None = None,
) -> StoredTask:
    """From columns of the task's row and its decoded specification."""
    return StoredTask(
        seq,
        TaskId(task_id),
        WorkspaceName(workspace),
        GroupName(group) if group is not None else spec.group,
        TaskState(state),
        priority,
        requirements_of(spec),
        spec.expires_at,
        bool(spec.webhooks),
    )


def transition(
    connection: Connection,
    counts: BatchCounts,
    subject: StoredTask,
    event: TaskEvent,
    kind: str,
    now: Instant,
    *,
    start_at: Instant | None = None,
    reason: Reason | None = None,
    message: str | None = None,
    failed: bool = False,
    attempt_id: AttemptId | None = None,
    attempt_number: int | None = None,
    actor: str | None = None,
    detail: str | None = None,
    later: list[StateRow] | None = None,
) -> Change:
    """Change a task's state by the table, in its row, the counts and its history.

    With ``later`` its row is left to the caller, who writes all with ``tasks.leave_attempt`` in
    the same transaction; not so if the task has webhooks, whose deliveries quote the row.

    Raises:
        IllegalTransition: the table has no such event for the state, or the row has moved on.
    """
    state = next_task_state(subject.state, event)
    row: StateRow = (
        subject.seq,
        subject.state.value,
        state.value,
        now if state is TaskState.QUEUED else None,
        start_at,
        attempt_id if state is TaskState.RUNNING else None,
        now if state in TERMINAL else None,
        reason,
        message,
        int(failed),
    )
    if later is not None and not subject.webhooks:
        later.append((*row, attempt_id))
    elif connection.write_many("tasks.update_state", [row]) != 1:
        raise IllegalTransition("task", subject.state, event)
    if subject.state in WAITING and event in _LEAVES_PARKING:
        readmit(connection, "task", subject.id)
    counts.transition(subject.workspace, subject.group, subject.state, state)
    counts.event(subject.seq, kind, now, attempt_id, actor, detail or message, is_held=True)
    change = Change(
        kind=kind,
        at=now,
        task_id=subject.id,
        seq=subject.seq,
        workspace=subject.workspace,
        group=subject.group,
        state=state,
        was=subject.state,
        attempt_id=attempt_id,
        attempt_number=attempt_number,
        reason=reason,
        message=message,
        ready=ready(subject, now) if state is TaskState.QUEUED else None,
    )
    if subject.webhooks:
        change = enqueue_webhooks(connection, change)
    counts.announce(change)
    return change


def enqueue_webhooks(connection: Connection, change: Change) -> Change:
    """Queue the webhook deliveries of a change, in the same transaction."""
    events = events_of(change)
    if not events:
        return change
    row = connection.execute("tasks.task_by_seq", {"seq": change.seq}).fetchone()
    attempt = None
    if change.attempt_id is not None:
        found = connection.execute("tasks.attempt_by_id", {"id": change.attempt_id}).fetchone()
        attempt = attempt_of(found) if found is not None else None
    count = enqueue(connection, task_of(row), attempt, events, change.at)
    return replace(change, deliveries=count)


def ready(subject: StoredTask, queued_at: Instant) -> ReadyTask:
    """What the scheduler has to know once this task is queued."""
    return ReadyTask(
        subject.seq,
        subject.id,
        subject.workspace,
        subject.group,
        subject.priority,
        subject.requirements,
        queued_at,
        subject.expires_at,
    )


def park_task(
    connection: Connection,
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
