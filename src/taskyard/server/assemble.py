"""Puts one server together: the store, the engine, and a worker of its own; starts and stops them.

Started in the order in which each needs the one before; stopped the other way round. Commands are
left running: they belong to the supervisor, and the next server takes them over.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from taskyard.core.ids import WorkerId
from taskyard.objects.joined import serving_objects
from taskyard.objects.joined.wire import GET, KNOWN, PUT, VERSION
from taskyard.ports.clock import Clock
from taskyard.ports.logs import OutputSource
from taskyard.ports.runtime import Runtime
from taskyard.runtimes.container.runtime import ContainerRuntime
from taskyard.server.byte_stores import ByteStores, byte_stores
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.cluster_keys import cluster_keys
from taskyard.server.cluster_metrics import ClusterMetrics
from taskyard.server.containers import container_settings
from taskyard.server.datadir import protect_data
from taskyard.server.duties import duties_of_leader, loops_of_all, write_refusals
from taskyard.server.engine_workers import EngineRuntime, host_workers
from taskyard.server.feeding import begin_feed
from taskyard.server.machine_worker import (
    FunctionAccess,
    OtherUsers,
    WorkerParts,
    circuit_rule,
    machine_worker,
)
from taskyard.server.membership import Membership, membership
from taskyard.server.messaging import MessagesOfPlane, messages_between_planes, own_plane_id
from taskyard.server.metrics import CountedSender, Metrics
from taskyard.server.outbound import Outbound
from taskyard.server.pools import worker_of_host
from taskyard.server.settings import Settings
from taskyard.server.stopping import last, task_group
from taskyard.server.storage import Storage
from taskyard.server.wiring.access import wire_encryption
from taskyard.server.wiring.engine import wire
from taskyard.server.wiring.wired import Adapters, Wired
from taskyard.server.worker_trust import worker_trust
from taskyard.server.workroots import open_work_root, remove_abandoned
from taskyard.services.engine import Engine
from taskyard.services.functions.held_versions import HeldVersions
from taskyard.services.loops import Loop, keep_running
from taskyard.services.scheduling.worker_places import WorkerPlaces
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sqlite.disk_space import Reserve
from taskyard.transport.local.transport import LocalTransport
from taskyard.transport.nats.messages import NatsMessages
from taskyard.transport.workers import JoinedTransport
from taskyard.transport.workers.output import joined_output
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.log_keeper import LogKeeper
from taskyard.worker.worker import Worker

WORKER: Final = WorkerId("local")
"""The worker inside the server; the same in every life, so that it finds its attempts again."""

MARKER_BYTES: Final = 1 << 20
"""What an object of a worker may have beyond the limits: streams are cut with a marker."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A running server without its listeners."""

    engine: Engine
    worker: Worker
    metrics: Metrics
    wired: Wired
    reserve: Reserve
    hosts: tuple[Worker, ...] = ()
    """Workers of the engine hosts in pools."""
    messages: NatsMessages | None = None
    """The connection to other control planes; None if there are none."""
    is_shared: bool = False
    """Whether its database may have other control planes."""

    def checks(self) -> dict[str, bool]:
        """What has to be true for it to be given work."""
        checks = {
            "store": not self.engine.bus.closed,
            "disk": self.reserve.is_held and not self.reserve.is_low,
            "worker": bool(self.engine.dispatch.workers()),
        }
        if self.is_shared:
            checks["database"] = self.engine.control_planes.hears_changes()
            checks["lease"] = self.wired.leases.lapsed(self.worker.worker_id) is None
        if self.messages is not None:
            checks["nats"] = self.messages.is_connected
        return checks


@asynccontextmanager
async def assemble(
    settings: Settings, engine_runtime: EngineRuntime | None = None
) -> AsyncIterator[Node]:
    """A running server without its listeners.

    Args:
        settings: all of them.
        engine_runtime: makes the runtimes for the engine hosts of pools; real ones when None.

    Raises:
        InvalidInput: the data directory is open to others, or settings cannot be met.
        StoreInUse: another process serves this data directory.
        StoreDamaged: the store cannot be read.
        StorageFull: there is no room.
        NatsUnavailable: NATS cannot be reached, or does not let us in.
        SecretKeyMissing, SecretKeyWrong: stored secrets could not be opened.
        RuntimeUnavailable: commands cannot be run here.
    """
    data = settings.data.absolute()
    await anyio.to_thread.run_sync(protect_data, data)
    metrics, clock, ids = Metrics(), SystemClock(), SystemIds()
    async with AsyncExitStack() as stack:
        storage = await _opened(settings, metrics, stack)
        store = storage.store
        cluster, messages = await _messages(settings, storage, metrics, stack)
        member = await stack.enter_async_context(membership(settings, storage, messages, clock))

        directories = AttemptDirectories(data / "attempts")
        files = LogFiles(directories.root, recycle=directories.recycle)
        places = WorkerPlaces() if member is None else member.planes
        transport = _transport(member, store, clock, messages, places)
        stores = await _stores(settings, files, member, messages, store, stack)
        await _serve_objects(settings, stores, store, messages, transport, stack)
        stack.push_async_callback(last, transport.close)
        sender = CountedSender(Outbound(allow_private=settings.webhooks_may_go_private), metrics)
        stack.push_async_callback(last, sender.close)
        wired = wire(
            settings,
            Adapters(
                store,
                stores,
                transport,
                sender,
                clock,
                ids,
                storage.plane,
                member,
                messages,
                places,
            ),
            metrics,
        )
        engine = wired.engine
        stack.push_async_callback(last, partial(write_refusals, engine))
        stack.callback(engine.bus.close)
        await storage.check_key(wired.encryption)
        fed = await _learn(wired, storage, member, metrics, clock)
        await _let_workers_in(settings, cluster, engine, clock, stack)
        await engine.functions.load()
        await transport.serve(wired.gateway)

        keeper = LogKeeper(files, shipper=stores.shipper)
        users = await _users(wired, store, clock, data, stack)
        circuit = circuit_rule(settings)
        worker = machine_worker(
            settings,
            WORKER if member is None else member.worker_id,
            WorkerParts(data, clock, ids, transport, directories, keeper, circuit),
            FunctionAccess(WORKER, stores.results, engine.functions.rebuild),
            users,
        )
        hosts = host_workers(
            settings.pools,
            engine_runtime or _engine_runtimes(settings, data, clock),
            circuit=circuit,
            transport=transport,
            clock=clock,
            ids=ids,
            directories=directories,
            keeper=keeper,
        )
        workers = (worker, *hosts)
        wired.rescue.is_inside = lambda worker_id: any(
            one.worker_id == worker_id and one.is_running for one in workers
        )
        loops = await stack.enter_async_context(task_group())
        stack.callback(loops.cancel_scope.cancel)
        keep = partial(_keep, loops, clock, metrics)
        for name, loop in (fed | loops_of_all(wired, metrics)).items():
            keep(name, loop)
        await wired.leadership.start(duties_of_leader(wired, metrics, loops, member), loops)
        stack.push_async_callback(last, engine.webhooks.stop)
        await keeper.start()
        stack.push_async_callback(last, keeper.stop)
        for one in workers:
            stack.push_async_callback(last, one.stop)
        async with anyio.create_task_group() as starting:
            for one in workers:
                starting.start_soon(one.start)
        keep(
            "output_sweep",
            lambda: keeper.keep_swept(
                lambda attempt: any(one.holds(attempt) for one in workers),
                store.tasks.inline_output,
                store.output.known,
            ),
        )
        if wired.joined is not None:
            # Last, as whoever joins is given work at once; and the first to end.
            stack.push_async_callback(last, transport.leave)
            await transport.serve_joined(wired.joined.gateway)
        yield Node(
            engine,
            worker,
            metrics,
            wired,
            storage.reserve,
            tuple(hosts),
            messages,
            is_shared=member is not None,
        )


async def _opened(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Storage:
    """The store, closed at the end. Raises as ``Storage.open``."""
    storage = Storage(settings, metrics.on_commit, own_process=True)
    await storage.open()
    stack.push_async_callback(last, storage.close)
    return storage


def _transport(
    member: Membership | None,
    store: Repositories,
    clock: Clock,
    messages: NatsMessages | None,
    places: WorkerPlaces,
) -> JoinedTransport:
    """Reaches workers beside this control plane, beside others if there are any, and elsewhere."""
    local = LocalTransport()
    beside = local if member is None else member.transport(local, store.tasks, clock)
    return JoinedTransport(beside, messages, places.joined_life)


async def _messages(
    settings: Settings, storage: Storage, metrics: Metrics, stack: AsyncExitStack
) -> tuple[MessagesOfPlane, NatsMessages] | tuple[None, None]:
    """The connection to other control planes, if there is to be one. Raises as ``assemble``."""
    if not settings.nats.serve and settings.nats.url is None:
        return None, None
    data, plane_id, installation = settings.data.absolute(), storage.plane, storage.installation
    if plane_id is None:
        # With a store of its own, a plane is an installation by itself.
        plane_id = await own_plane_id(data)
        installation = str(plane_id)
    encryption = wire_encryption(settings, storage.store)
    # Before keys are made of it: no other one is made where the installation has one.
    await storage.check_key(encryption)
    keys = await cluster_keys(encryption.derive)
    cluster = await stack.enter_async_context(
        messages_between_planes(settings.nats, data, installation, plane_id, keys)
    )
    metrics.watch_messages(cluster.messages)
    return cluster, cluster.messages


async def _stores(
    settings: Settings,
    files: LogFiles,
    member: Membership | None,
    messages: NatsMessages | None,
    store: Repositories,
    stack: AsyncExitStack,
) -> ByteStores:
    """The stores of bytes, closed at the end."""
    remote: OutputSource | None = None
    if member is not None:
        remote = member.output(files, store.dispatch, messages)
    elif messages is not None:
        remote = await stack.enter_async_context(joined_output(messages, store.dispatch))
    stores = byte_stores(settings, files, remote)
    stack.push_async_callback(last, stores.close)
    return stores


async def _serve_objects(
    settings: Settings,
    stores: ByteStores,
    store: Repositories,
    messages: NatsMessages | None,
    transport: JoinedTransport,
    stack: AsyncExitStack,
) -> None:
    """Have workers on other machines store output and answers here, and read sources."""
    if stores.objects is None or messages is None:
        return
    most = settings.task_output_bytes
    served = await stack.enter_async_context(
        serving_objects(
            stores.objects,
            stores.bundles,
            store.dispatch.holder_of,
            HeldVersions(store.tasks, store.functions).version,
            messages.plane_id,
            None if most is None else max(most, settings.function_result_bytes) + MARKER_BYTES,
        )
    )
    transport.answer(PUT, served.on_put, may_be_own=True)
    transport.answer(VERSION, served.on_version)
    transport.answer(GET, served.on_get)
    transport.answer(KNOWN, served.on_known)


async def _let_workers_in(
    settings: Settings,
    cluster: MessagesOfPlane | None,
    engine: Engine,
    clock: Clock,
    stack: AsyncExitStack,
) -> None:
    """Have workers on other machines join, if there is a way. Raises as ``worker_trust``."""
    if cluster is not None:
        await stack.enter_async_context(
            worker_trust(settings.nats, cluster, engine.worker_tokens, clock)
        )


async def _users(
    wired: Wired, store: Repositories, clock: Clock, data: Path, stack: AsyncExitStack
) -> OtherUsers:
    """Learn which workspaces have users of their own, if any have. Raises as the store does."""
    wired.identities.serve(await store.workspace_users.workspaces(clock.now()))
    are_used = wired.identities.rules.changes_user
    return OtherUsers(are_used, await _work_root(data, stack) if are_used else None)


async def _work_root(data: Path, stack: AsyncExitStack) -> Path | None:
    """Where users of workspaces work, if not in the data directory. Raises ``OSError``."""
    await anyio.to_thread.run_sync(remove_abandoned)
    root = await anyio.to_thread.run_sync(open_work_root, data)
    if root is None:
        return None
    stack.push_async_callback(last, partial(anyio.to_thread.run_sync, root.close))
    return root.path


async def _learn(
    wired: Wired, storage: Storage, member: Membership | None, metrics: Metrics, clock: Clock
) -> dict[str, Loop]:
    """Begin with the numbers that the store has, and show them. Raises as it does.

    Answers with the loops that keep them current, where others change them too.
    """
    engine = wired.engine
    fed = await begin_feed(storage, wired, None if member is None else member.messages, clock)
    if not fed:
        await wired.counters.load(storage.store.dispatch)
    await engine.output.load()
    metrics.watch(wired.counters.by_workspace, engine.dispatch.workers, engine.output.by_workspace)
    if storage.database is not None:
        planes = engine.control_planes
        metrics.watch_cluster(
            ClusterMetrics(wired.leadership, planes, storage.database, planes.behind_s)
        )
    return fed


def _keep(loops: TaskGroup, clock: Clock, metrics: Metrics, name: str, loop: Loop) -> None:
    loops.start_soon(keep_running, name, loop, clock, metrics.count_loop_failure)


def _engine_runtimes(settings: Settings, data: Path, clock: Clock) -> EngineRuntime:
    """Runtimes for other engines; each keeps to itself what it runs, in a directory of its own."""

    def make(url: str) -> Runtime:
        own = replace(container_settings(settings), engine=url)
        return ContainerRuntime(data / "engines" / worker_of_host(url), own, clock)

    return make
