"""Workers: what they report, and which of them are lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from taskyard.ports.dispatching import ONLY_PLANE, WorkerLease
from taskyard.server.membership import Membership
from taskyard.server.wiring.scheduling import Scheduling
from taskyard.server.wiring.wired import Adapters, OtherPlanes
from taskyard.services.functions.calls import Calls
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.fleet_watch import FleetWatch
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.worker_gateway import WorkerGateway


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Everything that has to do with workers."""

    leases: Leases
    gateway: WorkerGateway
    fleet: FleetWatch | None
    """Judges workers of several control planes; None if there is only one."""
    rescue: Rescue
    """The same where there is one."""


def wire_workers(
    adapters: Adapters, bus: Bus, scheduling: Scheduling, calls: Calls
) -> WorkerServices:
    """Services for workers, connected."""
    store, clock, member = adapters.store, adapters.clock, adapters.member
    dispatch, kill, cluster = scheduling.dispatch, scheduling.kill, scheduling.cluster
    beside = None if member is None else member.beside
    leases = Leases(store.dispatch, cluster, clock, time.monotonic, beside)
    gateway = WorkerGateway(
        store.dispatch,
        store.tasks,
        scheduling.assignments,
        dispatch,
        kill,
        cluster,
        leases,
        bus,
        clock,
        adapters.ids,
        calls,
        beside,
        ONLY_PLANE if member is None else member.plane_id,
    )
    fleet = None
    if member is not None:
        fleet = FleetWatch(
            store.dispatch,
            store.tasks,
            dispatch,
            kill,
            bus,
            clock,
            time.monotonic,
            scheduling.term,
            _on_leases(member, scheduling.others),
        )
    rescue = Rescue(store.dispatch, dispatch, kill, cluster, leases, bus, clock, time.monotonic)
    return WorkerServices(leases, gateway, fleet, rescue)


def _on_leases(
    member: Membership, others: OtherPlanes | None
) -> Callable[[list[WorkerLease]], None]:
    """What the leader does whenever it has looked at the workers."""

    def learn(leases: list[WorkerLease]) -> None:
        member.planes.learn(leases)
        if others is not None:
            others.lent.settle_old()

    return learn
