"""Jobs: durable, named definitions whose runs are tasks of their own, here called executions.

A job lives in a group under an id its submitter may choose. It is started by hand, at a time, or
by a cron rule; each start makes an execution. Retries after a failure are executions too, and all
of them draw on one budget that belongs to the job.
"""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.attempts import Attempt
from taskyard.core.backoff import delay_s
from taskyard.core.cron import next_start
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.states import TERMINAL, Reason, TaskState
from taskyard.core.tasks import NewTask, Task, TaskSpec

LONGEST_BACKOFF_S: Final = 365 * 86400.0
LABEL: Final = "job"
"""Each execution carries the id of its job under this label."""
_EXIT_REASONS: Final = frozenset({Reason.EXIT_CODE, Reason.SIGNAL, Reason.OUT_OF_MEMORY})
_DERIVED: Final = "5"
"""Version digit of ids that are derived, as those of executions are."""


class JobKey(Struct, frozen=True):
    """Where a job is found."""

    workspace: WorkspaceName
    group: GroupName
    id: str
    """UUID in canonical form; unique within its group."""


class JobDefinition(Struct, frozen=True, omit_defaults=True):
    """What a job does, as last submitted."""

    spec: TaskSpec
    """What each execution runs. Its group and times of start are the job's business, and an
    idempotency key in it is not looked at."""
    retries: int = 0
    """Executions added automatically after a non-zero exit, over the whole life of the job."""
    backoff_min_s: float = 1.0
    backoff_factor: float = 2.0
    cron: str | None = None
    """Five fields, or six with seconds last; UTC."""
    origin: str = ""
    """Name of the dialect that reports on its executions; nobody does when empty."""
    address: str | None = None
    """Network address of whoever asked for it last."""
    details: dict[str, Any] = {}
    """Free data of the dialect; stored, returned, never looked at."""


class Job(Struct, frozen=True):
    """A job as stored."""

    seq: int
    key: JobKey
    definition: JobDefinition
    created_at: Instant
    modified_at: Instant
    retry_count: int = 0
    """Automatic retries made; above the budget once somebody stopped the job."""
    next_at: Instant | None = None
    """When it starts next by itself; None unless delayed or recurring."""
    ticket: str = ""
    """Opaque name of the latest enqueueing."""
    execution_count: int = 0
    """Executions made in all."""

    @property
    def recurs(self) -> bool:
        """Whether a cron rule is in force."""
        return self.definition.cron is not None and self.next_at is not None


class JobLine(Struct, frozen=True):
    """A job in the list of its group."""

    id: str
    created_at: Instant
    modified_at: Instant


class JobGroup(Struct, frozen=True):
    """A group that holds jobs."""

    name: GroupName
    created_at: Instant
    modified_at: Instant
    """When a job was last added."""
    job_count: int


class Execution(Struct, frozen=True):
    """One run of a job, with its latest attempt."""

    number: int
    """Counts 1, 2, 3 … within the job."""
    task: Task
    attempt: Attempt | None
    address: str | None
    """Of whoever asked for this very run; None if the job started it by itself."""


class JobMoment(StrEnum):
    """What is reported of an execution."""

    BEGAN = "began"
    ENDED = "ended"


def execution_id(key: JobKey, number: int) -> TaskId:
    """The id of a job's execution: derived, so that the same one is never made twice."""
    return TaskId(str(uuid5(UUID(key.id), f"{key.workspace}\n{key.group}\n{number}")))


def may_be_execution(task_id: TaskId) -> bool:
    """Whether a task can be an execution at all, without asking the store."""
    return task_id[14:15] == _DERIVED


def execution_of(
    key: JobKey, definition: JobDefinition, number: int, now: Instant, start_at: Instant | None
) -> NewTask:
    """The task of a job's ``number``-th execution; it waits until ``start_at``."""
    waits = start_at is not None and start_at > now
    # Retries wait for a while; what a job itself waits for is over when it is executed. Each start
    # is a run of its own, so that no idempotency key may make it the one before.
    spec = replace(definition.spec, starts_after_wait=waits, idempotency_key=None)
    return NewTask(
        id=execution_id(key, number),
        workspace=key.workspace,
        spec=spec,
        state=TaskState.SCHEDULED if waits else TaskState.QUEUED,
        created_at=now,
        start_at=start_at if waits else None,
    )


def exited_badly(task: Task) -> bool:
    """Whether an ended execution's work ran and came to an end of its own that was not good."""
    return task.state in {TaskState.FAILED, TaskState.DEAD} and task.reason in _EXIT_REASONS


def retry_at(job: Job, task: Task, now: Instant) -> Instant | None:
    """When to retry an execution that ended; None for no retry.

    The delay grows with the count of retries, the coming one included.
    """
    definition = job.definition
    if task.state not in TERMINAL or not exited_badly(task):
        return None
    if job.retry_count >= definition.retries:
        return None
    first_s, factor = definition.backoff_min_s, definition.backoff_factor
    return after(now, delay_s(first_s, LONGEST_BACKOFF_S, job.retry_count + 2, factor))


def start_after(job: Job, now: Instant) -> Instant | None:
    """When a job starts next, once it was started; None if that was the last time.

    Counted from now: however many starts were missed, one makes up for all of them.
    """
    cron = job.definition.cron
    return None if cron is None else next_start(cron, now)
