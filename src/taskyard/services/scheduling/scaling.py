"""How many workers are wanted, for autoscalers: from the store, so that any plane may answer."""

from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.core.scheduling.requirements import requirements_of
from taskyard.core.scheduling.scaling import Sample, TagDemand, demand_by_tag
from taskyard.core.states import TaskState
from taskyard.ports.dispatching import DispatchStore
from taskyard.ports.store import TaskQuery, TaskStore
from taskyard.ports.workspaces import GroupStore

LOOKED_AT: Final = 500
"""Tasks that are looked at of those that wait, and of those that run."""


class Scaling:
    """Looks at one group of the caller's workspace."""

    def __init__(self, dispatch: DispatchStore, tasks: TaskStore, groups: GroupStore) -> None:
        self._dispatch = dispatch
        self._tasks = tasks
        self._groups = groups

    async def demand(self, caller: Caller, group: GroupName, slots: int) -> list[TagDemand]:
        """What waits and runs by tag, and the workers with so many slots that it wants.

        Raises ``InvalidInput``, or as the store does.
        """
        if not 1 <= len(group) <= 255:
            raise InvalidInput("group", "must be 1 to 255 characters")
        workspace = caller.workspace
        record = await self._groups.group(workspace, group)
        waiting = record.counts.get(TaskState.QUEUED.value, 0)
        running = record.counts.get(TaskState.RUNNING.value, 0)
        if not waiting and not running:
            return []
        ready = await self._dispatch.ready(workspace, group, None, LOOKED_AT) if waiting else []
        page = await self._tasks.list_tasks(
            TaskQuery(
                workspace, frozenset({TaskState.RUNNING}), group, oldest_first=True, limit=LOOKED_AT
            )
        )
        startable = None if record.concurrency_limit is None else record.concurrency_limit - running
        limits, _ = await self._groups.limits()
        if (limit := limits.get(workspace)) is not None:
            counts = await self._tasks.counts(workspace)
            left = limit - counts.get(TaskState.RUNNING, 0)
            startable = left if startable is None else min(startable, left)
        if record.paused:
            startable = 0
        return demand_by_tag(
            Sample([one.requirements for one in ready], waiting),
            Sample([requirements_of(one.spec) for one in page.tasks], running),
            None if startable is None else max(0, startable),
            slots,
        )
