"""A worker in a process of its own, on any machine: joins control planes over NATS.

It has a data directory and a lock, runtimes, and one connection outwards: no store, no services.
Commands and containers are left running when it ends, as those of a server are: the next process on
the same directory takes them over, if its lease still holds. Functions are fetched from control
planes, and built here.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from msgspec import Struct

from taskyard import __version__
from taskyard.core.access.join_string import JoinString
from taskyard.core.errors import Conflict, InvalidInput, TaskyardError
from taskyard.core.ids import AttemptId, WorkerId
from taskyard.core.stay import Stay
from taskyard.objects.joined import JoinedObjects, JoinedResults, JoinedSources
from taskyard.ports.clock import Clock
from taskyard.ports.messages import PlaneMessages
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.datadir import UMASK, protect_data
from taskyard.server.logging import configure_logging
from taskyard.server.machine_users import USERS_FILE, MachineUsers
from taskyard.server.machine_worker import (
    FunctionAccess,
    OtherUsers,
    WorkerParts,
    circuit_rule,
    machine_worker,
)
from taskyard.server.service_manager import READY, tell_service_manager
from taskyard.server.service_manager import STOPPING as SERVICE_STOPPING
from taskyard.server.settings import Settings
from taskyard.server.stopping import exit_at_the_next, last, only
from taskyard.server.storage import PLANE_FILE
from taskyard.server.wiring.functions import local_builder
from taskyard.server.work import tell, work_rules
from taskyard.server.workroots import open_work_root, remove_abandoned
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.lock import DirectoryLock
from taskyard.transport.nats.joining import options_to_join
from taskyard.transport.nats.worker_messages import nats_worker_messages
from taskyard.transport.remote_output import ServedOutput
from taskyard.transport.workers import WorkerClient
from taskyard.worker.fetched_versions import FetchedVersions
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.log_keeper import LogKeeper
from taskyard.worker.output.shipping import OutputShipper
from taskyard.worker.spool import Spool, SpooledTransport
from taskyard.worker.staying import Staying
from taskyard.worker.worker import Worker

WORKER_FILE: Final = "worker.json"
SPOOL_FILE: Final = "reports.spool"
SWEEP_AGAIN_S: Final = 30.0
STOPPING: Final = "its worker is being stopped"

log = structlog.get_logger(__name__)


class WorkerFile(Struct, frozen=True):
    """Whose a data directory is."""

    worker: WorkerId
    installation: str


@dataclass(frozen=True, slots=True)
class JoinedNode:
    """A worker that has joined."""

    worker: Worker
    client: WorkerClient
    refusal: "Refusal"
    """Why it may not go on, if it may not."""


class Refusal:
    """Control planes do not take a worker any more."""

    def __init__(self) -> None:
        self.came = anyio.Event()
        self.error: TaskyardError | None = None

    def note(self, error: TaskyardError) -> None:
        """They said so."""
        self.error = error
        self.came.set()


@asynccontextmanager
async def joined_worker(
    settings: Settings,
    join: JoinString,
    stay: Stay = Stay(),  # noqa: B008 - frozen
) -> AsyncIterator[JoinedNode]:
    """A worker that has joined; waits until a control plane has taken it.

    Args:
        settings: what the machine offers, and how work runs on it.
        join: where to connect to, and as whom.
        stay: how long it stays, counted from now.

    Raises:
        StoreInUse: another process has the data directory.
        Conflict: the data directory is that of a server, or of another worker.
        InvalidInput: settings cannot be met, or the join string cannot be used.
        NatsUnavailable: NATS does not let it in.
        NotAuthenticated: the credential is not valid any more.
        RuntimeUnavailable: nothing can be run here.
    """
    staying = Staying(stay)
    data, worker_id = settings.data.absolute(), join.worker_id
    await anyio.to_thread.run_sync(protect_data, data)
    async with AsyncExitStack() as stack:
        lock = DirectoryLock(data)
        await anyio.to_thread.run_sync(_take, lock, data, join)
        stack.callback(lock.release)
        tasks = await stack.enter_async_context(_tasks())
        messages = await stack.enter_async_context(
            nats_worker_messages(options_to_join(join), join.installation, worker_id)
        )
        clock, refusal = SystemClock(), Refusal()
        client = WorkerClient(messages, clock, tasks)
        client.on_refused = refusal.note
        transport = SpooledTransport(client, Spool(data / SPOOL_FILE))
        stack.push_async_callback(last, transport.close)
        directories = AttemptDirectories(data / "attempts")
        objects = JoinedObjects(messages)
        files = LogFiles(directories.root, recycle=directories.recycle)
        ServedOutput(messages.serve, files)
        keeper = LogKeeper(files, shipper=OutputShipper(objects))
        rules = await anyio.to_thread.run_sync(work_rules, settings)
        tell(rules)
        users = MachineUsers(data / USERS_FILE, *settings.user_ids(), rules)
        root = await _work_root(data, stack) if rules.changes_user else None
        functions = await _functions(settings, worker_id, messages, objects, clock)
        worker = machine_worker(
            settings,
            worker_id,
            WorkerParts(
                data,
                clock,
                SystemIds(),
                transport,
                directories,
                keeper,
                circuit_rule(settings),
                users.adapt,
            ),
            functions,
            OtherUsers(rules.changes_user, root),
            staying,
        )
        await keeper.start()
        stack.push_async_callback(last, keeper.stop)
        stack.push_async_callback(last, worker.stop)
        await worker.start()
        tasks.start_soon(_keep_swept, keeper, worker, objects)
        yield JoinedNode(worker, client, refusal)


def work(settings: Settings, join: JoinString, stay: Stay, *, as_json: bool = False) -> None:
    """Work until SIGTERM or SIGINT, or until its stay is over, then drain; a second signal ends the
    process at once. Blocks.

    Raises:
        NotAllowed: another process has joined with the same join string.
        TaskyardError: as :func:`joined_worker`.
        OSError: the data directory cannot be used.
    """
    os.umask(UMASK)
    configure_logging(settings.log_format, settings.log_level)
    try:
        anyio.run(_work, settings, join, stay, as_json, backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        raise only(group) from group


async def _work(settings: Settings, join: JoinString, stay: Stay, as_json: bool) -> None:
    joined, stopping = anyio.Event(), anyio.Event()

    async def serve(tasks: TaskGroup) -> None:
        async with joined_worker(settings, join, stay) as node:
            _greet(settings, join, as_json=as_json, drained=node.client.is_drained)
            if node.client.is_drained and as_json:
                log.warning("drained", means=_drained_hint(join))
            joined.set()
            tell_service_manager(READY)
            reason = await _until_it_ends(node, stopping)
            if node.refusal.error is not None:
                await node.worker.give_up()
                raise node.refusal.error
            await _drain(node, reason, settings.worker_drain_s)
        tasks.cancel_scope.cancel()

    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, tasks)
            received = await anext(signals)
            log.info("signal", name=received.name)
            exit_at_the_next()
            stopping.set()
            if not joined.is_set():
                tasks.cancel_scope.cancel()


async def _until_it_ends(node: JoinedNode, stopping: anyio.Event) -> str:
    """Wait until it is stopped or refused, or is to leave; answers why it gets nothing new."""
    reason = STOPPING
    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            nonlocal reason
            reason = await node.worker.until_leaving()
            log.info("leaving", reason=reason)
            tasks.cancel_scope.cancel()

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for one in (stopping, node.refusal.came):
            tasks.start_soon(wait, one)
        tasks.start_soon(leave)
    return reason


async def _drain(node: JoinedNode, reason: str, limit_s: float) -> None:
    """Take nothing new, and finish what runs; what does not end in time is left running."""
    tell_service_manager(SERVICE_STOPPING)
    node.worker.drain(reason)
    log.info("draining", seconds=limit_s)
    with anyio.move_on_after(limit_s):
        await node.worker.drained()
    if node.worker.is_idle:
        await node.client.leave()
    else:
        log.warning("left_running", means="the next process on this directory takes it over")


def _greet(settings: Settings, join: JoinString, *, as_json: bool, drained: bool) -> None:
    if as_json:
        said = {
            "worker": join.name,
            "installation": join.installation,
            "data": str(settings.data),
            "drained": drained,
        }
        text = msgspec.json.encode(said).decode()
    else:
        text = "\n".join(
            [
                f"Worker {join.name} (Taskyard {__version__}) has joined.",
                f"  data       {settings.data}",
                f"  servers    {', '.join(join.urls)}",
                *([_drained_hint(join)] if drained else ()),
                "Stop it with Ctrl-C: it takes nothing new, and finishes what it runs for up to"
                f" {settings.worker_drain_s:g} s.",
            ]
        )
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _drained_hint(join: JoinString) -> str:
    return (
        f"Worker {join.name} is drained: it gets no tasks; undrain it with"
        f" 'taskyard worker undrain {join.name}'."
    )


def _take(lock: DirectoryLock, data: Path, join: JoinString) -> None:
    """Take a data directory, which is this worker's from now on. Blocks; raises as above."""
    if (data / FILE_NAME).exists() or (data / PLANE_FILE).exists():
        raise Conflict(
            f"{data} is the data directory of a server, which has a worker of its own; name another"
            " --data directory"
        )
    lock.acquire()
    path, own = data / WORKER_FILE, WorkerFile(join.worker_id, join.installation)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=WorkerFile)
    except FileNotFoundError:
        path.write_bytes(msgspec.json.encode(own))
        path.chmod(0o600)
        return
    except msgspec.DecodeError as error:
        raise InvalidInput("data", f"{path} does not say whose the directory is") from error
    if found != own:
        lock.release()
        raise Conflict(
            f"{data} belongs to worker {found.worker} of installation {found.installation}; name"
            " another --data directory, one for each worker"
        )


async def _functions(
    settings: Settings,
    worker_id: WorkerId,
    messages: PlaneMessages,
    objects: JoinedObjects,
    clock: Clock,
) -> FunctionAccess | None:
    """What functions need; None if this machine's operator runs none."""
    if not settings.process_functions:
        return None
    versions = FetchedVersions(
        JoinedSources(messages), local_builder(settings), clock, settings.function_builds
    )
    await versions.open()
    # Images would have to be pulled here, with credentials for it.
    return FunctionAccess(
        worker_id, JoinedResults(objects), versions.rebuild, versions.serve, images=False
    )


async def _keep_swept(keeper: LogKeeper, worker: Worker, objects: JoinedObjects) -> None:
    """Store output that could not be when its attempt ended, again and again until cancelled.

    Output of attempts that were taken from this worker meanwhile is removed.
    """

    async def kept_in_the_store(_attempt_id: AttemptId, _stream: str) -> None:
        """Nobody knows that here; it is stored once more then, and goes with its task."""

    while True:
        try:
            await keeper.keep_swept(worker.holds, kept_in_the_store, objects.known)
        except TaskyardError as error:
            log.warning("output_not_swept", reason=str(error))
        await anyio.sleep(SWEEP_AGAIN_S)


@asynccontextmanager
async def _tasks() -> AsyncIterator[TaskGroup]:
    """Tasks that end with whatever is inside."""
    async with anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


async def _work_root(data: Path, stack: AsyncExitStack) -> Path | None:
    """Where users of workspaces work, if not in the data directory. Raises ``OSError``."""
    await anyio.to_thread.run_sync(remove_abandoned)
    root = await anyio.to_thread.run_sync(open_work_root, data)
    if root is None:
        return None
    stack.push_async_callback(last, partial(anyio.to_thread.run_sync, root.close))
    return root.path
