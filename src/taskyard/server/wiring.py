"""Builds the engine out of its services and the adapters they stand on; starts nothing."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId, PlaneId, WorkspaceName
from taskyard.core.scheduling.pools import Pools
from taskyard.core.states import TaskState
from taskyard.dialects.fastlane.mapping import ORIGIN as FASTLANE
from taskyard.dialects.fastlane.reports import FastlaneReporter
from taskyard.dialects.greencloud.headers import HEADERS as GREENCLOUD_HEADERS
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import ONLY_PLANE, DispatchStore, WorkerLease
from taskyard.ports.outgoing import HttpSender
from taskyard.ports.transport import Transport
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.images.builder import LocalImages
from taskyard.runtimes.function.unpacking import UnpackLimits
from taskyard.server.byte_stores import ByteStores
from taskyard.server.containers import container_rule, container_settings
from taskyard.server.mail import SmtpMail
from taskyard.server.membership import Membership
from taskyard.server.metrics import Metrics
from taskyard.server.pools import core_pools
from taskyard.server.settings import Settings
from taskyard.server.work import tell, user_rule, work_rules
from taskyard.services.access.accounts import Accounts
from taskyard.services.access.audit import Audit
from taskyard.services.access.encryption import Encryption, GivenKey, KeyFile
from taskyard.services.access.identities import Identities
from taskyard.services.access.secrets import Secrets
from taskyard.services.control_planes import ControlPlanes
from taskyard.services.engine import Engine
from taskyard.services.functions.builds import BuildLimits
from taskyard.services.functions.bundle_sweep import BundleSweep
from taskyard.services.functions.calls import Calls
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.invocations import Invocations
from taskyard.services.functions.resources import FunctionResources
from taskyard.services.functions.triggers import Triggers
from taskyard.services.functions.version_builder import ImagePuller
from taskyard.services.jobs.job_timers import JobTimers
from taskyard.services.jobs.jobs import Jobs
from taskyard.services.leadership import AlwaysLeader, Leadership, TermSource, no_term
from taskyard.services.lists import Lists
from taskyard.services.notifications.bus import Bus, Listener
from taskyard.services.notifications.webhooks import Webhooks
from taskyard.services.scheduling.administration import Maintenance, ParkedEntries, Workers
from taskyard.services.scheduling.admission import Admission
from taskyard.services.scheduling.assignment_sender import AssignmentSender
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.fleet_watch import FleetWatch
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.lent_room import LentRoom
from taskyard.services.scheduling.output_quota import OutputQuota
from taskyard.services.scheduling.plane_placing import PlanePlacing
from taskyard.services.scheduling.remote_scheduler import LeaderEnd, RemoteScheduler
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.rule_budget import PolicyPace, RuleBudgetSource
from taskyard.services.scheduling.timers import ClockWatch, Timers
from taskyard.services.scheduling.why import Why
from taskyard.services.scheduling.worker_gateway import WorkerGateway
from taskyard.services.tasks.follow import Follow
from taskyard.services.tasks.groups import Groups
from taskyard.services.tasks.logs import Logs
from taskyard.services.tasks.object_sweep import ObjectSweep
from taskyard.services.tasks.retention import Retention
from taskyard.services.tasks.tasks import Tasks
from taskyard.store.sql.repositories import Repositories

KEY_NAME = "secret.key"


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


def wire(settings: Settings, adapters: Adapters, metrics: Metrics) -> Wired:
    """All services, connected. The bus's listeners are told of changes in the order below."""
    store, clock, ids = adapters.store, adapters.clock, adapters.ids
    tasks, groups, dispatching = store.tasks, store.groups, store.dispatch
    bus, rooms = Bus(fed=adapters.plane is not None), ClusterState(time.monotonic)
    member = adapters.member
    leadership: Leadership = AlwaysLeader(clock) if member is None else member.leadership
    term = _term_of(leadership)
    counters = TaskCounters(bus)
    load = Admission(settings.max_queued, counters.waiting, time.monotonic)
    bus.listen(_drain(load))
    kill = KillOrders(
        adapters.transport, bus, clock, None if member is None else _running(dispatching)
    )
    encryption, access, secrets, audit = wire_access(settings, store, clock)
    rules = work_rules(settings)
    tell(rules)
    users = user_rule(settings, rules)
    identities = Identities(store.workspace_users, *settings.user_ids(), rules)
    access.admit = identities.admit
    containers = container_rule(settings)
    quota = OutputQuota(
        store.output, clock, counters.running, settings.output_quota(), settings.task_output_bytes
    )
    assignments = Assignments(
        secrets,
        settings.log_limit_bytes,
        identities=identities,
        users=users,
        containers=containers,
        output=quota,
    )
    dispatch = Dispatch(
        dispatching,
        groups,
        adapters.transport,
        assignments,
        kill,
        bus,
        rooms,
        clock,
        ids,
        Pools(core_pools(settings.pools)),
        RuleBudgetSource(settings.placement_steps),
        term,
    )
    others = None
    if member is not None:
        sender = AssignmentSender(
            dispatching, adapters.transport, assignments, kill, bus, rooms, clock, ids
        )
        others = _others(member, dispatch, sender, store, bus, clock)
    due = Timers(dispatching, bus, clock, term)
    hooks = store.webhooks
    webhooks = Webhooks(
        hooks,
        adapters.sender,
        encryption,
        audit,
        clock,
        mail=_mail(settings),
        at_once=settings.max_webhooks,
        of_workspace=max(1, settings.max_webhooks * settings.share_percent // 100),
    )
    bus.listen(webhooks.on_changes)
    bus.listen(metrics.on_changes)
    submits = Tasks(
        tasks,
        adapters.bytes.output,
        bus,
        kill,
        load,
        clock,
        ids,
        adapters.sender,
        audit,
        dispatch if others is None else others.placing,
        users,
        containers,
        _admission(identities, quota),
        PolicyPace(RuleBudgetSource(settings.placement_steps), clock),
    )
    bundles = adapters.bytes.bundles
    functions = Functions(
        store.functions,
        bundles,
        LocalBuilder(
            settings.data / "functions",
            settings.function_build_timeout_s,
            UnpackLimits(
                settings.function_unpacked_bytes,
                settings.function_unpacked_entries,
                settings.function_unpack_memory_bytes,
                settings.function_unpack_timeout_s,
            ),
        ),
        submits,
        tasks,
        groups,
        dispatch,
        audit,
        clock,
        ImagePuller(_images(settings), secrets),
        BuildLimits(settings.function_builds, settings.function_builds_waiting),
        identities,
        adapters.plane,
    )
    assignments.live_version = functions.live_version
    assignments.blob = store.functions.blob
    assignments.is_image = functions.is_image
    results = adapters.bytes.results
    calls = Calls(functions, submits, store.functions, results, bus, clock)
    invocations = Invocations(
        store.invocations,
        functions,
        calls,
        submits,
        dispatch,
        bus,
        clock,
        GREENCLOUD_HEADERS,
        rerun_if_lost=settings.greencloud.rerun_if_lost,
        quotas=settings.greencloud.quotas(),
    )
    triggers = Triggers(
        store.function_resources, store.invocations, invocations, store.parking, bus, clock, term
    )
    job_timers = JobTimers(store.jobs, bus, clock, webhooks.wake, term)
    engine = Engine(
        tasks=submits,
        lists=Lists(store.lists, submits, dispatch, bus, clock),
        groups=Groups(groups, dispatch, audit),
        why=Why(tasks, dispatch),
        workers=Workers(dispatching, dispatch, audit),
        control_planes=ControlPlanes(store.leadership, None if member is None else member.plane_id),
        parking=ParkedEntries(store.parking),
        maintenance=Maintenance(store.maintenance, audit, clock),
        logs=Logs(tasks, adapters.bytes.output),
        follow=Follow(tasks, adapters.bytes.output, bus),
        dispatch=dispatch,
        access=access,
        output=quota,
        secrets=secrets,
        audit=audit,
        webhooks=webhooks,
        bus=bus,
        clock=clock,
        jobs=Jobs(store.jobs, submits, bus, kill, load, clock, job_timers.starts_changed),
        functions=functions,
        calls=calls,
        function_resources=FunctionResources(
            store.function_resources, functions, triggers, audit, clock
        ),
        invocations=invocations,
    )
    job_timers.report_with(FASTLANE, FastlaneReporter(settings.fastlane, engine.logs))
    beside = None if member is None else member.beside
    leases = Leases(dispatching, rooms, clock, time.monotonic, beside)
    return Wired(
        engine=engine,
        gateway=WorkerGateway(
            dispatching,
            tasks,
            assignments,
            dispatch,
            kill,
            rooms,
            leases,
            bus,
            clock,
            ids,
            calls,
            beside,
            ONLY_PLANE if member is None else member.plane_id,
        ),
        leadership=leadership,
        kill=kill,
        fleet=(
            None
            if member is None
            else FleetWatch(
                dispatching,
                tasks,
                dispatch,
                kill,
                bus,
                clock,
                time.monotonic,
                term,
                _on_leases(member, others),
            )
        ),
        others=others,
        rescue=Rescue(dispatching, dispatch, kill, rooms, leases, bus, clock, time.monotonic),
        leases=leases,
        clock_watch=ClockWatch(
            store.timing,
            clock,
            time.monotonic,
            (due.look, job_timers.starts_changed, triggers.schedules_changed, webhooks.wake),
        ),
        due=due,
        prune=Retention(
            dispatching,
            adapters.bytes.output,
            clock,
            settings.retention_age_s,
            settings.retention_count,
        ),
        counters=counters,
        encryption=encryption,
        job_keeping=job_timers,
        bundle_sweep=BundleSweep(store.functions, bundles, clock),
        object_sweep=(
            None
            if adapters.bytes.objects is None
            else ObjectSweep(adapters.bytes.objects, store.output, clock)
        ),
        triggers=triggers,
        identities=identities,
    )


def _term_of(leadership: Leadership) -> TermSource:
    """In which term this plane leads; no property is looked up where it never changes."""
    return no_term if isinstance(leadership, AlwaysLeader) else lambda: leadership.term


def _on_leases(
    member: Membership, others: OtherPlanes | None
) -> Callable[[list[WorkerLease]], None]:
    """What the leader does whenever it has looked at the workers."""

    def learn(leases: list[WorkerLease]) -> None:
        member.planes.learn(leases)
        if others is not None:
            others.lent.settle_old()

    return learn


def _others(
    member: Membership,
    dispatch: Dispatch,
    sender: AssignmentSender,
    store: Repositories,
    bus: Bus,
    clock: Clock,
) -> OtherPlanes:
    """Connect this plane's scheduler with those of the others; it places nothing until it leads."""
    remote = RemoteScheduler(
        member.messages, store.dispatch, clock, member.planes.learn, dispatch.seen_elsewhere
    )
    lent = LentRoom(dispatch, bus, time.monotonic)
    LeaderEnd(dispatch, store.tasks, member.messages, lent)
    dispatch.elsewhere = remote
    dispatch.drop()
    return OtherPlanes(remote, PlanePlacing(dispatch, remote, sender, clock), lent)


def _running(store: DispatchStore) -> Callable[[], Awaitable[frozenset[AttemptId]]]:
    """Reads which attempts have not ended."""

    async def read() -> frozenset[AttemptId]:
        return frozenset(one.attempt.id for one in await store.running())

    return read


def _admission(identities: Identities, quota: OutputQuota) -> Callable[[WorkspaceName], None]:
    """What a workspace has to satisfy to submit anything."""

    def admit(workspace: WorkspaceName) -> None:
        identities.admit(workspace)
        quota.admit(workspace)

    return admit


def _images(settings: Settings) -> LocalImages:
    """Gets images of functions through the worker's container engine."""
    directory, timeout_s = settings.data / "functions", settings.function_build_timeout_s
    return LocalImages(directory, container_settings(settings), timeout_s)


def _mail(settings: Settings) -> SmtpMail | None:
    """Where mails go; None unless a mail server is set."""
    own = settings.fastlane
    if own.smtp_host is None or own.smtp_port is None:
        return None
    return SmtpMail(
        own.smtp_host, own.smtp_port, own.smtp_user, own.smtp_password, starttls=own.smtp_starttls
    )


def wire_access(
    settings: Settings, store: Repositories, clock: Clock
) -> tuple[Encryption, Accounts, Secrets, Audit]:
    """Credentials and secrets, which the command line uses without a server too."""
    kept = store.access
    audit = Audit(kept, clock)
    key = KeyFile(settings.data / KEY_NAME) if settings.secret_key is None else None
    encryption = Encryption(key or GivenKey(settings.secret_key or ""), kept.sample)
    access = Accounts(kept, clock, audit)
    if settings.dev:
        access.install_dev()
    return encryption, access, Secrets(kept, clock, audit, encryption), audit


def _drain(load: Admission) -> Listener:
    def on_changes(changes: Sequence[Change]) -> None:
        left = 0
        for change in changes:
            if change.was is TaskState.QUEUED and change.state is not TaskState.QUEUED:
                left += 1
        if left:
            load.drained(left)

    return on_changes
