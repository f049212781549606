"""Executors as the dialect shows them: workers with their cores, node by node."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from taskyard.core.ids import WorkerId
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import Policy, refusal
from taskyard.core.scheduling.pools import POOLED_RUNTIME
from taskyard.dialects.drove.identities import executor_id
from taskyard.dialects.drove.views import MEBI, milliseconds
from taskyard.ports.dispatching import WorkerRecord
from taskyard.services.engine import Engine

GONE_KEPT_S: Final = 172_800
"""Seconds that an executor which left is still listed."""
PORT: Final = 0
"""Workers of this engine listen nowhere."""


class Executor(Struct, frozen=True):
    """One executor."""

    id: str
    record: WorkerRecord
    room: Room | None
    """None if it is not here."""

    @property
    def state(self) -> str:
        """In the dialect's words."""
        if self.room is None:
            return "REMOVED"
        if self.record.draining:
            return "BLACKLISTED"
        return "ACTIVE" if POOLED_RUNTIME in self.room.runtimes else "UNREADY"

    @property
    def is_active(self) -> bool:
        """Whether tasks are placed on it."""
        return self.state == "ACTIVE"

    @property
    def total_cores(self) -> int:
        """Cores it offers, each as often as it is offered."""
        return 0 if self.room is None else sum(len(one.cores) for one in self.room.topology.free)

    @property
    def free_cores(self) -> int:
        """How many of them are free. What takes shares of cores counts as well."""
        if self.room is None:
            return 0
        free = sum(len(one.cores) for one in self.room.nodes)
        return max(0, min(free, self.room.free.cpu_millis // 1000))

    @property
    def total_mb(self) -> int:
        """Memory it offers."""
        if self.room is None:
            return 0
        return sum(one.memory_bytes for one in self.room.topology.free) // MEBI

    @property
    def free_mb(self) -> int:
        """How much of it is free."""
        if self.room is None:
            return 0
        free = sum(one.memory_bytes for one in self.room.nodes)
        return max(0, min(free, self.room.free.memory_bytes)) // MEBI

    @property
    def tags(self) -> list[str]:
        """Its tags; its host name is one."""
        return sorted({self.record.hostname, *self.record.tags})

    def row(self) -> dict[str, Any]:
        """As the list shows it."""
        return {
            "executorId": self.id,
            "hostname": self.record.hostname,
            "port": PORT,
            "transportType": "HTTP",
            "freeCores": self.free_cores,
            "usedCores": self.total_cores - self.free_cores,
            "freeMemory": self.free_mb,
            "usedMemory": self.total_mb - self.free_mb,
            "tags": self.tags,
            "state": self.state,
        }

    def detail(self) -> dict[str, Any]:
        """As it is shown by itself, without its tasks."""
        free, used, offered = _nodes(self.room)
        return {
            "type": "EXECUTOR",
            "hostname": self.record.hostname,
            "port": PORT,
            "transportType": "HTTP",
            "updated": milliseconds(self.record.beat_at),
            "state": {
                "executorId": self.id,
                "cpus": {"type": "CPU", "freeCores": free[0], "usedCores": used[0]},
                "memory": {"type": "MEMORY", "freeMemory": free[1], "usedMemory": used[1]},
                "layout": {"cores": offered[0], "memory": offered[1]},
            },
            "instances": [],
            "serviceInstances": [],
            "tags": self.tags,
            "metadata": dict(self.record.metadata),
            "executorState": self.state,
            "blacklisted": self.record.draining,
        }

    def event(self) -> dict[str, Any]:
        """Metadata of events about it."""
        return {"EXECUTOR_ID": self.id, "HOSTNAME": self.record.hostname, "PORT": PORT}


_Maps = tuple[dict[str, list[int]], dict[str, int]]


def _nodes(room: Room | None) -> tuple[_Maps, _Maps, _Maps]:
    """Cores and memory by node: free, used, and as offered by the machine."""
    free: _Maps = ({}, {})
    used: _Maps = ({}, {})
    offered: _Maps = ({}, {})
    if room is None:
        return free, used, offered
    left = {one.number: one for one in room.nodes}
    for node, given in zip(room.topology.nodes, room.topology.free, strict=True):
        name, rest = str(node.number), left.get(node.number, given)
        free[0][name], free[1][name] = list(rest.cores), rest.memory_bytes // MEBI
        used[0][name] = sorted(set(given.cores) - set(rest.cores))
        used[1][name] = (given.memory_bytes - rest.memory_bytes) // MEBI
        offered[0][name], offered[1][name] = list(node.cores), node.memory_bytes // MEBI
    return free, used, offered


def present(engine: Engine) -> list[Executor]:
    """The executors that are present."""
    rooms = {room.worker_id: room for room in engine.dispatch.rooms()}
    return [
        Executor(executor_id(record.id), record, rooms.get(record.id))
        for record, _ in engine.dispatch.workers()
    ]


async def known(engine: Engine) -> list[Executor]:
    """The executors that are present or left recently. Raises as the store does."""
    here = present(engine)
    names: set[WorkerId] = {one.record.id for one in here}
    oldest = engine.clock.now() - GONE_KEPT_S * 1_000_000
    gone = [
        Executor(executor_id(record.id), record, None)
        for record in await engine.workers.known()
        if record.id not in names and record.beat_at >= oldest
    ]
    return [*here, *gone]


def capacity_problems(
    executors: Iterable[Executor], where: Policy | None, cores: int, memory_mb: int
) -> list[str]:
    """Why executors cannot take so much now; nothing if they can.

    ``where`` is what their tags have to satisfy.
    """
    able = [
        one
        for one in executors
        if one.is_active
        and one.room is not None
        and (where is None or refusal(where, one.room, 0) is None)
    ]
    problems = []
    free_cores, free_mb = sum(one.free_cores for one in able), sum(one.free_mb for one in able)
    if cores > free_cores:
        problems.append(
            f"Cluster does not have enough CPU. Required: {cores} Available: {free_cores}"
        )
    if memory_mb > free_mb:
        problems.append(
            f"Cluster does not have enough Memory. Required: {memory_mb} Available: {free_mb}"
        )
    nodes = [node for one in able if one.room is not None for node in one.room.topology.nodes]
    widest = max((len(node.cores) for node in nodes), default=0)
    if able and cores > widest:
        problems.append(f"No NUMA node has so many cores. Required: {cores} Max: {widest}")
    return problems
