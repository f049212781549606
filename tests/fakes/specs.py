"""New tasks in one line."""

from itertools import count
from typing import Any
from uuid import UUID

from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, NewTask, TaskSpec

NOW = Instant(1_700_000_000 * SECOND)
WS = WorkspaceName("default")
_numbers = count(1)


def spec(**members: Any) -> TaskSpec:
    """A specification that runs ``true`` unless told otherwise."""
    group = GroupName(members.pop("group", "default"))
    return TaskSpec(work=members.pop("work", Command(argv=("true",))), group=group, **members)


def new_task(
    *,
    workspace: str = "default",
    start_at: Instant | None = None,
    now: Instant = NOW,
    task_id: str | None = None,
    **members: Any,
) -> NewTask:
    """A task that is ready at once, or at ``start_at``; other members go into its specification."""
    return NewTask(
        id=TaskId(task_id or str(UUID(int=next(_numbers) + (1 << 90)))),
        workspace=WorkspaceName(workspace),
        spec=spec(**members),
        state=TaskState.QUEUED if start_at is None else TaskState.SCHEDULED,
        created_at=now,
        start_at=start_at,
    )
