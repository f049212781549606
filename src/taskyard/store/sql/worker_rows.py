"""Workers as rows of the store."""

from typing import Final

import msgspec
from msgspec import Struct

from taskyard.core.availability import RuntimeStatus
from taskyard.core.instants import SECOND, Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.ports.dispatching import WorkerLease, WorkerRecord
from taskyard.store.sql.connection import Row

_capacity: Final = msgspec.json.Decoder(Capacity).decode
_runtimes: Final = msgspec.json.Decoder(tuple[str, ...]).decode


class WorkerDetails(Struct, frozen=True, omit_defaults=True):
    """What is stored of a worker in one column."""

    statuses: dict[str, RuntimeStatus] = {}
    topology: Topology = Topology()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    leaves_at: Instant | None = None


_stored_details: Final = msgspec.json.Decoder(WorkerDetails).decode


def details_of(worker: WorkerRecord) -> WorkerDetails:
    """What goes into that column."""
    return WorkerDetails(
        worker.statuses, worker.topology, worker.tags, worker.metadata, worker.leaves_at
    )


def lease_of(row: Row) -> WorkerLease:
    """A worker, and how long its lease holds."""
    return WorkerLease(worker_of(row), row[12] / SECOND)


def worker_of(row: Row) -> WorkerRecord:
    """A worker by its columns, in the order of the queries about workers."""
    details = _stored_details(row[11])
    return WorkerRecord(
        id=row[0],
        incarnation=row[1],
        hostname=row[2],
        version=row[3],
        capacity=_capacity(row[4]),
        runtimes=_runtimes(row[5]),
        joined_at=row[6],
        beat_at=row[7],
        state=row[8],
        draining=bool(row[9]),
        statuses=details.statuses,
        topology=details.topology,
        tags=details.tags,
        metadata=details.metadata,
        plane_id=row[10],
        leaves_at=details.leaves_at,
    )
