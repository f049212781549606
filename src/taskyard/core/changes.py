"""A committed change, as announced to everything that follows changes."""

from enum import StrEnum

from msgspec import Struct

from taskyard.core.attempts import Attempt
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.requirements import DEFAULT_RUNTIME, ReadyTask
from taskyard.core.states import Reason, TaskState
from taskyard.core.tasks import NewTask, Task, needed_runtime


class Change(Struct, frozen=True, omit_defaults=True):
    """One committed step in the life of a task."""

    kind: str
    """``submitted``, ``due``, ``assigned``, ``started``, ``succeeded``, ``failed``, ``dead``,
    ``retrying``, ``requeued``, ``kill_requested``, ``cancelled``, ``expired``, ``fired``,
    ``rescheduled``, ``reprioritized``, ``refused`` (a report whose lease no longer held),
    ``parked`` (put aside, as it could not be dealt with), ``deleted``."""
    at: Instant
    task_id: TaskId
    seq: int
    workspace: WorkspaceName
    group: GroupName
    state: TaskState
    """After the change."""
    was: TaskState | None = None
    """Before it; None for a submit."""
    attempt_id: AttemptId | None = None
    attempt_number: int | None = None
    reason: Reason | None = None
    message: str | None = None
    """The reason for people."""
    deliveries: int = 0
    """Webhook messages that were written along with it."""
    ready: ReadyTask | None = None
    """With state ``queued``: what the scheduler needs, so that it need not ask the store."""
    runtime: str | None = None
    """Of a new task: which runtime it needs, if not that of commands."""
    worker_id: WorkerId | None = None
    """Of an assigned one: where it goes."""
    resources: Resources | None = None
    """Of an assigned one: what it is granted there."""

    @classmethod
    def submitted(
        cls,
        new: NewTask,
        seq: int,
        *,
        at: Instant | None = None,
        ready: ReadyTask | None = None,
        kind: str = "submitted",
    ) -> "Change":
        """A new task was stored; ``ready`` unless it waits for its time or is placed already."""
        runtime = needed_runtime(new.spec.work)
        return cls(
            kind=kind,
            at=new.created_at if at is None else at,
            task_id=new.id,
            seq=seq,
            workspace=new.workspace,
            group=new.spec.group,
            state=new.state,
            ready=ready,
            runtime=None if runtime == DEFAULT_RUNTIME else runtime,
        )

    @classmethod
    def assigned(cls, task: Task, attempt: Attempt) -> "Change":
        """A queued task was given to a worker."""
        return cls(
            kind="assigned",
            at=attempt.assigned_at,
            task_id=task.id,
            seq=task.seq,
            workspace=task.workspace,
            group=task.spec.group,
            state=TaskState.RUNNING,
            was=TaskState.QUEUED,
            attempt_id=attempt.id,
            attempt_number=attempt.number,
            worker_id=attempt.worker_id,
            resources=attempt.resources,
        )


class Cached(StrEnum):
    """What control planes keep in memory of what others may change, by the keys it has."""

    TOKEN = "token"  # noqa: S105 - no secret
    """A token by its id: it was revoked."""
    USER = "user"
    """A user by its name: it was removed, or its password changed."""
    FUNCTIONS = "functions"
    """Functions and which versions are live; all of them."""
    LIMITS = "limits"
    """Limits and pauses of groups and workspaces; all of them."""
    WORKERS = "workers"
    """Which workers are draining; all of them."""
    MAINTENANCE = "maintenance"
    """The switch of the installation."""
    LIST = "list"
    """What a list shows, ``WORKSPACE/GROUP``: entries were taken off."""
    JOBS = "jobs"
    """When jobs start by themselves; all of them."""
    SCHEDULES = "schedules"
    """When schedules of functions fire, and what triggers follow; all of them."""
    DELIVERIES = "deliveries"
    """Messages that are to be sent, but for those that changes tell of; all of them."""


class Outdated(Struct, frozen=True):
    """Something that control planes keep in memory, and have to read again."""

    what: str
    """One of :class:`Cached`; another release may know others."""
    key: str = ""


class Committed(Struct, frozen=True, omit_defaults=True):
    """What one commit changed, as control planes tell each other through the store."""

    changes: tuple[Change, ...] = ()
    """In order."""
    outdated: tuple[Outdated, ...] = ()


class Event(Struct, frozen=True):
    """One line of a task's history."""

    number: int
    """Counts 1, 2, 3 … within the task."""
    kind: str
    """See :class:`Change`."""
    at: Instant
    attempt_id: AttemptId | None = None
    actor: str | None = None
    """Who asked for it, such as ``token ci``; None when the engine did it by itself."""
    detail: str | None = None
    """More for people, in one line."""
