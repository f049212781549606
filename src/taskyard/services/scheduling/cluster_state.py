"""The workers that are here, what each has free, and which attempt holds what."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.availability import RuntimeStatus, available
from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.pools import PoolIndex
from taskyard.core.scheduling.queues import QueueKey
from taskyard.ports.dispatching import WorkerRecord


class Reservation(Struct, frozen=True):
    """Room that an attempt occupies until it has ended."""

    worker_id: WorkerId
    key: QueueKey
    resources: Resources
    pool: PoolIndex | None = None
    """The pool it counts for."""


class _Present:
    __slots__ = ("beat", "record")

    def __init__(self, record: WorkerRecord, beat: float) -> None:
        self.record = record
        self.beat = beat


class ClusterState:
    """In memory only: rebuilt from the store and from what workers say when they join."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.fleet = Fleet()
        """The workers here as the scheduler sees them; a plan takes room from it."""
        self._monotonic = monotonic
        self._present: dict[WorkerId, _Present] = {}
        self._held: dict[AttemptId, Reservation] = {}
        self._on: dict[WorkerId, dict[AttemptId, Reservation]] = {}
        """The same by worker: to look through all that is held for each of thousands of workers
        that join would hold up the loop for seconds."""
        self._draining: set[WorkerId] = set()
        self._quiet: set[WorkerId] = set()

    def clear(self) -> None:
        """Forget every worker and everything held."""
        self.fleet = Fleet()
        self._present.clear()
        self._held.clear()
        self._on.clear()
        self._draining.clear()
        self._quiet.clear()

    def join(self, record: WorkerRecord) -> None:
        """A worker is here; what attempts hold on it already is counted."""
        draining = record.id in self._draining
        record = replace(record, draining=draining, state="draining" if draining else "ready")
        self._quiet.discard(record.id)
        self.fleet.remove(record.id)
        self.fleet.put(room_of(record))
        for held in self._on.get(record.id, {}).values():
            self.fleet.take(record.id, held.key, held.resources)
        self._present[record.id] = _Present(record, self._monotonic())

    def leave(self, worker_id: WorkerId) -> None:
        """A worker is gone; unknown ones are ignored."""
        self._present.pop(worker_id, None)
        self._quiet.discard(worker_id)
        self.fleet.remove(worker_id)

    def beat(self, worker_id: WorkerId, incarnation: IncarnationId, now: Instant) -> bool:
        """A worker gave a sign of life; False unless it is here in this incarnation."""
        present = self._present.get(worker_id)
        if present is None or present.record.incarnation != incarnation:
            return False
        present.beat = self._monotonic()
        present.record = replace(present.record, beat_at=now)
        return True

    def tell(self, worker_id: WorkerId, statuses: dict[str, RuntimeStatus]) -> bool:
        """A worker that is here said how its runtimes are; whether that may let a task go."""
        present, room = self._present[worker_id], self.fleet.rooms[worker_id]
        if statuses == present.record.statuses:
            return False
        usable = available(statuses)
        present.record = replace(present.record, statuses=statuses, runtimes=usable)
        self.fleet.put(replace(room, runtimes=frozenset(usable), absent=_absent(statuses)))
        return room.runtimes != frozenset(usable)

    def drain(self, worker_id: WorkerId, *, draining: bool) -> None:
        """Have a worker take nothing new, or let it again, whether it is here or not."""
        if draining:
            self._draining.add(worker_id)
        else:
            self._draining.discard(worker_id)
        present = self._present.get(worker_id)
        if present is not None:
            state = "draining" if draining else "ready"
            present.record = replace(present.record, draining=draining, state=state)
            self._accept(worker_id)

    def hush(self, worker_id: WorkerId, *, quiet: bool) -> bool:
        """Have a worker that is here get nothing new while it is silent; whether that changed."""
        if quiet == (worker_id in self._quiet) or worker_id not in self._present:
            return False
        if quiet:
            self._quiet.add(worker_id)
        else:
            self._quiet.discard(worker_id)
        self._accept(worker_id)
        return True

    def _accept(self, worker_id: WorkerId) -> None:
        accepting = worker_id not in self._draining and worker_id not in self._quiet
        self.fleet.put(replace(self.fleet.rooms[worker_id], accepting=accepting))

    def silent(self, seconds: float) -> list[WorkerRecord]:
        """Workers that gave no sign of life for longer than this."""
        limit = self._monotonic() - seconds
        return [one.record for one in self._present.values() if one.beat < limit]

    def spare(self) -> None:
        """Restart the silence timers of all workers: heartbeats could not be received until now."""
        for one in self._present.values():
            one.beat = self._monotonic()

    def hold(self, attempt_id: AttemptId, held: Reservation) -> None:
        """An attempt takes room, on a worker that is here or is awaited."""
        self.note(attempt_id, held)
        if held.worker_id in self._present:
            self.fleet.take(held.worker_id, held.key, held.resources)

    def note(self, attempt_id: AttemptId, held: Reservation) -> None:
        """An attempt holds room that a plan took from the fleet already."""
        self._held[attempt_id] = held
        self._on.setdefault(held.worker_id, {})[attempt_id] = held

    def free(self, attempt_id: AttemptId) -> Reservation | None:
        """An attempt gave back what it held; None if it held nothing."""
        held = self._held.pop(attempt_id, None)
        if held is None:
            return None
        beside = self._on[held.worker_id]
        del beside[attempt_id]
        if not beside:
            del self._on[held.worker_id]
        if held.worker_id in self._present:
            self.fleet.give_back(held.worker_id, held.key, held.resources)
        return held

    def rooms(self) -> list[Room]:
        """All workers here, as places to run."""
        return list(self.fleet.rooms.values())

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """All workers here, each with what is free."""
        rooms = self.fleet.rooms
        return [(one.record, rooms[one.record.id].free) for one in self._present.values()]

    def holds(self, attempt_id: AttemptId) -> bool:
        """Whether an attempt holds room."""
        return attempt_id in self._held

    def held(self) -> frozenset[AttemptId]:
        """All attempts that hold room."""
        return frozenset(self._held)

    def held_by(self, attempt_id: AttemptId) -> Reservation | None:
        """What an attempt holds; None if it holds nothing."""
        return self._held.get(attempt_id)

    def held_on(self, worker_id: WorkerId) -> list[AttemptId]:
        """The attempts that hold room on one worker, whether it is here or not."""
        return list(self._on.get(worker_id, ()))

    @property
    def held_count(self) -> int:
        """Attempts that hold room."""
        return len(self._held)


def room_of(record: WorkerRecord) -> Room:
    """A worker as a place to run, with nothing running."""
    return Room(
        record.id,
        record.incarnation,
        record.capacity,
        record.capacity,
        accepting=record.state == "ready",
        runtimes=frozenset(record.runtimes),
        absent=_absent(record.statuses),
        hostname=record.hostname,
        tags=frozenset(record.tags),
        metadata=record.metadata,
        topology=record.topology,
        nodes=record.topology.free,
        leaves_at=record.leaves_at,
    )


def _absent(statuses: dict[str, RuntimeStatus]) -> dict[str, RuntimeStatus]:
    return {tag: status for tag, status in statuses.items() if not status.available}
