"""What a leader has in memory of the store: loaded, followed, and compared with it now and then."""

from collections.abc import Mapping, Sequence

import anyio

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId, WorkspaceName
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.pools import Pools
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.states import TaskState
from taskyard.ports.dispatching import DispatchStore, Running
from taskyard.ports.workspaces import GroupRecord, GroupStore
from taskyard.services.scheduling.cluster_state import ClusterState, Reservation


class SchedulerMemory:
    """Which tasks are ready, limits and pauses of groups, and who holds room.

    Args:
        store: where tasks and attempts are.
        groups: where limits are.
        cluster: which workers there are, and what is held on them.
        pools: how room is divided.
    """

    def __init__(
        self, store: DispatchStore, groups: GroupStore, cluster: ClusterState, pools: Pools
    ) -> None:
        self._store = store
        self._groups = groups
        self._cluster = cluster
        self._pools = pools
        self.queues = ReadyQueues(pools)
        self.is_loading = False
        """Whether it is not complete yet."""
        self._limited: set[QueueKey] = set()
        self._limits_wanted = self._limits_known = 0
        self._limits_reading = anyio.Lock()
        self._drops = 0
        self._ended_since: set[AttemptId] | None = None
        """Attempts of whose end was heard since the store was asked what is running."""

    async def load(self) -> None:
        """Learn what is running, limited and ready; changes have to be followed from here on."""
        self.is_loading = True
        self._ended_since = set()
        for record in await self._store.workers():
            if record.draining:
                self._cluster.drain(record.id, draining=True)
        for running in await self._store.running():
            if running.attempt.id not in self._ended_since:
                self._hold(running)
        self._ended_since = None
        await self.read_limits()
        for backlog in await self._store.backlogs():
            # Also where some are known: they came meanwhile, behind those that waited before.
            self.queues.reread(QueueKey(backlog.workspace, backlog.group))
        self.is_loading = False

    def drop(self) -> None:
        """Forget tasks and limits, until :meth:`load`."""
        self.is_loading = False
        self._ended_since = None
        self.queues = ReadyQueues(self._pools)
        self._limited.clear()
        self._drops += 1

    async def reconcile(self, unsettled: set[AttemptId]) -> None:
        """Compare with the store; ``unsettled`` attempts may not be stored yet."""
        settled = self._cluster.held() - unsettled
        self._ended_since = set()
        stored = {running.attempt.id: running for running in await self._store.running()}
        ended, self._ended_since = self._ended_since, None
        for attempt_id in settled - stored.keys():
            self.free(attempt_id)
        for attempt_id in stored.keys() - self._cluster.held() - ended:
            self._hold(stored[attempt_id])
        for record in await self._store.workers():
            self._cluster.drain(record.id, draining=record.draining)
        await self.read_limits()
        for backlog in await self._store.backlogs():
            key = QueueKey(backlog.workspace, backlog.group)
            self.queues.expect(key, backlog.queued)

    async def read_limits(self) -> None:
        """Read limits and pauses again."""
        self._limits_wanted += 1
        wanted = self._limits_wanted
        async with self._limits_reading:
            if self._limits_known < wanted:
                # One look for all who have asked by now.
                looked, drops = self._limits_wanted, self._drops
                workspaces, groups = await self._groups.limits()
                if drops == self._drops:
                    self._limit(workspaces, groups)
                    self._limits_known = looked

    def free(self, attempt_id: AttemptId) -> Reservation | None:
        """An attempt holds no room any more; None if it held none."""
        held = self._cluster.free(attempt_id)
        if held is not None:
            self.queues.ended(held.key, held.pool)
        return held

    def follow(self, changes: Sequence[Change]) -> None:
        """Take in what was committed."""
        for change in changes:
            if change.was is TaskState.RUNNING:
                self._ended(change)
            elif change.was is TaskState.QUEUED and change.state is not TaskState.RUNNING:
                self.queues.remove(change.workspace, change.group, change.seq)
            if change.ready is not None:
                self.queues.add(change.ready)

    def follow_ends(self, changes: Sequence[Change]) -> None:
        """Take in those attempts that ended, before :meth:`follow` tells of them."""
        for change in changes:
            if change.was is TaskState.RUNNING:
                self._ended(change)

    def _ended(self, change: Change) -> None:
        """An attempt has ended, unless its task still runs; it may be told more than once."""
        if change.state is TaskState.RUNNING or change.attempt_id is None:
            return
        self.free(change.attempt_id)
        if self._ended_since is not None:
            self._ended_since.add(change.attempt_id)

    def _hold(self, running: Running) -> None:
        attempt, key = running.attempt, QueueKey(running.attempt.workspace, running.group)
        pool = self._pools.of(running.group, running.requirements.runtime, attempt.worker_id)
        self._cluster.hold(attempt.id, Reservation(attempt.worker_id, key, attempt.resources, pool))
        self.queues.began(key, pool)

    def _limit(
        self, workspaces: Mapping[WorkspaceName, int], groups: Sequence[GroupRecord]
    ) -> None:
        now_limited = set()
        for record in groups:
            key = QueueKey(record.workspace, record.name)
            now_limited.add(key)
            self.queues.set_group(key, paused=record.paused, limit=record.concurrency_limit)
        for key in self._limited - now_limited:
            self.queues.set_group(key, paused=False, limit=None)
        self._limited = now_limited
        self.queues.set_workspaces(workspaces)
