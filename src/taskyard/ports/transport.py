"""The transport port: orders from the engine to workers, reports and heartbeats back."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from taskyard.core.attempts import Attempt, Report
from taskyard.core.availability import RuntimeStatus
from taskyard.core.ids import IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.ports.runtime import Assignment, KillOrder


class Hello(Struct, frozen=True):
    """What a worker says when it joins."""

    worker_id: WorkerId
    incarnation: IncarnationId
    hostname: str
    version: str
    capacity: Capacity
    runtimes: tuple[str, ...]
    """Tags of those that can be used now."""
    statuses: dict[str, RuntimeStatus] = {}
    """All its runtimes; empty from a worker whose runtimes never come or go."""
    topology: Topology = Topology()
    """Its nodes and cores; without any it has none to give to an attempt alone."""
    tags: tuple[str, ...] = ()
    """What placement policies can ask for."""
    metadata: dict[str, str] = {}
    """What rules of placement can look at."""
    stays_s: float | None = None
    """Seconds until it takes nothing any more; None if that is not known."""


class Heartbeat(Struct, frozen=True):
    """What a worker says every second."""

    worker_id: WorkerId
    incarnation: IncarnationId
    at: Instant
    statuses: dict[str, RuntimeStatus] | None = None
    """All its runtimes as they are now; None if nothing has to be said of them."""


class EngineEnd(Protocol):
    """What a worker may call on the engine."""

    async def joined(self, hello: Hello) -> list[Attempt]:
        """Register this incarnation; answers with the unended attempts this worker should hold.

        Earlier incarnations of the same worker are fenced as speakers, but attempts they held keep
        their leases and belong to the new one.
        """
        ...

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Renew this worker's leases. False: it is fenced and must join again.

        Raises ``StaleLease`` if its lease is about to end and cannot be renewed: it must kill what
        it runs, and join again.
        """
        ...

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """Store what happened; answers with the leases that do not hold any more (to be killed).

        Returns only when everything else is committed: then the worker may release the attempts.
        """
        ...

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """The assignment of an attempt to adopt; None if its task is gone."""
        ...


class LeaseState(Enum):
    """What became of a worker's lease when it was to be renewed."""

    HELD = "held"
    """It was."""
    FENCED = "fenced"
    """The worker was given up, or is not known here: it must join again."""
    REPLACED = "replaced"
    """Another life of the worker has joined since."""


class JoinedEngine(Protocol):
    """What workers on other machines may call on the engine: :class:`EngineEnd` for all of them.

    Who calls is known for certain; what it says about itself is not.
    """

    async def joined(
        self, worker_id: WorkerId, hello: Hello, lapsed: Sequence[IncarnationId]
    ) -> list[Attempt]:
        """See :meth:`EngineEnd.joined`.

        ``lapsed`` are lives before that have stopped what they ran: that goes elsewhere.
        """
        ...

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """Whether an operator has it drained; False also if that cannot be found out now."""
        ...

    async def beat(self, worker_id: WorkerId, heartbeat: Heartbeat) -> LeaseState:
        """Renew the worker's lease; answers once that is stored."""
        ...

    async def report(
        self, worker_id: WorkerId, reports: list[Report], sent_at: Instant
    ) -> list[LeaseToken]:
        """See :meth:`EngineEnd.report`; a lease of another worker does not hold for this one.

        ``sent_at`` is what the worker's clock said, by which its times are understood.
        """
        ...

    async def resolve(self, worker_id: WorkerId, attempt: Attempt) -> Assignment | None:
        """See :meth:`EngineEnd.resolve`; None for what was not given to this worker."""
        ...

    async def leaving(self, worker_id: WorkerId, incarnation: IncarnationId) -> None:
        """A life that has nothing to do any more ends: it is given up at once."""
        ...


class WorkerEnd(Protocol):
    """What the engine may call on a worker."""

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take these on; returns when they are accepted, not when they run."""
        ...

    async def kill(self, orders: list[KillOrder]) -> None:
        """Begin these kills; unknown attempts are ignored."""
        ...


class Transport(Protocol):
    """Connects one engine with its workers. Raises ``TransportClosed`` after :meth:`close`."""

    async def serve(self, engine: EngineEnd) -> None:
        """Begin to take calls for the engine."""
        ...

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Attach a worker; answers with the engine it may call."""
        ...

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """The other end of a worker. Raises ``WorkerUnreachable`` if it is not connected."""
        ...

    async def close(self) -> None:
        """Detach all workers."""
        ...
