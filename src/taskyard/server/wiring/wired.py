"""What the engine stands on, and what comes of it."""

from dataclasses import dataclass, field

from taskyard.core.ids import PlaneId
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.outgoing import HttpSender
from taskyard.ports.transport import Transport
from taskyard.server.byte_stores import ByteStores
from taskyard.server.membership import Membership
from taskyard.services.access.encryption import Encryption
from taskyard.services.access.identities import Identities
from taskyard.services.engine import Engine
from taskyard.services.functions.bundle_sweep import BundleSweep
from taskyard.services.functions.triggers import Triggers
from taskyard.services.jobs.job_timers import JobTimers
from taskyard.services.leadership import Leadership
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.fleet_watch import FleetWatch
from taskyard.services.scheduling.joined_gateway import JoinedGateway
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.lease_beats import LeaseBeats
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.lent_room import LentRoom
from taskyard.services.scheduling.plane_placing import PlanePlacing
from taskyard.services.scheduling.remote_scheduler import RemoteScheduler
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.timers import ClockWatch, Timers
from taskyard.services.scheduling.worker_gateway import WorkerGateway
from taskyard.services.scheduling.worker_places import WorkerPlaces
from taskyard.services.tasks.object_sweep import ObjectSweep
from taskyard.services.tasks.retention import Retention
from taskyard.store.sql.repositories import Repositories
from taskyard.transport.nats.messages import NatsMessages


@dataclass(frozen=True, slots=True)
class Adapters:
    """What the engine stands on."""

    store: Repositories
    bytes: ByteStores
    transport: Transport
    sender: HttpSender
    clock: Clock
    ids: Ids
    plane: PlaneId | None = None
    """This control plane among those that share the store; None if it is the only one."""
    member: Membership | None = None
    """This control plane among several; None if there is only one."""
    messages: NatsMessages | None = None
    """Reaches workers on other machines; None without NATS: then there are none."""
    places: WorkerPlaces = field(default_factory=WorkerPlaces)
    """Where every worker lives."""


@dataclass(frozen=True, slots=True)
class JoinedServices:
    """What workers on other machines talk to."""

    gateway: JoinedGateway
    beats: LeaseBeats


@dataclass(frozen=True, slots=True)
class OtherPlanes:
    """What connects a plane's scheduler with those of others."""

    leader: RemoteScheduler
    """Whoever leads, while this plane does not."""
    placing: PlanePlacing
    lent: LentRoom
    """What this plane has lent to others, while it leads."""


@dataclass(frozen=True, slots=True)
class Wired:
    """The engine, and what runs behind it."""

    engine: Engine
    gateway: WorkerGateway
    joined: JoinedServices | None
    """What workers on other machines talk to; None without NATS."""
    leadership: Leadership
    """Whether this control plane leads."""
    kill: KillOrders
    rescue: Rescue
    """Judges workers where there is one control plane."""
    fleet: FleetWatch | None
    """The same of several; None if there is only one."""
    others: OtherPlanes | None
    """What connects this plane's scheduler with those of others; None if there are none."""
    leases: Leases
    clock_watch: ClockWatch
    due: Timers
    prune: Retention
    counters: TaskCounters
    encryption: Encryption
    job_keeping: JobTimers
    bundle_sweep: BundleSweep
    object_sweep: ObjectSweep | None
    """None where nothing is kept as objects."""
    triggers: Triggers
    identities: Identities
    """As whom and how isolated work runs."""
