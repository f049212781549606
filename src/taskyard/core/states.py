"""The states of tasks and attempts, and the only tables that say how they change.

An event that a state does not list is illegal: it raises :class:`IllegalTransition` and changes
nothing. The store guards every transition again with conditional updates.
"""

from enum import StrEnum
from typing import Final

from taskyard.core.errors import IllegalTransition


class TaskState(StrEnum):
    """State of a task."""

    SCHEDULED = "scheduled"
    """Waits for its start time, or recurs and waits for its next firing."""
    QUEUED = "queued"
    """Ready; waits for a worker with room."""
    RUNNING = "running"
    """An attempt holds a lease: it was placed, and starts or runs."""
    RETRYING = "retrying"
    """The last attempt failed; waits for its back-off."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended badly without the policy granting another attempt."""
    DEAD = "dead"
    """Ended badly after every attempt its retry policy granted: the dead letters."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Came up after its expiry, and never ran again."""


class TaskEvent(StrEnum):
    """What can happen to a task."""

    DUE = "due"
    ASSIGN = "assign"
    SUCCEED = "succeed"
    RETRY = "retry"
    """The attempt failed and another one is granted after a back-off."""
    REQUEUE = "requeue"
    """The attempt was lost, or never started through no fault of its own; it may go again."""
    FAIL = "fail"
    EXHAUST = "exhaust"
    """The attempt failed and was the last one granted."""
    CANCEL = "cancel"
    EXPIRE = "expire"
    RESCHEDULE = "reschedule"
    """A waiting task got another start time, or a recurring one another rule or firing."""


class AttemptState(StrEnum):
    """State of an attempt."""

    ASSIGNED = "assigned"
    """Placed on a worker; the work has not been seen running."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended by itself with an error, ran out of time or memory, or could not be started."""
    KILLED = "killed"
    """Ended because somebody asked for it."""
    LOST = "lost"
    """Its worker vanished, or nobody can say how it ended."""


class AttemptEvent(StrEnum):
    """What can happen to an attempt."""

    START = "start"
    SUCCEED = "succeed"
    FAIL = "fail"
    KILL = "kill"
    LOSE = "lose"


class Reason(StrEnum):
    """Why a task or an attempt ended as it did."""

    EXIT_CODE = "exit_code"
    """Ended by itself with a code other than 0."""
    SIGNAL = "signal"
    """Died of a signal nobody here sent."""
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    START_FAILED = "start_failed"
    """The work could not be started: no such program, directory, user."""
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a reason, not a credential
    """The task refers to a secret that its workspace does not have."""
    KILLED = "killed"
    """Somebody asked for it."""
    WORKER_LOST = "worker_lost"
    EXIT_UNKNOWN = "exit_unknown"
    """The work is over, but whoever could have read its exit code was gone."""
    RUNTIME_TROUBLE = "runtime_trouble"
    """The machinery below the work failed; does not count against the task's own retries."""
    EXPIRED = "expired"
    FUNCTION_ERROR = "function_error"
    """The function raised an error, or answered with something that is no answer."""


TERMINAL: Final = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.DEAD,
        TaskState.CANCELLED,
        TaskState.EXPIRED,
    }
)
WAITING: Final = frozenset({TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING})
ENDED_ATTEMPT: Final = frozenset(
    {AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.KILLED, AttemptState.LOST}
)

_S, _E = TaskState, TaskEvent
TASK_TRANSITIONS: Final[dict[TaskState, dict[TaskEvent, TaskState]]] = {
    _S.SCHEDULED: {
        _E.DUE: _S.QUEUED,
        _E.RESCHEDULE: _S.SCHEDULED,
        _E.CANCEL: _S.CANCELLED,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.QUEUED: {
        _E.ASSIGN: _S.RUNNING,
        _E.RESCHEDULE: _S.SCHEDULED,
        _E.CANCEL: _S.CANCELLED,
        _E.EXPIRE: _S.EXPIRED,
        _E.FAIL: _S.FAILED,
    },
    _S.RUNNING: {
        _E.SUCCEED: _S.SUCCEEDED,
        _E.RETRY: _S.RETRYING,
        _E.REQUEUE: _S.QUEUED,
        _E.FAIL: _S.FAILED,
        _E.EXHAUST: _S.DEAD,
        _E.CANCEL: _S.CANCELLED,
    },
    _S.RETRYING: {
        _E.DUE: _S.QUEUED,
        _E.RESCHEDULE: _S.SCHEDULED,
        _E.CANCEL: _S.CANCELLED,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.SUCCEEDED: {},
    _S.FAILED: {},
    _S.DEAD: {},
    _S.CANCELLED: {},
    _S.EXPIRED: {},
}

_A, _AE = AttemptState, AttemptEvent
_ENDS: Final = {
    _AE.SUCCEED: _A.SUCCEEDED,
    _AE.FAIL: _A.FAILED,
    _AE.KILL: _A.KILLED,
    _AE.LOSE: _A.LOST,
}
ATTEMPT_ENDS: Final = {state: event for event, state in _ENDS.items()}
"""The event that leads to each ended state."""
ATTEMPT_TRANSITIONS: Final[dict[AttemptState, dict[AttemptEvent, AttemptState]]] = {
    _A.ASSIGNED: {_AE.START: _A.RUNNING, **_ENDS},
    _A.RUNNING: dict(_ENDS),
    _A.SUCCEEDED: {},
    _A.FAILED: {},
    _A.KILLED: {},
    _A.LOST: {},
}


def next_task_state(state: TaskState, event: TaskEvent) -> TaskState:
    """The state after ``event``. Raises :class:`IllegalTransition` where the table has none."""
    try:
        return TASK_TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition("task", state, event) from None


def next_attempt_state(state: AttemptState, event: AttemptEvent) -> AttemptState:
    """The state after ``event``. Raises :class:`IllegalTransition` where the table has none."""
    try:
        return ATTEMPT_TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition("attempt", state, event) from None
