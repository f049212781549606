"""One decision of the scheduler among thousands of workers: no server, no store, no clock."""

import random
import time
from collections.abc import Sequence

from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain
from taskyard.core.ids import GroupName, IncarnationId, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import (
    Composite,
    MatchTag,
    MaxPerHost,
    OnePerHost,
    RuleBased,
    reserving,
)
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask, Requirements

NAME = "placing"
WORKERS = 5_000
GIB = 1 << 30
NOW = Instant(0)
LIMIT = Requirement("figure", "under", 1, "ms")

_GPU = MatchTag("gpu")
DEMANDS = {
    "half a core and 1 GiB": Requirements(Resources(500, GIB)),
    "4 whole cores of a node": Requirements(Resources(None, 2 * GIB, cores=4)),
    "a tag, two of a group per host": Requirements(
        Resources(500, GIB), policy=Composite((_GPU, MaxPerHost(2)))
    ),
    "untagged, one of a group per host": Requirements(
        Resources(500, GIB), policy=reserving(OnePerHost())
    ),
    "a rule about its worker": Requirements(Resources(500, GIB), policy=RuleBased('"gpu" in tags')),
    "a rule about all workers": Requirements(
        Resources(500, GIB), policy=RuleBased('"gpu" in tags and "worker-7" in workers')
    ),
    "more than anybody has": Requirements(Resources(500, 1000 * GIB)),
}
LINES: Lines = {f"1 task among 5,000 workers: {what}, p99": LIMIT for what in DEMANDS}


def measure(bench: Bench) -> Sequence[Row]:
    """Each demand in turn, until so many attempts hold room; then others end and make room."""
    count = bench.scale.latency_tasks * 5
    rows = []
    for (what, requirements), line in zip(DEMANDS.items(), LINES, strict=True):
        values = decisions_ms(requirements, count, random.Random(what))  # noqa: S311 - no secret
        rows.append(plain(NAME, line, "ms", [percentile(values, 0.99)], LIMIT))
    return rows


def decisions_ms(requirements: Requirements, count: int, chance: random.Random) -> list[float]:
    """Milliseconds of processor time from a task becoming ready to its place, its room taken.

    Nothing is waited for; the time of the wall would count whoever else has the processor.
    """
    fleet, queues = filled(chance), ReadyQueues()
    values = []
    for seq in range(count):
        group = GroupName(f"group-{seq % 3}")
        task = ReadyTask(
            seq, TaskId(f"task-{seq}"), WorkspaceName("w"), group, 0, requirements, NOW, None
        )
        begin = time.thread_time()
        queues.add(task)
        plan = queues.plan(fleet, NOW, 1)
        values.append((time.thread_time() - begin) * 1000)
        if not plan:
            queues.remove(task.workspace, task.group, task.seq)
    return values[10:]


def filled(chance: random.Random) -> Fleet:
    """Workers of two nodes with 8 cores each, one in ten with a tag, each partly in use."""
    fleet = Fleet()
    for number in range(WORKERS):
        cores = tuple(range(8)), tuple(range(8, 16))
        topology = Topology(tuple(NumaNode(at, one, 32 * GIB) for at, one in enumerate(cores)))
        capacity = Capacity(64, 16_000, 64 * GIB)
        room = Room(
            WorkerId(f"worker-{number}"),
            IncarnationId("one"),
            capacity,
            capacity,
            hostname=f"host-{number}",
            tags=frozenset({"gpu"} if number % 10 == 0 else ()),
            topology=topology,
            nodes=topology.free,
        )
        fleet.put(room)
        for _ in range(chance.randrange(12)):
            asked = Resources(chance.randrange(0, 2000), chance.randrange(0, 8 * GIB))
            if chance.random() < 0.3:
                asked = Resources(None, GIB, cores=chance.randrange(1, 5))
            present = fleet.rooms[room.worker_id]
            if present.fits(Requirements(asked)):
                key = QueueKey(WorkspaceName("w"), GroupName(f"group-{chance.randrange(40)}"))
                fleet.take(room.worker_id, key, present.grant(asked))
    return fleet
