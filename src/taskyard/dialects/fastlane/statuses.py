"""Statuses, exit codes and remarks of executions in the words of the original."""

from typing import Final

from taskyard.core.instants import seconds_between
from taskyard.core.jobs import Execution
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.dialects.fastlane.schemas import iso

WAITING: Final = frozenset({"enqueued", "pulling"})
WITHOUT_OUTPUT: Final = frozenset({"enqueued", "pulling", "running"})
STOPPED_BY_USER: Final = "Job execution was stopped by a user."
_SIGNALS: Final = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGBUS": 7,
    "SIGFPE": 8, "SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13,
    "SIGALRM": 14, "SIGTERM": 15,
}  # fmt: skip


def status_of(execution: Execution) -> str:
    """The status by the words of the original.

    What the machinery below has to try again is ``enqueued`` or ``pulling`` meanwhile: an
    execution never fails because a host is out.
    """
    task, attempt = execution.task, execution.attempt
    state = task.state
    if state is TaskState.RUNNING:
        started = attempt is not None and attempt.state is AttemptState.RUNNING
        return "running" if started else "pulling"
    if state is TaskState.SUCCEEDED:
        return "done"
    if state is TaskState.EXPIRED:
        return "expired"
    if state is TaskState.CANCELLED:
        return "failed" if _ran(execution) else "stopped"
    if state in {TaskState.FAILED, TaskState.DEAD}:
        return "timedout" if task.reason is Reason.TIMEOUT else "failed"
    return "enqueued"


def exit_code_of(execution: Execution) -> int | None:
    """The exit code; that of a process ended by a signal is 128 and the signal's number."""
    attempt = execution.attempt
    status = status_of(execution)
    if attempt is None or status not in {"done", "failed"}:
        return None
    if attempt.exit_code is not None:
        return attempt.exit_code
    if attempt.signal is not None:
        return 128 + _SIGNALS.get(attempt.signal, 0)
    if execution.task.reason is Reason.OUT_OF_MEMORY:
        return 137
    if execution.task.reason is Reason.KILLED:
        report = attempt.kill_report
        return 137 if report is not None and report.forced else 143
    return None


def finished(execution: Execution) -> str | None:
    """When the end was noticed; None while there is none, or when nothing ever ran."""
    status = status_of(execution)
    if status in WITHOUT_OUTPUT:
        return None
    if status == "failed" and exit_code_of(execution) is None:
        return None
    return iso(execution.task.finished_at)


def remark_of(execution: Execution) -> str:
    """What is said of the end beside the work's own output; empty for most."""
    task, attempt = execution.task, execution.attempt
    status = status_of(execution)
    if status == "timedout":
        seconds = 0.0
        if attempt is not None and attempt.started_at and task.finished_at:
            seconds = seconds_between(attempt.started_at, task.finished_at)
        return f"Job execution timed out after {seconds:.0f} seconds."
    if status == "expired":
        return (
            f"Job was to start before {iso(task.spec.expires_at)}, "
            f"and came up at {iso(task.finished_at)}."
        )
    if task.reason is Reason.KILLED:
        return STOPPED_BY_USER
    if status == "failed" and task.reason is not Reason.EXIT_CODE:
        return task.message or ""
    return ""


def has_output(execution: Execution) -> bool:
    """Whether the output of an ended execution is shown."""
    return _ran(execution) and status_of(execution) in {"done", "failed"}


def _ran(execution: Execution) -> bool:
    return execution.attempt is not None and execution.attempt.started_at is not None
