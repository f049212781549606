"""The states of a task in the dialect's words, from those of the engine."""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.access.redaction import redact_text
from taskyard.core.attempts import Attempt
from taskyard.core.signals import signal_number
from taskyard.core.states import TERMINAL, AttemptState, Reason, TaskState


class State(StrEnum):
    """Where a task is. The engine tells fewer of these apart; the others are passed through."""

    PENDING = "PENDING"
    PROVISIONING = "PROVISIONING"
    PROVISIONING_FAILED = "PROVISIONING_FAILED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    RUN_FAILED = "RUN_FAILED"
    RUN_COMPLETED = "RUN_COMPLETED"
    DEPROVISIONING = "DEPROVISIONING"
    STOPPED = "STOPPED"
    LOST = "LOST"
    UNKNOWN = "UNKNOWN"


class ResultStatus(StrEnum):
    """How it ended."""

    SUCCESSFUL = "SUCCESSFUL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    TIMED_OUT = "TIMED_OUT"


class Result(Struct, frozen=True):
    """How it ended, and with which code."""

    status: ResultStatus
    code: int
    error: str
    """What went wrong, for people; empty if nothing did."""


_S: Final = State
TRANSITIONS: Final = {
    _S.PENDING: {_S.PROVISIONING, _S.STOPPED, _S.LOST},
    _S.PROVISIONING: {_S.STARTING, _S.PROVISIONING_FAILED, _S.LOST},
    _S.STARTING: {_S.RUNNING, _S.RUN_FAILED, _S.LOST},
    _S.RUNNING: {_S.RUN_COMPLETED, _S.LOST},
    _S.RUN_COMPLETED: {_S.DEPROVISIONING, _S.LOST},
    _S.RUN_FAILED: {_S.DEPROVISIONING, _S.LOST},
    _S.PROVISIONING_FAILED: {_S.DEPROVISIONING, _S.LOST},
    _S.DEPROVISIONING: {_S.STOPPED, _S.LOST},
    _S.UNKNOWN: {_S.RUNNING, _S.STOPPED, _S.LOST},
    _S.STOPPED: set(),
    _S.LOST: set(),
}
"""The contract's table; what is told in events keeps to it."""
_OF_PROCESSES: Final = frozenset(
    {
        Reason.EXIT_CODE,
        Reason.SIGNAL,
        Reason.TIMEOUT,
        Reason.OUT_OF_MEMORY,
        Reason.EXIT_UNKNOWN,
    }
)
_PULL: Final = ("image ", "the image ")
_UNSAID: Final = "it failed for an unknown reason"


def state_of(state: TaskState, attempt: AttemptState | None, reason: Reason | None) -> State:
    """Where a task is, by its state, that of its last attempt, and why it ended."""
    if state in TERMINAL:
        return _S.LOST if reason is Reason.WORKER_LOST else _S.STOPPED
    if state is TaskState.RUNNING:
        return _S.RUNNING if attempt is AttemptState.RUNNING else _S.PROVISIONING
    return _S.PENDING


def path_to_end(state: State, end: State, *, ran: bool, unmade: bool) -> list[State]:
    """The states from one that is active, without it, to the last one.

    Args:
        state: where it is.
        end: where it goes.
        ran: its process ended, though nobody may have said that it ever began.
        unmade: its container never came to be: no image, or a kill came first.
    """
    if end is _S.LOST or state is _S.PENDING:
        return [end]
    if state is not _S.PROVISIONING:
        return [_S.RUN_COMPLETED, _S.DEPROVISIONING, end]
    if ran:
        return [_S.STARTING, _S.RUNNING, _S.RUN_COMPLETED, _S.DEPROVISIONING, end]
    failed = [_S.PROVISIONING_FAILED] if unmade else [_S.STARTING, _S.RUN_FAILED]
    return [*failed, _S.DEPROVISIONING, end]


def has_run(state: TaskState, reason: Reason | None) -> bool:
    """Whether a task that ended so had a process that ended by itself."""
    return state is TaskState.SUCCEEDED or reason in _OF_PROCESSES


def result_of(
    state: TaskState, reason: Reason | None, message: str | None, attempt: Attempt | None
) -> Result | None:
    """How a task ended; None while it has not. ``attempt`` is its last one."""
    if state not in TERMINAL:
        return None
    result = _result(state, reason, message, attempt)
    return replace(result, error=redact_text(result.error)) if result.error else result


def _result(
    state: TaskState, reason: Reason | None, message: str | None, attempt: Attempt | None
) -> Result:
    if state is TaskState.SUCCEEDED:
        return Result(ResultStatus.SUCCESSFUL, 0, "")
    if state is TaskState.CANCELLED:
        return Result(ResultStatus.CANCELLED, -1, "")
    if reason is Reason.WORKER_LOST:
        return Result(ResultStatus.LOST, -1, "Instance lost")
    said = message or (attempt.message if attempt is not None else None)
    if state is TaskState.EXPIRED:
        unplaced = "no executor could take the task"
        ended = attempt.message if attempt is not None else None
        return Result(ResultStatus.FAILED, -1, ended or unplaced)
    if reason is Reason.EXIT_UNKNOWN:
        return Result(ResultStatus.LOST, -1, said or _UNSAID)
    if reason is Reason.TIMEOUT:
        return Result(ResultStatus.TIMED_OUT, -1, said or _UNSAID)
    code = exit_code(attempt)
    if code > 0 and reason in {Reason.EXIT_CODE, Reason.SIGNAL}:
        said = f"exit status {code}" + (f": {said}" if said else "")
    return Result(ResultStatus.FAILED, code, said or _UNSAID)


def exit_code(attempt: Attempt | None) -> int:
    """The code that an attempt ended with, 128 and its number for a signal; -1 if it has none."""
    if attempt is None:
        return -1
    if attempt.exit_code is not None:
        return attempt.exit_code
    number = None if attempt.signal is None else signal_number(attempt.signal)
    return -1 if number is None else 128 + number


def could_not_pull(result: Result | None) -> bool:
    """Whether it ended because its image could not be fetched."""
    return result is not None and result.code == -1 and result.error.startswith(_PULL)
