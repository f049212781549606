"""Which worker has room for a task, and if none has, why not."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.availability import RuntimeStatus, told
from taskyard.core.demand import DEFAULT_RUNTIME, Demand
from taskyard.core.explain import Wait
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources

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

    def minus(self, asked: Resources) -> "Room":
        """The same worker after one more attempt."""
        return replace(self, free=self.free.minus(asked))

    def plus(self, returned: Resources) -> "Room":
        """The same worker after one attempt gave back its room."""
        return replace(self, free=self.free.plus(returned))

    def fits(self, demand: Demand) -> bool:
        """Whether one more such attempt may go here now."""
        return demand.runtime in self.runtimes and self.free.fits(demand.resources)

    def could_fit(self, demand: Demand) -> bool:
        """Whether it could go here if nothing else were running."""
        return demand.runtime in self.runtimes and self.total.fits(demand.resources)


def choose_worker(demand: Demand, rooms: Iterable[Room]) -> Room | None:
    """The least loaded worker with room, by share of slots in use; None if there is none."""
    best: Room | None = None
    best_load = 0.0
    for room in rooms:
        if not room.fits(demand):
            continue
        load = 1.0 - room.free.slots / max(1, room.total.slots)
        if best is None or load < best_load:
            best, best_load = room, load
    return best


def why_nowhere(demand: Demand, rooms: Sequence[Room], now: Instant) -> Wait | None:
    """Why no worker at all is in question, room aside; None if some are."""
    if not rooms:
        return Wait("no_worker", "no worker takes tasks now")
    names = ", ".join(room.worker_id for room in rooms[:_NAMED])
    if len(rooms) > _NAMED:
        names += f" and {len(rooms) - _NAMED} more"
    if not any(room.accepting for room in rooms):
        return Wait("draining", f"no worker takes tasks now: draining is {names}")
    if any(demand.runtime in room.runtimes for room in rooms if room.accepting):
        return None
    summary = f"no worker can run a {demand.runtime} now"
    reasons = []
    for room in rooms:
        if demand.runtime in room.runtimes:
            reasons.append(f"{room.worker_id} is draining")
        elif (status := room.absent.get(demand.runtime)) is not None:
            reasons.append(told(status, now))
    if reasons:
        summary += ": " + "; ".join(reasons[:_NAMED])
        if len(reasons) > _NAMED:
            summary += f"; and {len(reasons) - _NAMED} more workers"
    return Wait("no_runtime", summary, {"runtime": demand.runtime})


def why_no_room(demand: Demand, rooms: Sequence[Room]) -> Wait:
    """The reason why :func:`choose_worker` found none: names the need and the largest gap.

    ``rooms`` are those in question, at least one; see :func:`why_nowhere`.
    """
    asked = demand.resources
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
    if asked.cpu_millis is not None:
        need = asked.cpu_millis
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


def _gib(size: int) -> str:
    return f"{max(0, size) / GIB:.1f} GiB" if size >= GIB // 10 else f"{max(0, size) >> 20} MiB"
