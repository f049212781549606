"""Scheduling: what is placed where, by this control plane or by the one that leads."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId
from taskyard.core.scheduling.pools import Pools
from taskyard.core.states import TaskState
from taskyard.ports.dispatching import DispatchStore
from taskyard.server.membership import Membership
from taskyard.server.pools import core_pools
from taskyard.server.settings import Settings
from taskyard.server.wiring.access import Rules
from taskyard.server.wiring.wired import Adapters, OtherPlanes
from taskyard.services.access.secrets import Secrets
from taskyard.services.leadership import AlwaysLeader, Leadership, TermSource, no_term
from taskyard.services.notifications.bus import Bus, Listener
from taskyard.services.scheduling.admission import Admission
from taskyard.services.scheduling.assignment_sender import AssignmentSender
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.lent_room import LentRoom
from taskyard.services.scheduling.plane_placing import PlanePlacing
from taskyard.services.scheduling.remote_scheduler import LeaderEnd, RemoteScheduler
from taskyard.services.scheduling.rule_budget import RuleBudgetSource
from taskyard.services.scheduling.timers import Timers


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Everything that has to do with placing tasks."""

    leadership: Leadership
    term: TermSource
    cluster: ClusterState
    load: Admission
    kill: KillOrders
    assignments: Assignments
    dispatch: Dispatch
    others: OtherPlanes | None
    """None if there are no other control planes."""
    due: Timers


def wire_scheduling(
    settings: Settings,
    adapters: Adapters,
    bus: Bus,
    counters: TaskCounters,
    secrets: Secrets,
    rules: Rules,
) -> Scheduling:
    """Scheduling, connected."""
    member, clock, ids = adapters.member, adapters.clock, adapters.ids
    store, transport = adapters.store.dispatch, adapters.transport
    leadership: Leadership = AlwaysLeader(clock) if member is None else member.leadership
    term = _term_of(leadership)
    load = Admission(settings.max_queued, counters.waiting, time.monotonic)
    bus.listen(_drain(load))
    kill = KillOrders(transport, bus, clock, None if member is None else _running(store))
    assignments = Assignments(
        secrets,
        settings.log_limit_bytes,
        identities=rules.identities,
        users=rules.users,
        containers=rules.containers,
        output=rules.quota,
    )
    cluster = ClusterState(time.monotonic)
    dispatch = Dispatch(
        store,
        adapters.store.groups,
        transport,
        assignments,
        kill,
        bus,
        cluster,
        clock,
        ids,
        Pools(core_pools(settings.pools)),
        RuleBudgetSource(settings.placement_steps),
        term,
    )
    others = None
    if member is not None:
        sender = AssignmentSender(store, transport, assignments, kill, bus, cluster, clock, ids)
        others = _others(adapters, member, dispatch, sender, bus)
    due = Timers(store, bus, clock, term)
    return Scheduling(leadership, term, cluster, load, kill, assignments, dispatch, others, due)


def _term_of(leadership: Leadership) -> TermSource:
    """In which term this plane leads; no property is looked up where it never changes."""
    return no_term if isinstance(leadership, AlwaysLeader) else lambda: leadership.term


def _others(
    adapters: Adapters,
    member: Membership,
    dispatch: Dispatch,
    sender: AssignmentSender,
    bus: Bus,
) -> OtherPlanes:
    """Connect this plane's scheduler with those of the others; it places nothing until it leads."""
    store, clock = adapters.store, adapters.clock
    remote = RemoteScheduler(
        member.messages, store.dispatch, clock, member.planes.learn, dispatch.seen_elsewhere
    )
    lent = LentRoom(dispatch, bus, time.monotonic)
    LeaderEnd(dispatch, store.tasks, member.messages, lent)
    dispatch.elsewhere = remote
    dispatch.drop()
    return OtherPlanes(remote, PlanePlacing(dispatch, remote.borrowed, sender, clock), lent)


def _running(store: DispatchStore) -> Callable[[], Awaitable[frozenset[AttemptId]]]:
    """Reads which attempts have not ended."""

    async def read() -> frozenset[AttemptId]:
        return frozenset(one.attempt.id for one in await store.running())

    return read


def _drain(load: Admission) -> Listener:
    def on_changes(changes: Sequence[Change]) -> None:
        left = 0
        for change in changes:
            if change.was is TaskState.QUEUED and change.state is not TaskState.QUEUED:
                left += 1
        if left:
            load.drained(left)

    return on_changes
