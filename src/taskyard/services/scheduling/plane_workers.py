"""The workers beside one of several control planes, as that plane hears them.

Their leases are kept in the store, for all planes; see ``leases.py``.
"""

from collections.abc import Callable

from msgspec.structs import replace

from taskyard.core.availability import RuntimeStatus, available
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.ports.dispatching import WorkerRecord


class PlaneWorkers:
    """Who is here, and when each was heard last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._present: dict[WorkerId, WorkerRecord] = {}
        self._heard: dict[WorkerId, float] = {}
        self._changed: dict[WorkerId, None] = {}
        """Those that said something of their runtimes which is not stored yet."""

    def join(self, record: WorkerRecord) -> None:
        """A worker is here, and stored."""
        self._present[record.id] = record
        self._heard[record.id] = self._monotonic()
        self._changed.pop(record.id, None)

    def leave(self, worker_id: WorkerId) -> None:
        """A worker is gone; unknown ones are ignored."""
        self._present.pop(worker_id, None)
        self._heard.pop(worker_id, None)
        self._changed.pop(worker_id, None)

    def beat(self, worker_id: WorkerId, incarnation: IncarnationId, now: Instant) -> bool:
        """A worker gave a sign of life; False unless it is here in this incarnation."""
        record = self._present.get(worker_id)
        if record is None or record.incarnation != incarnation:
            return False
        self._present[worker_id] = replace(record, beat_at=now)
        self._heard[worker_id] = self._monotonic()
        return True

    def tell(self, worker_id: WorkerId, statuses: dict[str, RuntimeStatus]) -> bool:
        """A worker that is here said how its runtimes are; whether they changed."""
        record = self._present[worker_id]
        if statuses == record.statuses:
            return False
        usable = available(statuses)
        self._present[worker_id] = replace(record, statuses=statuses, runtimes=usable)
        self._changed[worker_id] = None
        return True

    def heard(self, within_s: float) -> list[WorkerRecord]:
        """Those that gave a sign of life not longer ago than this."""
        limit = self._monotonic() - within_s
        return [one for one in self._present.values() if self._heard[one.id] >= limit]

    def take_changed(self) -> list[WorkerRecord]:
        """Those whose runtimes changed since this was last asked."""
        changed, self._changed = self._changed, {}
        return [self._present[worker_id] for worker_id in changed]

    def put_back(self, record: WorkerRecord) -> None:
        """What one said could not be stored; it is tried again."""
        present = self._present.get(record.id)
        if present is not None and present.incarnation == record.incarnation:
            self._changed[record.id] = None

    def records(self) -> list[WorkerRecord]:
        """All of them."""
        return list(self._present.values())
