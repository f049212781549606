"""The engine: all services, connected."""

import time

from taskyard.dialects.fastlane.mapping import ORIGIN as FASTLANE
from taskyard.dialects.fastlane.reports import FastlaneReporter
from taskyard.server.mail import SmtpMail
from taskyard.server.metrics import Metrics
from taskyard.server.settings import Settings
from taskyard.server.wiring.access import Access, wire_access, wire_rules
from taskyard.server.wiring.functions import wire_functions
from taskyard.server.wiring.scheduling import wire_scheduling
from taskyard.server.wiring.wired import Adapters, Wired
from taskyard.server.wiring.workers import wire_workers
from taskyard.services.control_planes import ControlPlanes
from taskyard.services.engine import Engine
from taskyard.services.jobs.job_timers import JobTimers
from taskyard.services.jobs.jobs import Jobs
from taskyard.services.lists import Lists
from taskyard.services.notifications.bus import Bus
from taskyard.services.notifications.webhooks import Webhooks
from taskyard.services.scheduling.administration import Maintenance, ParkedEntries, Workers
from taskyard.services.scheduling.counters import TaskCounters
from taskyard.services.scheduling.rule_budget import PolicyPace, RuleBudgetSource
from taskyard.services.scheduling.scaling import Scaling
from taskyard.services.scheduling.timers import ClockWatch
from taskyard.services.scheduling.why import Why
from taskyard.services.scheduling.worker_tokens import WorkerTokens
from taskyard.services.tasks.follow import Follow
from taskyard.services.tasks.groups import Groups
from taskyard.services.tasks.logs import Logs
from taskyard.services.tasks.object_sweep import ObjectSweep
from taskyard.services.tasks.retention import Retention
from taskyard.services.tasks.tasks import Tasks


def wire(settings: Settings, adapters: Adapters, metrics: Metrics) -> Wired:
    """All services, connected. The bus's listeners are told of changes in the order below."""
    store, clock, output = adapters.store, adapters.clock, adapters.bytes.output
    member, objects = adapters.member, adapters.bytes.objects
    access = wire_access(settings, store, clock)
    audit = access.audit
    bus = Bus(fed=adapters.plane is not None)
    counters = TaskCounters(bus)
    rules = wire_rules(settings, store, clock, counters)
    access.accounts.admit = rules.identities.admit
    scheduling = wire_scheduling(settings, adapters, bus, counters, access.secrets, rules)
    dispatch, kill, load = scheduling.dispatch, scheduling.kill, scheduling.load
    webhooks = _webhooks(settings, adapters, access)
    bus.listen(webhooks.on_changes)
    bus.listen(metrics.on_changes)
    tasks = Tasks(
        store.tasks,
        output,
        bus,
        kill,
        load,
        clock,
        adapters.ids,
        adapters.sender,
        audit,
        dispatch if scheduling.others is None else scheduling.others.placing,
        rules.users,
        rules.containers,
        rules.admit,
        PolicyPace(RuleBudgetSource(settings.placement_steps), clock),
    )
    functions = wire_functions(settings, adapters, bus, access, rules, scheduling, tasks)
    job_timers = JobTimers(store.jobs, bus, clock, webhooks.wake, scheduling.term)
    worker_tokens = WorkerTokens(store.worker_tokens, store.dispatch, dispatch, audit, bus, clock)
    engine = Engine(
        tasks=tasks,
        lists=Lists(store.lists, tasks, dispatch, bus, clock),
        groups=Groups(store.groups, dispatch, audit),
        why=Why(store.tasks, dispatch),
        workers=Workers(store.dispatch, dispatch, audit),
        scaling=Scaling(store.dispatch, store.tasks, store.groups),
        worker_tokens=worker_tokens,
        control_planes=ControlPlanes(store.leadership, None if member is None else member.plane_id),
        parking=ParkedEntries(store.parking),
        maintenance=Maintenance(store.maintenance, audit, clock),
        logs=Logs(store.tasks, output),
        follow=Follow(store.tasks, output, bus),
        dispatch=dispatch,
        access=access.accounts,
        output=rules.quota,
        secrets=access.secrets,
        audit=audit,
        webhooks=webhooks,
        bus=bus,
        clock=clock,
        jobs=Jobs(store.jobs, tasks, bus, kill, load, clock, job_timers.starts_changed),
        functions=functions.functions,
        calls=functions.calls,
        function_resources=functions.resources,
        invocations=functions.invocations,
    )
    job_timers.report_with(FASTLANE, FastlaneReporter(settings.fastlane, engine.logs))
    workers = wire_workers(adapters, bus, scheduling, functions.calls, worker_tokens)
    due, triggers = scheduling.due, functions.triggers
    return Wired(
        engine=engine,
        gateway=workers.gateway,
        joined=workers.joined,
        leadership=scheduling.leadership,
        kill=kill,
        fleet=workers.fleet,
        others=scheduling.others,
        rescue=workers.rescue,
        leases=workers.leases,
        clock_watch=ClockWatch(
            store.timing,
            clock,
            time.monotonic,
            (due.look, job_timers.starts_changed, triggers.schedules_changed, webhooks.wake),
        ),
        due=due,
        prune=Retention(
            store.dispatch, output, clock, settings.retention_age_s, settings.retention_count
        ),
        counters=counters,
        encryption=access.encryption,
        job_keeping=job_timers,
        bundle_sweep=functions.bundle_sweep,
        object_sweep=None if objects is None else ObjectSweep(objects, store.output, clock),
        triggers=triggers,
        identities=rules.identities,
    )


def _webhooks(settings: Settings, adapters: Adapters, access: Access) -> Webhooks:
    """Sends what others are told of."""
    return Webhooks(
        adapters.store.webhooks,
        adapters.sender,
        access.encryption,
        access.audit,
        adapters.clock,
        mail=_mail(settings),
        at_once=settings.max_webhooks,
        of_workspace=max(1, settings.max_webhooks * settings.share_percent // 100),
    )


def _mail(settings: Settings) -> SmtpMail | None:
    """Where mails go; None unless a mail server is set."""
    own = settings.fastlane
    if own.smtp_host is None or own.smtp_port is None:
        return None
    return SmtpMail(
        own.smtp_host, own.smtp_port, own.smtp_user, own.smtp_password, starttls=own.smtp_starttls
    )
