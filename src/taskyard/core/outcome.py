"""What the end of an attempt means for its task."""

from typing import Final

from msgspec import Struct

from taskyard.core.attempts import Ended
from taskyard.core.backoff import backoff_s, delay_s
from taskyard.core.instants import Instant, after
from taskyard.core.states import AttemptState, Reason, TaskEvent
from taskyard.core.tasks import TaskSpec

LOSSES_GRANTED: Final = 10
"""Times a task may lose its worker before it is suspected of being the cause."""
TROUBLE_DELAY_S: Final = 5.0
"""First pause after the machinery below failed; each further one is twice as long."""
TROUBLE_DELAY_MAX_S: Final = 300.0
TROUBLES_GRANTED: Final = 20
"""Times the machinery may fail a task before the task is suspected of being the cause: with the
pauses in between more than an hour. An engine that is away as a whole is waited for without
attempts, and does not count."""


class Verdict(Struct, frozen=True):
    """The event to apply to the task, and what goes with it."""

    event: TaskEvent
    kind: str
    """Of the change, see :class:`taskyard.core.changes.Change`."""
    start_at: Instant | None = None
    """When the next attempt may begin, with ``retry``."""
    reason: Reason | None = None
    message: str | None = None
    failed: bool = False
    """Whether this counts against the attempts that the retry policy grants."""


def verdict(
    ended: Ended,
    spec: TaskSpec,
    *,
    attempt_number: int,
    failures_before: int,
    kill_requested: bool,
    now: Instant,
    chance: float,
) -> Verdict:
    """Decide by what the attempt reports and what the task's policy grants.

    ``chance`` between 0 and 1 places a back-off inside its jitter.
    """
    reason, message = ended.reason, ended.message
    if ended.state is AttemptState.SUCCEEDED:
        return Verdict(TaskEvent.SUCCEED, "succeeded")
    if kill_requested or ended.state is AttemptState.KILLED:
        return Verdict(TaskEvent.CANCEL, "cancelled", reason=Reason.KILLED, message=message)
    if ended.state is AttemptState.LOST:
        losses = attempt_number - failures_before
        if spec.rerun_if_lost and losses <= LOSSES_GRANTED:
            return Verdict(TaskEvent.REQUEUE, "requeued", reason=reason, message=message)
        return Verdict(TaskEvent.FAIL, "failed", reason=reason, message=message, failed=True)
    if reason is Reason.RUNTIME_TROUBLE:
        # Attempts that were lost count too: they are not told apart from trouble.
        troubles = attempt_number - failures_before
        if troubles > TROUBLES_GRANTED:
            text = f"given up after {troubles} attempts that failed outside of the task: {message}"
            return Verdict(TaskEvent.FAIL, "failed", reason=reason, message=text, failed=True)
        start_at = after(now, trouble_delay_s(troubles))
        return Verdict(TaskEvent.RETRY, "retrying", start_at, reason=reason, message=message)
    failures = failures_before + 1
    if failures < spec.retry.max_attempts:
        start_at = after(now, backoff_s(spec.retry, failures, chance))
        return Verdict(
            TaskEvent.RETRY, "retrying", start_at, reason=reason, message=message, failed=True
        )
    event, kind = (
        (TaskEvent.EXHAUST, "dead") if spec.retry.max_attempts > 1 else (TaskEvent.FAIL, "failed")
    )
    return Verdict(event, kind, reason=reason, message=message, failed=True)


def trouble_delay_s(troubles: int) -> float:
    """Seconds to wait after the machinery has failed a task so many times (from 1)."""
    return delay_s(TROUBLE_DELAY_S, TROUBLE_DELAY_MAX_S, troubles)
