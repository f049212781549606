"""The one way a stored task changes state: guarded, counted, and told in its history."""

import sqlite3
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.changes import Change
from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.notifications.webhooks import events_of
from taskyard.core.scheduling.requirements import ReadyTask, Requirements, demand_of
from taskyard.core.states import TERMINAL, WAITING, Reason, TaskEvent, TaskState, next_task_state
from taskyard.core.tasks import TaskSpec
from taskyard.store.sqlite.batches import write_many
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.ledger import Ledger
from taskyard.store.sqlite.parking import readmit
from taskyard.store.sqlite.rows import attempt_of, task_of
from taskyard.store.sqlite.webhooks import enqueue

_QUERIES: Final = queries("tasks")
_LEAVES_PARKING: Final = frozenset({TaskEvent.CANCEL, TaskEvent.EXPIRE, TaskEvent.RESCHEDULE})
"""What ends the reason why a waiting task was put aside."""
MOVE: Final = _QUERIES.move_task.sql
MoveRow = tuple[Any, ...]
"""Values of ``MOVE``."""


class Mover(Struct, frozen=True):
    """A task about to change: what of its row the change depends on."""

    seq: int
    id: TaskId
    workspace: WorkspaceName
    group: GroupName
    state: TaskState
    priority: int = 0
    demand: Requirements = Requirements()
    expires_at: Instant | None = None
    webhooks: bool = False
    """Whether anybody wants to be told."""


def mover_of(
    seq: int,
    task_id: str,
    workspace: str,
    state: str,
    spec: TaskSpec,
    priority: int,
    group: str | None = None,
) -> Mover:
    """From columns of the task's row and its decoded specification."""
    return Mover(
        seq,
        TaskId(task_id),
        WorkspaceName(workspace),
        GroupName(group) if group is not None else spec.group,
        TaskState(state),
        priority,
        demand_of(spec),
        spec.expires_at,
        bool(spec.webhooks),
    )


def move(
    connection: sqlite3.Connection,
    ledger: Ledger,
    mover: Mover,
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
    later: list[MoveRow] | None = None,
) -> Change:
    """Change a task's state by the table, in its row, the ledger and its history.

    With ``later`` its row is left to the caller, who writes all that are in there with ``MOVE``
    in the same transaction; not so if the task has webhooks, whose deliveries quote the row.

    Raises:
        IllegalTransition: the table has no such event for the state, or the row has moved on.
    """
    state = next_task_state(mover.state, event)
    row: MoveRow = (
        mover.seq,
        mover.state.value,
        state.value,
        now if state is TaskState.QUEUED else None,
        start_at,
        attempt_id if state is TaskState.RUNNING else None,
        now if state in TERMINAL else None,
        reason,
        message,
        int(failed),
    )
    if later is not None and not mover.webhooks:
        later.append(row)
    elif write_many(connection, MOVE, [row]) != 1:
        raise IllegalTransition("task", mover.state, event)
    if mover.state in WAITING and event in _LEAVES_PARKING:
        readmit(connection, "task", mover.id)
    ledger.move(mover.workspace, mover.group, mover.state, state)
    ledger.event(mover.seq, kind, now, attempt_id, actor, detail or message)
    change = Change(
        kind=kind,
        at=now,
        task_id=mover.id,
        seq=mover.seq,
        workspace=mover.workspace,
        group=mover.group,
        state=state,
        was=mover.state,
        attempt_id=attempt_id,
        attempt_number=attempt_number,
        reason=reason,
        message=message,
        ready=ready(mover, now) if state is TaskState.QUEUED else None,
    )
    return tell(connection, change) if mover.webhooks else change


def tell(connection: sqlite3.Connection, change: Change) -> Change:
    """Write the deliveries that a change gives rise to, in its own transaction."""
    events = events_of(change)
    if not events:
        return change
    row = connection.execute(_QUERIES.task_by_seq.sql, {"seq": change.seq}).fetchone()
    attempt = None
    if change.attempt_id is not None:
        found = connection.execute(_QUERIES.attempt_by_id.sql, {"id": change.attempt_id}).fetchone()
        attempt = attempt_of(found) if found is not None else None
    count = enqueue(connection, task_of(row), attempt, events, change.at)
    return replace(change, deliveries=count)


def ready(mover: Mover, queued_at: Instant) -> ReadyTask:
    """What the scheduler has to know once this task is queued."""
    return ReadyTask(
        mover.seq,
        mover.id,
        mover.workspace,
        mover.group,
        mover.priority,
        mover.demand,
        queued_at,
        mover.expires_at,
    )
