"""What holds in every store at every moment: the checker's rules, and that the ports tell of it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from fakes.specs import WS
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.states import TaskState
from taskyard.core.tasks import Task
from taskyard.ports.store import TaskQuery
from taskyard.store.sql.check import check_rows
from taskyard.store.sql.repositories import Repositories

PAGE: Final = 500


async def check_invariants(store: Any, *workspaces: WorkspaceName) -> list[Task]:
    """Fail where two parts of what a store knows disagree.

    The rows of one with a database are checked as ``taskyard store check`` does. Then the ports are
    asked: they tell of each task once, count what there is, and offer the queued ones only.

    Args:
        store: any adapter, with nothing going on in it.
        workspaces: where to look, besides the default one and those the counters tell of.

    Returns:
        All tasks, in order of acceptance.
    """
    if isinstance(store, Repositories):
        findings = await store.session.read(lambda connection: list(check_rows(connection)))
        assert not findings
    counted = await store.dispatch.counts()
    names = {WS, *workspaces, *(workspace for workspace, _ in counted)}
    tasks = [task for name in sorted(names) for task in await _all_tasks(store, name)]
    totals = Counter((task.workspace, task.state) for task in tasks)
    assert {key: total for key, total in counted.items() if total} == dict(totals)
    await _check_queues(store, tasks)
    running = [one.attempt.id for one in await store.dispatch.running()]
    held = [task.current_attempt for task in tasks if task.state is TaskState.RUNNING]
    assert sorted(running) == sorted(one for one in held if one is not None), "an orphan runs"
    return sorted(tasks, key=lambda task: task.seq)


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
