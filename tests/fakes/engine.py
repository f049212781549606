"""The engine's services on fakes: virtual time, a store in memory, workers that do as told."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from fakes.clock import CountingIds, VirtualClock, settled
from fakes.memory import MemoryStore
from fakes.worker import FakeTransport, FakeWorker
from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.access.principals import INSTALLATION, AuditEntry, Caller, Role
from taskyard.core.availability import RuntimeStatus
from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.core.scheduling.pools import Pool, Pools
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.services.access.audit import Audit
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.administration import Workers
from taskyard.services.scheduling.admission import Admission
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.rule_budget import RuleBudgetSource
from taskyard.services.scheduling.timers import Timers
from taskyard.services.scheduling.why import Why
from taskyard.services.scheduling.worker_gateway import WorkerGateway
from taskyard.services.tasks.groups import Groups
from taskyard.services.tasks.retention import Retention
from taskyard.services.tasks.tasks import Tasks

WS = WorkspaceName("default")
CALLER = Caller("user me", WS, Role.ADMIN)
READER = Caller("user you", WS, Role.READ)
OPERATOR = Caller("token ops", INSTALLATION, Role.READ, installation=Role.OPERATE)
STRANGER = Caller("user them", WorkspaceName("other"), Role.ADMIN)


class FakeLogs:
    """Remembers whose logs were deleted."""

    def __init__(self) -> None:
        self.deleted: list[AttemptId] = []

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See ``ports.logs.LogStore``."""
        self.deleted += attempt_ids


class FakeSecrets:
    """Plain values by name, or trouble."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.trouble: Exception | None = None

    async def resolve(self, _workspace: WorkspaceName, names: Any) -> dict[str, str]:
        """See ``services.secrets.Secrets``."""
        await checkpoint()
        if self.trouble is not None:
            raise self.trouble
        for name in names:
            if name not in self.values:
                raise NotFound("secret", name)
        return {name: self.values[name] for name in names}


class FakeAudit:
    """Keeps entries in a list."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def append(self, entry: AuditEntry) -> int:
        """See ``ports.access.AuditStore``."""
        self.entries.append(entry)
        return len(self.entries)

    async def recount(self, more: Mapping[int, int]) -> None:
        """See ``ports.access.AuditStore``."""
        for number, count in more.items():
            entry = self.entries[number - 1]
            self.entries[number - 1] = replace(entry, count=entry.count + count)

    async def audit(
        self, _workspace: WorkspaceName, _before: int | None, _limit: int
    ) -> list[AuditEntry]:
        """See ``ports.access.AuditStore``."""
        return self.entries


class FakeSender:
    """Lets every URL pass."""

    def check_url(self, url: str, field: str = "url") -> None:
        """See ``ports.http.HttpSender``."""


class World:
    """Everything wired as the server wires it."""

    def __init__(
        self,
        store: Any = None,
        *,
        clock: VirtualClock | None = None,
        ids: CountingIds | None = None,
        max_queued: int = 1000,
        keep_s: float | None = None,
        keep_count: int | None = None,
        pools: Sequence[Pool] = (),
        containers: ContainerRule = ContainerRule(),  # noqa: B008 - frozen
        steps_per_s: int | None = None,
        bus: Bus | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.store = store or MemoryStore(now=self.clock.now)
        self.ids = ids or CountingIds()
        self.transport = FakeTransport()
        self.logs = FakeLogs()
        self.secrets = FakeSecrets()
        logs: Any = self.logs
        secrets: Any = self.secrets
        self.trail = FakeAudit()
        sender: Any = FakeSender()
        audit = Audit(self.trail, self.clock)
        self.bus = bus or Bus()
        self.rooms = ClusterState(self.clock.monotonic)
        self.counters = TaskCounters(self.bus)
        self.load = Admission(max_queued, self.counters.waiting, self.clock.monotonic)
        self.kill = KillOrders(self.transport, self.bus, self.clock)
        dispatching = self.store.dispatch
        self.assignments = Assignments(secrets, 1 << 20, containers=containers)
        self.dispatch = Dispatch(
            dispatching,
            self.store.groups,
            self.transport,
            self.assignments,
            self.kill,
            self.bus,
            self.rooms,
            self.clock,
            self.ids,
            Pools(pools),
            None if steps_per_s is None else RuleBudgetSource(steps_per_s, self.clock.monotonic),
        )
        self.due = Timers(dispatching, self.bus, self.clock)
        self.leases = Leases(dispatching, self.rooms, self.clock, self.clock.monotonic)
        self.rescue = Rescue(
            dispatching,
            self.dispatch,
            self.kill,
            self.rooms,
            self.leases,
            self.bus,
            self.clock,
            self.clock.monotonic,
        )
        self.gateway = WorkerGateway(
            dispatching,
            self.store.tasks,
            self.assignments,
            self.dispatch,
            self.kill,
            self.rooms,
            self.leases,
            self.bus,
            self.clock,
            self.ids,
        )
        self.prune = Retention(dispatching, logs, self.clock, keep_s, keep_count)
        self.tasks = Tasks(
            self.store.tasks,
            logs,
            self.bus,
            self.kill,
            self.load,
            self.clock,
            self.ids,
            sender,
            audit,
            self.dispatch,
            containers=containers,
        )
        self.groups = Groups(self.store.groups, self.dispatch, audit)
        self.why = Why(self.store.tasks, self.dispatch)
        self.workers = Workers(dispatching, self.dispatch, audit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        """Load what is stored and let the loops run."""
        await self.counters.load(self.store.dispatch)
        await self.dispatch.load()
        await self.rescue.load()
        async with anyio.create_task_group() as group:
            for loop in (self.dispatch.run, self.due.run, self.rescue.run, self.leases.run):
                group.start_soon(loop)
            await self.complete()
            yield self
            group.cancel_scope.cancel()
        self.dispatch.close()
        self.due.close()
        self.bus.close()

    async def complete(self) -> None:
        """Let everything happen that happens without time passing."""
        await settled()

    async def dispatching(self) -> None:
        """Let the scheduler see a change."""
        await self.complete()

    async def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass in steps; workers beat at each."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 1e-9:
            self.clock.advance(min(step, left))
            await self.complete()
            for worker in self.transport.workers.values():
                await worker.beat()
            await self.complete()

    async def worker(
        self,
        name: str = "w1",
        slots: int = 2,
        capacity: Capacity | None = None,
        *,
        runtimes: Sequence[str] = ("command",),
        topology: Topology = Topology(),  # noqa: B008 - frozen
        tags: Sequence[str] = (),
    ) -> FakeWorker:
        """A worker that has joined."""
        worker = FakeWorker(self, name, slots, capacity)
        worker.statuses = dict.fromkeys(runtimes, RuntimeStatus())
        worker.topology, worker.tags = topology, tuple(tags)
        self.transport.workers[worker.id] = worker
        await worker.join()
        return worker

    async def submit(self, caller: Caller = CALLER, **members: Any) -> Task:
        """A task that runs ``true`` unless told otherwise; the scheduler has seen it."""
        work = members.pop("work", Command(argv=("true",)))
        task, _ = await self.tasks.submit(caller, TaskSpec(work=work, **members))
        await self.complete()
        return task

    async def task(self, task_id: TaskId) -> Task:
        """As it is now."""
        return await self.store.tasks.task(WS, task_id)  # type: ignore[no-any-return]

    async def state(self, task_id: TaskId) -> str:
        """Its state as a word."""
        return (await self.task(task_id)).state.value
