"""Which worker has room for a task, and if none has, why not."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.availability import RuntimeStatus, told
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant, seconds_between
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.cpu_allocation import (
    FreeNode,
    Topology,
    allocate,
    fits,
    within,
    without,
)
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import DEFAULT_RUNTIME, Requirements
from taskyard.core.stay import why_too_short

GIB = 1 << 30
_NAMED = 3
"""Workers named in a sentence."""


class Room(Struct, frozen=True):
    """A worker as a place to run: what it offers in all, and what is free."""

    worker_id: WorkerId
    incarnation: IncarnationId
    total: Capacity
    free: Capacity
    accepting: bool = True
    """Whether it takes new attempts at all; False while it is draining."""
    runtimes: frozenset[str] = frozenset({DEFAULT_RUNTIME})
    """Tags of the runtimes it has that can be used now."""
    absent: dict[str, RuntimeStatus] = {}
    """Those it has that cannot be used now."""
    hostname: str = ""
    tags: frozenset[str] = frozenset()
    metadata: dict[str, str] = {}
    topology: Topology = Topology()
    nodes: tuple[FreeNode, ...] = ()
    """What is free of its NUMA nodes."""
    leaves_at: Instant | None = None
    """When it takes nothing any more; None if that is not known."""

    @property
    def description(self) -> tuple[str, frozenset[str], dict[str, str]]:
        """What placement policies see of a worker besides its name."""
        return self.hostname, self.tags, self.metadata

    @property
    def load(self) -> float:
        """Share of its slots in use."""
        return 1.0 - self.free.slots / max(1, self.total.slots)

    @property
    def emptied(self) -> "Room":
        """The same worker with nothing running."""
        return replace(self, free=self.total, nodes=self.topology.free)

    def grant(self, asked: Resources) -> Resources:
        """What one more attempt would hold here: the same, with concrete cores if it asks so.

        Only for what :meth:`fits`.
        """
        if asked.cores is None:
            return asked
        memory = asked.memory_bytes or 0
        pins = self.topology.pins_memory
        return asked.granted(allocate(self.nodes, asked.cores, memory, pins_memory=pins))

    def minus(self, asked: Resources) -> "Room":
        """The same worker after one more attempt; ``asked`` as granted."""
        free, nodes = self.free.minus(asked), self.nodes
        if asked.allotted is not None:
            nodes = without(self.topology, nodes, asked.allotted)
        return replace(self, free=free, nodes=nodes)

    def plus(self, returned: Resources) -> "Room":
        """The same worker after one attempt gave back its room."""
        free, nodes = self.free.plus(returned), self.nodes
        if returned.allotted is not None:
            nodes = within(self.topology, nodes, returned.allotted)
        return replace(self, free=free, nodes=nodes)

    def fits(self, requirements: Requirements) -> bool:
        """Whether one more such attempt may go here now."""
        asked = requirements.resources
        return (
            requirements.runtime in self.runtimes
            and self.free.fits(asked)
            and (not asked.cores or fits(self.nodes, asked.cores, asked.memory_bytes or 0))
        )

    def could_fit(self, requirements: Requirements) -> bool:
        """Whether it could go here if nothing else were running."""
        asked = requirements.resources
        return (
            requirements.runtime in self.runtimes
            and self.total.fits(asked)
            and (not asked.cores or fits(self.topology.free, asked.cores, asked.memory_bytes or 0))
        )

    def stays_for(self, requirements: Requirements, now: Instant) -> bool:
        """Whether it is here for as long as such an attempt may run."""
        if self.leaves_at is None:
            return True
        left_s = seconds_between(now, self.leaves_at)
        return why_too_short(left_s, requirements.timeout_s) is None


def why_nowhere(requirements: Requirements, rooms: Sequence[Room], now: Instant) -> Wait | None:
    """Why no worker at all is in question, room aside; None if some are."""
    if not rooms:
        return Wait("no_worker", "no worker takes tasks now")
    names = ", ".join(room.worker_id for room in rooms[:_NAMED])
    if len(rooms) > _NAMED:
        names += f" and {len(rooms) - _NAMED} more"
    if not any(room.accepting for room in rooms):
        return Wait("draining", f"no worker takes tasks now; draining: {names}")
    if any(requirements.runtime in room.runtimes for room in rooms if room.accepting):
        return None
    summary = f"no worker can run a {requirements.runtime} now"
    reasons = []
    for room in rooms:
        if requirements.runtime in room.runtimes:
            reasons.append(f"{room.worker_id} is draining")
        elif (status := room.absent.get(requirements.runtime)) is not None:
            reasons.append(told(status, now))
    if reasons:
        summary += ": " + "; ".join(reasons[:_NAMED])
        if len(reasons) > _NAMED:
            summary += f"; and {len(reasons) - _NAMED} more workers"
    return Wait("no_runtime", summary, {"runtime": requirements.runtime})


def why_no_room(requirements: Requirements, rooms: Sequence[Room]) -> Wait:
    """The reason why none of some workers has room: names the need and the largest gap.

    ``rooms`` are those in question, at least one; see :func:`why_nowhere`.
    """
    asked = requirements.resources
    if asked.memory_bytes is not None:
        need = asked.memory_bytes
        best = max(rooms, key=lambda room: room.free.memory_bytes)
        if best.free.memory_bytes < need:
            total = max(room.total.memory_bytes for room in rooms)
            never = f"; no worker has more than {_gib(total)} in all" if total < need else ""
            return Wait(
                "no_room",
                f"needs {_gib(need)} of memory, largest gap {_gib(best.free.memory_bytes)} "
                f"on worker {best.worker_id}{never}",
                {"needs_bytes": need, "largest_gap_bytes": max(0, best.free.memory_bytes)},
            )
    if asked.cores and (wait := _why_no_cores(asked, rooms)) is not None:
        return wait
    if asked.millis:
        need = asked.millis
        best = max(rooms, key=lambda room: room.free.cpu_millis)
        if best.free.cpu_millis < need:
            total = max(room.total.cpu_millis for room in rooms)
            never = f"; no worker has more than {total / 1000:g} in all" if total < need else ""
            return Wait(
                "no_room",
                f"needs {need / 1000:g} cores, largest gap {max(0, best.free.cpu_millis) / 1000:g} "
                f"on worker {best.worker_id}{never}",
                {"needs_cpu": need / 1000, "largest_gap_cpu": max(0, best.free.cpu_millis) / 1000},
            )
    if all(room.free.slots < asked.slots for room in rooms):
        slots = sum(room.total.slots for room in rooms)
        return Wait("no_room", f"all {slots} slots are taken", {"slots": slots})
    return Wait("no_room", "no single worker has enough cores, memory and slots free at once")


def _why_no_cores(asked: Resources, rooms: Sequence[Room]) -> Wait | None:
    """Why no node has enough whole cores; None if one has."""
    need, memory = asked.cores or 0, asked.memory_bytes or 0
    if any(fits(room.nodes, need, memory) for room in rooms):
        return None
    best = max(rooms, key=lambda room: max((len(one.cores) for one in room.nodes), default=0))
    gap = max((len(one.cores) for one in best.nodes), default=0)
    most = max((len(one.cores) for room in rooms for one in room.topology.free), default=0)
    never = f"; no node has more than {most} in all" if most < need else ""
    noun = "whole core" if need == 1 else "whole cores"
    what = f"{need} {noun} of one node" + (f" with {_gib(memory)} of memory" if memory else "")
    return Wait(
        "no_room",
        f"needs {what}, largest gap {gap} cores on worker {best.worker_id}{never}",
        {"needs_cores": need, "largest_gap_cores": gap},
    )


def _gib(size: int) -> str:
    return f"{max(0, size) / GIB:.1f} GiB" if size >= GIB // 10 else f"{max(0, size) >> 20} MiB"


def why_leaving(requirements: Requirements, rooms: Sequence[Room], now: Instant) -> Wait:
    """The reason why none of some workers, at least one, is here for long enough."""
    longest = max(rooms, key=lambda room: room.leaves_at or 0)
    left_s = max(0.0, seconds_between(now, longest.leaves_at or now))
    asked_s = requirements.timeout_s
    if asked_s is None:
        summary = "all workers that are in question are about to leave"
    else:
        summary = (
            f"may run for {asked_s:g} s, and no worker in question stays that long: "
            f"{longest.worker_id} stays longest, {left_s:.0f} s"
        )
    return Wait("leaving", summary, {"timeout_s": asked_s, "longest_stay_s": left_s})


def why_refused(refusals: Mapping[WorkerId, str]) -> Wait:
    """The reason why a task's policy takes none of some workers: at least one, each with a text."""
    texts = Counter(refusals.values())
    parts = []
    for text, count in texts.most_common(_NAMED):
        name = next(worker for worker, one in refusals.items() if one == text)
        parts.append(f"{name} {text}" if count == 1 else f"{name} and {count - 1} more: {text}")
    if len(texts) > _NAMED:
        parts.append("others for other reasons")
    return Wait(
        "placement",
        "no worker satisfies its placement policy: " + "; ".join(parts),
        {"workers": len(refusals)},
    )
