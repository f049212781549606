"""Workers: what they report, and which of them are lost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskyard.core.ids import WorkerId
from taskyard.ports.dispatching import ONLY_PLANE, WorkerLease
from taskyard.server.membership import Membership
from taskyard.server.wiring.scheduling import Scheduling
from taskyard.server.wiring.wired import Adapters, JoinedServices, OtherPlanes
from taskyard.services.functions.calls import Calls
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.fleet_watch import FleetWatch
from taskyard.services.scheduling.hearing import Hearing, hears_nobody
from taskyard.services.scheduling.joined_gateway import JoinedGateway
from taskyard.services.scheduling.lease_beats import LeaseBeats
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.worker_gateway import WorkerGateway
from taskyard.services.scheduling.worker_tokens import WorkerTokens
from taskyard.transport.nats.messages import NatsMessages


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Everything that has to do with workers."""

    leases: Leases
    gateway: WorkerGateway
    fleet: FleetWatch | None
    """Judges workers of several control planes; None if there is only one."""
    rescue: Rescue
    """The same where there is one."""
    joined: JoinedServices | None
    """Serves those on other machines; None without NATS."""


def wire_workers(
    adapters: Adapters, bus: Bus, scheduling: Scheduling, calls: Calls, tokens: WorkerTokens
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
    hearing = _hearing(adapters.messages)
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
            hearing,
        )
    rescue = Rescue(
        store.dispatch, dispatch, kill, cluster, leases, bus, clock, time.monotonic, hearing
    )
    joined = None
    if adapters.messages is not None:
        joined = _joined(adapters, bus, scheduling, calls, tokens)
    return WorkerServices(leases, gateway, fleet, rescue, joined)


def _joined(
    adapters: Adapters, bus: Bus, scheduling: Scheduling, calls: Calls, tokens: WorkerTokens
) -> JoinedServices:
    """Serves workers on other machines."""
    store, clock = adapters.store, adapters.clock
    beats = LeaseBeats(store.dispatch, clock)

    async def admit(worker_id: WorkerId) -> Sequence[str]:
        return (await tokens.valid(worker_id)).tags

    gateway = JoinedGateway(
        store.dispatch,
        store.tasks,
        scheduling.assignments,
        scheduling.dispatch,
        scheduling.kill,
        adapters.places,
        beats,
        bus,
        clock,
        adapters.ids,
        calls,
        admit,
        scheduling.cluster if adapters.member is None else None,
    )
    return JoinedServices(gateway, beats)


def _hearing(messages: NatsMessages | None) -> Hearing:
    """Whether workers on other machines can be heard."""
    if messages is None:
        return hears_nobody()
    return Hearing(lambda: messages.is_connected, lambda: messages.connects, time.monotonic)


def _on_leases(
    member: Membership, others: OtherPlanes | None
) -> Callable[[list[WorkerLease]], None]:
    """What the leader does whenever it has looked at the workers."""

    def learn(leases: list[WorkerLease]) -> None:
        member.planes.learn(leases)
        if others is not None:
            others.lent.settle_old()

    return learn
