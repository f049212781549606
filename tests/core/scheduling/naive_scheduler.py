"""The scheduler that sorts everything again each time, and the pieces that tests are made of."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from taskyard.core.ids import IncarnationId, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling import fairness
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.pools import Pool
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask, Requirements

GIB = 1 << 30
START = Instant(1_700_000_000 * SECOND)


def ready(
    seq: int,
    key: QueueKey,
    priority: int,
    asked: Resources,
    now: Instant,
    runtime: str = "command",
    policy: Policy | None = None,
) -> ReadyTask:
    """A task that became ready now."""
    requirements = Requirements(asked, runtime, policy)
    return ReadyTask(
        seq, TaskId(f"task-{seq}"), key.workspace, key.group, priority, requirements, now
    )


def is_free(task: ReadyTask) -> bool:
    """Whether it takes no room at all."""
    asked = task.requirements.resources
    return (
        asked.slots == 0
        and asked.cpu_millis is None
        and asked.memory_bytes is None
        and task.requirements.policy is None
    )


def rooms_of(*sizes: tuple[int, int, int]) -> list[Room]:
    """Empty workers w0, w1 … with slots, thousandths of a core, GiB."""
    rooms = []
    for number, (slots, cpu, gib) in enumerate(sizes):
        capacity = Capacity(slots, cpu, gib * GIB)
        name = WorkerId(f"w{number}")
        cores = tuple(range(cpu // 1000))
        nodes = (NumaNode(0, cores[:1], 2 * GIB), NumaNode(1, cores[1:], 2 * GIB))
        topology = Topology(nodes, cpu_factor=1 + number % 2)
        room = Room(name, IncarnationId(f"life-{number}"), capacity, capacity)
        tags = frozenset({"gpu"}) if number % 2 else frozenset()
        rooms.append(replace(room, topology=topology, nodes=topology.free, tags=tags))
    return rooms


class Naive:
    """Everything that is ready in one dictionary; every decision a sort."""

    def __init__(self) -> None:
        self.tasks: dict[int, ReadyTask] = {}
        self.running: Counter[QueueKey] = Counter()
        self.served: dict[WorkspaceName, int] = {}
        self.paused: set[QueueKey] = set()
        self.limits: dict[QueueKey, int] = {}
        self.workspace_limits: dict[WorkspaceName, int] = {}
        self.stuck: set[int] = set()
        self.kept: dict[int, WorkerId] = {}
        """Workers that the last plan kept free for somebody, by ``seq``."""
        self.pools: Sequence[Pool] = ()
        self.held: list[tuple[ReadyTask, WorkerId]] = []
        """What runs, and where."""

    def queue(self, key: QueueKey) -> list[ReadyTask]:
        """One group in order."""
        mine = [t for t in self.tasks.values() if (t.workspace, t.group) == key]
        return sorted(mine, key=lambda task: (-task.priority, task.seq))

    def keys(self) -> set[QueueKey]:
        """All groups with something ready."""
        return {QueueKey(task.workspace, task.group) for task in self.tasks.values()}

    def share(self, workspace: WorkspaceName) -> tuple[int, int]:
        """Fewest running first, then served longest ago."""
        running = sum(n for key, n in self.running.items() if key.workspace == workspace)
        return running, self.served.get(workspace, 0)

    def may_go(self, key: QueueKey) -> bool:
        """Whether limits and pauses let a group go."""
        limit = self.limits.get(key)
        cap = self.workspace_limits.get(key.workspace)
        return (
            key not in self.paused
            and (limit is None or self.running[key] < limit)
            and (cap is None or self.share(key.workspace)[0] < cap)
        )

    def placement_class(self, task: ReadyTask, rooms: list[Room]) -> list[Room]:
        """Workers a task may go to at all, room aside."""
        able = [
            room for room in rooms if room.accepting and task.requirements.runtime in room.runtimes
        ]
        if not self.pooled(task):
            return [room for room in able if self.static(task, room)]
        for pool in self.pools:
            mine = [room for room in able if room.worker_id in pool.workers]
            if re.match(pool.match, task.group) and mine:
                held = [one for one in self.held if self.pool_of(*one) is pool]
                full = pool.max_running is not None and len(held) >= pool.max_running
                return [] if full else [room for room in mine if self.static(task, room)]
        return []

    def pooled(self, task: ReadyTask) -> bool:
        """Whether pools concern a task."""
        return task.requirements.runtime == "container" and bool(self.pools)

    def static(self, task: ReadyTask, room: Room) -> bool:
        """Whether a task could ever go there, by its policy."""
        wanted = str(task.requirements.policy)
        return ("gpu" in room.tags or "MatchTag" not in wanted) and (
            not room.tags or "NoTag" not in wanted
        )

    def accepts(self, task: ReadyTask, room: Room) -> bool:
        """Whether a task could go there now, by its policy."""
        same = (task.workspace, task.group)
        count = sum(
            (one.workspace, one.group) == same and worker == room.worker_id
            for one, worker in self.held
        )
        wanted = str(task.requirements.policy)
        return self.static(task, room) and not (
            ("OnePerHost" in wanted and count) or ("MaxPerHost(max=2)" in wanted and count >= 2)
        )

    def has_room(self, task: ReadyTask, room: Room) -> bool:
        """Whether a task could go there now."""
        asked = task.requirements.resources
        cores = asked.cores is None or any(
            len(node.cores) >= asked.cores and node.memory_bytes >= (asked.memory_bytes or 0)
            for node in room.nodes
        )
        return room.free.fits(asked) and cores and self.accepts(task, room)

    def pool_of(self, task: ReadyTask, worker: WorkerId) -> Pool | None:
        """The pool that something running counts for."""
        if not self.pooled(task):
            return None
        for pool in self.pools:
            if re.match(pool.match, task.group) and worker in pool.workers:
                return pool
        return None

    def heads(self, workspace: WorkspaceName, rooms: list[Room]) -> list[ReadyTask]:
        """First tasks of the groups that may go, in order."""
        found = [
            self.queue(key)[0]
            for key in self.keys()
            if key.workspace == workspace
            and self.may_go(key)
            and self.placement_class(self.queue(key)[0], rooms)
        ]
        return sorted(found, key=lambda task: (not is_free(task), -task.priority, task.seq))

    def reserved(self, rooms: list[Room], now: Instant) -> dict[WorkerId, int]:
        """Workers kept free for heads that wait for long."""
        kept: dict[WorkerId, int] = {}
        heads = {h.seq: h for w in {k.workspace for k in self.keys()} for h in self.heads(w, rooms)}
        for seq in sorted(self.stuck & heads.keys()):
            if now - heads[seq].queued_at < 30 * SECOND:
                continue
            able = [
                room
                for room in self.placement_class(heads[seq], rooms)
                if room.worker_id not in kept
                and room.could_fit(heads[seq].requirements)
                and self.accepts(heads[seq], room)
            ]
            again = [room for room in able if room.worker_id == self.kept.get(seq)]
            if again:
                kept[again[0].worker_id] = seq
            elif able:
                best = max(able, key=lambda room: (room.free.memory_bytes, room.free.slots))
                kept[best.worker_id] = seq
        return kept

    def room_for(self, task: ReadyTask, rooms: list[Room], now: Instant) -> Room | None:
        """The least loaded worker that is open to a task and has room."""
        kept = self.reserved(rooms, now)
        able = [
            room
            for room in self.placement_class(task, rooms)
            if (is_free(task) or kept.get(room.worker_id, task.seq) == task.seq)
            and self.has_room(task, room)
        ]
        return min(able, key=lambda room: 1 - room.free.slots / room.total.slots, default=None)

    def choices(self, rooms: list[Room], now: Instant) -> list[tuple[int, WorkerId, set[int]]]:
        """What may be chosen next (several only if workspaces are tied), and who is passed over."""
        if not any(room.accepting for room in rooms):
            return []
        passed: set[int] = set()
        options = []
        by_name = {room.worker_id: room for room in rooms}
        for worker, seq in self.reserved(rooms, now).items():
            if self.has_room(self.tasks[seq], by_name[worker]):
                return [(seq, worker, passed)]
        shares: dict[tuple[int, int], list[WorkspaceName]] = {}
        for workspace in {key.workspace for key in self.keys()}:
            shares.setdefault(self.share(workspace), []).append(workspace)
        for share in sorted(shares):
            tied = []
            for workspace in shares[share]:
                for head in self.looked_at(workspace, rooms):
                    room = self.room_for(head, rooms, now)
                    if room is not None:
                        tied.append((head.seq, room.worker_id, set(passed)))
                        break
                    passed.add(head.seq)
            if tied:
                options = tied
                break
        return options

    def looked_at(self, workspace: WorkspaceName, rooms: list[Room]) -> Iterator[ReadyTask]:
        """Heads in order; of those with policies and those without so many at most."""
        looked = {False: 0, True: 0}
        for head in self.heads(workspace, rooms):
            apart = head.requirements.policy is not None
            looked[apart] += 1
            if looked[apart] <= fairness.LOOK_PAST + 1:
                yield head
