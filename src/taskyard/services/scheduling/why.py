"""Why a task is where it is."""

from collections.abc import Sequence

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Attempt
from taskyard.core.ids import TaskId
from taskyard.core.instants import Instant, rfc3339, seconds_between
from taskyard.core.scheduling.reasons import Explanation
from taskyard.core.states import TERMINAL, AttemptState, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.store import TaskStore
from taskyard.services.scheduling.dispatch import Dispatch

COUNT_TO = 1000


class Why:
    """Answers from the scheduler's own decision, and from what is stored of attempts."""

    def __init__(self, store: TaskStore, dispatch: Dispatch) -> None:
        self._store = store
        self._dispatch = dispatch

    async def explain(self, caller: Caller, task_id: TaskId) -> Explanation:
        """Raises ``NotFound``."""
        task = await self._store.task(caller.workspace, task_id)
        attempts = await self._store.attempts(caller.workspace, task_id)
        story = tuple(_told(attempt) for attempt in attempts)
        if task.state is TaskState.QUEUED:
            return await self._queued(task, story)
        code, summary = _said(task, attempts)
        return Explanation(task.id, task.state, code, summary, story=story)

    async def _queued(self, task: Task, story: tuple[str, ...]) -> Explanation:
        wait = await self._dispatch.explain(task)
        ahead = await self._store.ahead_of(task, COUNT_TO)
        summary = wait.summary
        if ahead:
            count = f"{COUNT_TO} or more" if ahead >= COUNT_TO else str(ahead)
            summary += f"; {count} ahead of it"
        return Explanation(
            task.id, task.state, wait.code, summary, wait.detail, ahead=ahead, story=story
        )


def _said(task: Task, attempts: Sequence[Attempt]) -> tuple[str, str]:
    """Code and summary for every state but queued."""
    start = _moment(task.start_at)
    if task.state is TaskState.SCHEDULED and task.message is not None:
        return "parked", f"could not be dealt with ({task.message}); is tried again {start}"
    if task.state is TaskState.SCHEDULED:
        verb = "fires next" if task.spec.cron else "starts"
        return "scheduled", f"{verb} {start}"
    if task.state is TaskState.RETRYING:
        return "retrying", (
            f"attempt {task.attempt_count} failed ({task.message or task.reason}); "
            f"attempt {task.attempt_count + 1} starts {start}"
        )
    if task.state in TERMINAL:
        cause = f": {task.message}" if task.message else ""
        return "ended", f"{task.state} {_moment(task.finished_at)}{cause}"
    worker = attempts[-1].worker_id if attempts else "a worker"
    if task.kill_requested_at is not None:
        return "killing", f"is being killed on {worker} since {_moment(task.kill_requested_at)}"
    if attempts and attempts[-1].started_at is not None:
        return "running", f"runs on {worker} since {_moment(attempts[-1].started_at)}"
    return "running", f"is starting on {worker}"


def _told(attempt: Attempt) -> str:
    """One attempt's story in a line."""
    line = f"attempt {attempt.number} on {attempt.worker_id}"
    if attempt.started_at is None:
        line += " did not start" if attempt.finished_at is not None else " is starting"
    else:
        until = attempt.finished_at
        ran = f"{seconds_between(attempt.started_at, until):.1f} s" if until is not None else ""
        line += f" ran {ran}" if ran else f" runs since {_moment(attempt.started_at)}"
    if attempt.finished_at is None:
        return line
    if attempt.state is AttemptState.SUCCEEDED:
        return f"{line} and succeeded"
    line += f" and {'was' if attempt.state is not AttemptState.FAILED else 'has'} {attempt.state}"
    if attempt.message:
        line += f": {attempt.message}"
    if attempt.kill_report is not None:
        left = len(attempt.kill_report.survivors)
        line += f" ({attempt.kill_report.killed_count} killed, {left or 'no'} survivors)"
    return line


def _moment(instant: Instant | None) -> str:
    return f"{rfc3339(instant)[:19]}Z".replace("T", " ") if instant is not None else "never"
