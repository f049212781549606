"""What holds in every store at every moment, told through its ports alone."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from fakes.specs import WS
from taskyard.core.attempts import Attempt
from taskyard.core.changes import Event
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.states import ENDED_ATTEMPT, TERMINAL, AttemptState, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.store import TaskQuery

PAGE: Final = 500
LONGEST_HISTORY: Final = 10_000
STATES_AFTER: Final = {
    "due": TaskState.QUEUED,
    "assigned": TaskState.RUNNING,
    "started": TaskState.RUNNING,
    "kill_requested": TaskState.RUNNING,
    "retrying": TaskState.RETRYING,
    "requeued": TaskState.QUEUED,
    "rescheduled": TaskState.SCHEDULED,
    "parked": TaskState.SCHEDULED,
    "succeeded": TaskState.SUCCEEDED,
    "failed": TaskState.FAILED,
    "dead": TaskState.DEAD,
    "cancelled": TaskState.CANCELLED,
    "expired": TaskState.EXPIRED,
}
"""The state that a line of a task's history leaves it in; other lines leave it as it is."""
ENDS_OF_ATTEMPTS: Final = frozenset(
    {"succeeded", "failed", "dead", "retrying", "requeued", "cancelled"}
)


async def check_invariants(store: Any, *workspaces: WorkspaceName) -> list[Task]:
    """Walk everything that a store knows of tasks, and fail where two parts of it disagree.

    Each task is in one state, which its attempts and its history agree with; histories are numbered
    1, 2, 3 …; kept counters equal counts; no attempt runs that is not a running task's own; a key
    and a firing time stand for one task.

    Args:
        store: any adapter, with nothing going on in it.
        workspaces: where to look, besides the default one and those the counters tell of.

    Returns:
        All tasks, in order of acceptance.
    """
    counted = await store.dispatch.counts()
    names = {WS, *workspaces, *(workspace for workspace, _ in counted)}
    tasks: list[Task] = []
    for workspace in sorted(names):
        tasks += await _check_workspace(store, workspace)
    totals = Counter((task.workspace, task.state) for task in tasks)
    assert {key: total for key, total in counted.items() if total} == dict(totals)
    await _check_queues(store, tasks)
    running = [one.attempt.id for one in await store.dispatch.running()]
    held = [task.current_attempt for task in tasks if task.state is TaskState.RUNNING]
    assert sorted(running) == sorted(one for one in held if one is not None), "an orphan runs"
    seqs = [task.seq for task in tasks]
    assert len(set(seqs)) == len(seqs), "two tasks have one position"
    return sorted(tasks, key=lambda task: task.seq)


async def _check_workspace(store: Any, workspace: WorkspaceName) -> list[Task]:
    tasks = await _all_tasks(store, workspace)
    totals = Counter(task.state for task in tasks)
    assert await store.tasks.counts(workspace) == dict(totals)
    for group in {task.spec.group for task in tasks}:
        of_group = Counter(task.state for task in tasks if task.spec.group == group)
        assert await store.tasks.counts(workspace, group) == dict(of_group)
    keys = [task.spec.idempotency_key for task in tasks if task.spec.idempotency_key]
    assert len(set(keys)) == len(keys), "a key stands for two tasks"
    firings = [(task.schedule_id, task.due_at) for task in tasks if task.schedule_id]
    assert len(set(firings)) == len(firings), "a schedule fired twice for one moment"
    for task in tasks:
        attempts = await store.tasks.attempts(workspace, task.id)
        events = await store.tasks.events(workspace, task.id, 0, LONGEST_HISTORY)
        check_task(task, attempts, events)
        for attempt in attempts:
            assert await store.tasks.attempt(workspace, attempt.id) == attempt
    return tasks


async def _all_tasks(store: Any, workspace: WorkspaceName) -> list[Task]:
    query = TaskQuery(workspace=workspace, oldest_first=True, limit=PAGE)
    tasks: list[Task] = []
    while True:
        page = await store.tasks.list_tasks(query)
        tasks += page.tasks
        if page.next_seq is None:
            return tasks
        query = TaskQuery(
            workspace=workspace, oldest_first=True, limit=PAGE, after_seq=page.next_seq
        )


async def _check_queues(store: Any, tasks: Sequence[Task]) -> None:
    """The scheduler is told of every queued task once, and of no other."""
    queued: dict[tuple[WorkspaceName, GroupName], list[Task]] = {}
    for task in tasks:
        if task.state is TaskState.QUEUED:
            queued.setdefault((task.workspace, task.spec.group), []).append(task)
    backlogs = {(one.workspace, one.group): one.queued for one in await store.dispatch.backlogs()}
    assert backlogs == {key: len(waiting) for key, waiting in queued.items()}
    for (workspace, group), waiting in queued.items():
        ready = await store.dispatch.ready(workspace, group, None, len(waiting) + 1)
        ordered = sorted(waiting, key=lambda task: (-task.spec.priority, task.seq))
        assert [one.id for one in ready] == [task.id for task in ordered]


def check_task(task: Task, attempts: Sequence[Attempt], events: Sequence[Event]) -> None:
    """One task against its attempts and its history."""
    assert [one.number for one in attempts] == list(range(1, task.attempt_count + 1))
    assert {(one.task_id, one.workspace) for one in attempts} <= {(task.id, task.workspace)}
    unended = [one.id for one in attempts if one.state not in ENDED_ATTEMPT]
    holds = [] if task.current_attempt is None else [task.current_attempt]
    assert unended == holds, f"{task.id} holds {holds}, and {unended} have not ended"
    assert bool(holds) == (task.state is TaskState.RUNNING)
    for one in attempts:
        assert (one.finished_at is not None) == (one.state in ENDED_ATTEMPT)
    assert (task.finished_at is not None) == (task.state in TERMINAL)
    assert task.kill_requested_at is None or task.state is TaskState.RUNNING
    if task.state in {TaskState.SCHEDULED, TaskState.RETRYING}:
        assert task.start_at is not None, f"nothing would ever wake {task.id}"
    if task.state is TaskState.SUCCEEDED:
        assert [one.state for one in attempts[-1:]] == [AttemptState.SUCCEEDED]
    _check_history(task, attempts, events)


def _check_history(task: Task, attempts: Sequence[Attempt], events: Sequence[Event]) -> None:
    kinds = [one.kind for one in events]
    assert [one.number for one in events] == list(range(1, len(events) + 1)), kinds
    assert kinds.count("submitted") == 1
    assert kinds[0] == "submitted"
    state: TaskState | None = None
    for kind in kinds[1:]:
        then = STATES_AFTER.get(kind)
        assert state not in TERMINAL or then is None, f"{task.id} went on after its end: {kinds}"
        state = then or state
    if state is not None:
        assert state is task.state, f"{task.id} is {task.state}, its history says {kinds}"
    else:
        assert task.state in {TaskState.QUEUED, TaskState.SCHEDULED}
    assigned = [one.attempt_id for one in events if one.kind == "assigned"]
    assert assigned == [one.id for one in attempts]
    started = [one.attempt_id for one in events if one.kind == "started"]
    assert started == [one.id for one in attempts if one.started_at is not None]
    ended = [one.attempt_id for one in events if one.kind in ENDS_OF_ATTEMPTS and one.attempt_id]
    assert ended == [one.id for one in attempts if one.state in ENDED_ATTEMPT]
