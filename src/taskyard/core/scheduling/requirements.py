"""What a task asks of the worker it goes to, and how the scheduler knows a ready task."""

from typing import Final

from msgspec import Struct

from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import Policy
from taskyard.core.tasks import NewTask, Task, TaskSpec, needed_runtime

DEFAULT_RUNTIME: Final = "command"


class Requirements(Struct, frozen=True, omit_defaults=True):
    """What a worker must offer before a task can be placed on it."""

    resources: Resources = Resources()
    runtime: str = DEFAULT_RUNTIME
    """The worker has to have this runtime."""
    policy: Policy | None = None
    """What else has to be true of the worker; any will do when None."""
    timeout_s: float | None = None
    """Seconds it may run, which a worker that is to leave has to have left; no limit when None."""

    @property
    def is_free(self) -> bool:
        """Whether it takes no capacity."""
        asked = self.resources
        return not (asked.slots or asked.millis or asked.memory_bytes or self.policy)

    @property
    def is_plain(self) -> bool:
        """Whether cores and memory say it all."""
        asked = self.resources
        return (
            asked.slots == 1
            and asked.cores is None
            and self.runtime == DEFAULT_RUNTIME
            and self.policy is None
            and self.timeout_s is None
        )


def requirements_of(spec: TaskSpec) -> Requirements:
    """What a specification asks for."""
    return Requirements(spec.resources, needed_runtime(spec.work), spec.placement, spec.timeout_s)


class ReadyTask(Struct, frozen=True, omit_defaults=True):
    """What the scheduler knows about a queued task."""

    seq: int
    id: TaskId
    workspace: WorkspaceName
    group: GroupName
    priority: int
    requirements: Requirements
    queued_at: Instant
    expires_at: Instant | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts before the rank of every task that goes later in its group."""
        return (-self.priority, self.seq)

    @property
    def turn(self) -> tuple[int, int, int]:
        """Sorts the heads of a workspace's groups. What needs no room stands in nobody's way, and
        nobody in its: it goes first, however many others wait for room.
        """
        return (0 if self.requirements.is_free else 1, -self.priority, self.seq)


def ready_task(task: NewTask | Task, seq: int) -> ReadyTask:
    """The queued task as the scheduler knows it, ready since it was created."""
    spec = task.spec
    return ReadyTask(
        seq,
        task.id,
        task.workspace,
        spec.group,
        spec.priority,
        requirements_of(spec),
        task.created_at,
        spec.expires_at,
    )
