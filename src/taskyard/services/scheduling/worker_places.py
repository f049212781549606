"""Where each worker lives: beside which control plane, or on a machine of its own."""

from taskyard.core.ids import IncarnationId, PlaneId, WorkerId
from taskyard.ports.dispatching import JOINED, WorkerLease, WorkerRecord


class WorkerPlaces:
    """As of a moment ago, for whoever gives orders."""

    def __init__(self) -> None:
        self._places: dict[WorkerId, tuple[PlaneId, IncarnationId]] = {}

    def learn(self, leases: list[WorkerLease]) -> None:
        """What the store says now of all workers."""
        self._places = {
            one.record.id: (one.record.plane_id, one.record.incarnation) for one in leases
        }

    def note(self, record: WorkerRecord) -> None:
        """A worker has joined."""
        self._places[record.id] = record.plane_id, record.incarnation

    def plane_of(self, worker_id: WorkerId) -> PlaneId | None:
        """None if nobody knows."""
        place = self._places.get(worker_id)
        return None if place is None else place[0]

    def joined_life(self, worker_id: WorkerId) -> IncarnationId | None:
        """The present life of a worker on a machine of its own; None for others."""
        place = self._places.get(worker_id)
        return None if place is None or place[0] != JOINED else place[1]
