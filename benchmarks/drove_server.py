"""The Drove dialect on a cluster of a hundred workers that only pretend to run containers.

A process of its own: ``python -m benchmarks.drove_server DATA PORT``, until it is told to end. The
engine, its store and the dialect are the real ones. A container whose argument is ``hang`` never
ends; every other one ends at once.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskGroup

from taskyard.core.attempts import Ended, Report, Started
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Container
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, WorkerEnd
from taskyard.server.app import Served, dialect_app
from taskyard.server.byte_stores import own_files
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.listeners import Listener, bind_tcp
from taskyard.server.metrics import Metrics
from taskyard.server.mounting import others
from taskyard.server.outbound import Outbound
from taskyard.server.settings import Settings
from taskyard.server.wiring.engine import wire
from taskyard.server.wiring.wired import Adapters
from taskyard.store.sqlite.store import SqliteStore
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.output.log_files import LogFiles

WORKERS: Final = 100
CORES: Final = 64
"""Of each of the two nodes of a worker."""
GIB: Final = 1 << 30


class PretendingWorkers:
    """All workers at once; implements both ends of the transport that services use."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self._inbox, self._outbox = anyio.create_memory_object_stream[list[Assignment]](10_000)

    async def begin(self, engine: EngineEnd, tasks: TaskGroup) -> None:
        """Join with all of them."""
        first, second = tuple(range(CORES)), tuple(range(CORES, 2 * CORES))
        topology = Topology((NumaNode(0, first, 64 * GIB), NumaNode(1, second, 64 * GIB)))
        capacity = Capacity(1000, 2 * CORES * 1000, 128 * GIB)
        for name in _names():
            hello = Hello(name, _INCARNATION, name, "1", capacity, ("container",))
            await engine.joined(_with(hello, topology))
        tasks.start_soon(self._work, engine)
        for name in _names():
            # Each by itself, as workers do: now and then a heartbeat waits for a commit.
            tasks.start_soon(self._beat, engine, name)

    async def serve(self, engine: EngineEnd) -> None:
        """See the port."""

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """See the port."""
        raise NotImplementedError

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:  # noqa: ARG002 - the port
        """See the port."""
        return self

    async def close(self) -> None:
        """See the port."""

    async def assign(self, assignments: list[Assignment]) -> None:
        """See the port."""
        await self._inbox.send(assignments)

    async def kill(self, orders: list[KillOrder]) -> None:
        """See the port; nobody kills here."""

    async def _work(self, engine: EngineEnd) -> None:
        async for some in self._outbox:
            now = self._clock.now()
            reports: list[Report] = []
            # Workers report together what came about while they waited for the last commit. One
            # report a commit would fall behind what is created, until every core is taken.
            for one in [*some, *self._arrived()]:
                if not isinstance(one.work, Container):
                    raise TypeError(f"no container: {one.work}")
                reports.append(Started(one.attempt_id, one.lease_token, now))
                if "hang" in one.work.args:
                    continue
                state = AttemptState.SUCCEEDED
                reports.append(Ended(one.attempt_id, one.lease_token, now, state, exit_code=0))
            await engine.report(reports)

    def _arrived(self) -> Iterator[Assignment]:
        with contextlib.suppress(anyio.WouldBlock):
            while True:
                yield from self._outbox.receive_nowait()

    async def _beat(self, engine: EngineEnd, name: WorkerId) -> None:
        while True:
            await engine.beat(Heartbeat(name, _INCARNATION, self._clock.now()))
            await anyio.sleep(1)


_INCARNATION: Final = IncarnationId("one")


def _names() -> list[WorkerId]:
    return [WorkerId(f"worker-{number}") for number in range(WORKERS)]


def _with(hello: Hello, topology: Topology) -> Hello:
    return Hello(
        hello.worker_id,
        hello.incarnation,
        hello.hostname,
        hello.version,
        hello.capacity,
        hello.runtimes,
        topology=topology,
    )


async def serve(data: Path, port: int) -> None:
    """Until a signal."""
    given = {"data": data, "dev": True, "drove": {"placement_wait_s": 30.0}}
    settings = Settings.load(None, given, {})
    metrics, clock = Metrics(), SystemClock()
    store = SqliteStore(data, metrics.on_commit, own_process=True)
    workers = PretendingWorkers(clock)
    files = LogFiles(AttemptDirectories(data / "attempts").root)
    sender = Outbound(allow_private=True)
    await store.open()
    wired = wire(
        settings,
        Adapters(store, own_files(settings.data, files), workers, sender, clock, SystemIds()),
        metrics,
    )
    host = DialectContext(wired.engine, Streams(), settings.max_body_bytes, dev=True)

    def nothing(prefix: str) -> None:
        raise NotImplementedError(prefix)

    made = others(settings, host)
    served = Served(nothing, metrics, lambda: {"store": True}, others=made)  # type: ignore[arg-type]  # the native dialect is not served
    listener = Listener(bind_tcp("127.0.0.1", port), dialect_app(served, "drove"), 1)
    async with anyio.create_task_group() as tasks:
        await wired.counters.load(store.dispatch)
        await wired.engine.dispatch.load()
        await wired.rescue.load()
        loops = (wired.engine.dispatch.run, wired.due.run, wired.rescue.run, wired.leases.run)
        for loop in loops:
            tasks.start_soon(loop)
        await workers.begin(wired.gateway, tasks)
        tasks.start_soon(listener.serve)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        listener.stop()
        wired.engine.bus.close()
        tasks.cancel_scope.cancel()
    await sender.close()
    await store.close()


if __name__ == "__main__":
    anyio.run(serve, Path(sys.argv[1]), int(sys.argv[2]), backend_options={"use_uvloop": True})
