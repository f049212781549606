"""Jobs to put into a store, and executions of theirs that run and end."""

from typing import Any, Final
from uuid import UUID

from dispatching import end, placement

from fakes.specs import NOW, WS, spec
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.jobs import Execution, Job, JobDefinition, JobKey
from taskyard.core.notifications.messages import DeliveryKind, Message
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import WebhookEvent
from taskyard.ports.jobs import Start, Stored

GROUP: Final = GroupName("mail")
OTHER: Final = WorkspaceName("other")
OPEN: Final = {TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING}


def key(number: int = 1, group: str = GROUP, workspace: WorkspaceName = WS) -> JobKey:
    """Where a job is found."""
    return JobKey(workspace, GroupName(group), str(UUID(int=number)))


async def put(
    store: Any,
    where: JobKey,
    start: Instant | None = None,
    *,
    ticket: str = "ticket",
    kept: tuple[str, ...] = (),
    now: Instant = NOW,
    **members: Any,
) -> Stored:
    """Put a job that starts at once, or at a time; other members go into its definition."""
    made = JobDefinition(**{"spec": spec(group=where.group), **members})
    stored: Stored = await store.jobs.put(where, made, Start(start), ticket, kept, now, "me")
    return stored


async def start(store: Any, where: JobKey, **members: Any) -> TaskId:
    """Put a job that starts at once; the execution it makes."""
    stored = await put(store, where, **members)
    assert stored.execution is not None
    return stored.execution


async def executions(store: Any, where: JobKey) -> list[Execution]:
    """All of a job, oldest first."""
    job: Job = await store.jobs.job(where)
    found: list[Execution] = await store.jobs.executions(job, 100)
    return found[::-1]


async def states(store: Any, where: JobKey) -> list[TaskState]:
    """Of all executions of a job, oldest first."""
    return [one.task.state for one in await executions(store, where)]


async def run(store: Any, task_id: TaskId, now: Instant = NOW) -> str:
    """Have an execution placed; the name of its attempt. There has to be a worker."""
    task = await store.tasks.task(WS, task_id)
    name = f"attempt of {task_id}"
    placed, _ = await store.dispatch.place([placement(task_id, task.seq, name)], now)
    assert len(placed) == 1
    return name


async def fail(store: Any, task_id: TaskId) -> None:
    """Have an execution run and end with a bad exit."""
    name = await run(store, task_id)
    _, refused = await end(store, AttemptState.FAILED, name, reason=Reason.EXIT_CODE, exit_code=1)
    assert not refused


def message(position: int = 0, kind: DeliveryKind = DeliveryKind.PLAIN) -> Message:
    """One about an execution."""
    return Message(kind, WebhookEvent.FINISHED, position, "http://127.0.0.1:1/", b"it is over")
