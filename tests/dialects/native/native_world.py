"""The native API served for tests: real services, store and sockets; a worker made of words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.abc import TaskGroup

from eventually import eventually_async
from fakes.logs import MemoryLogs
from fakes.stores import prepare
from fakes.word_worker import WordTransport
from taskyard.core.attempts import Started
from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Command
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.ports.logs import Stream
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Hello
from taskyard.server.app import Served, main_app
from taskyard.server.byte_stores import own_files
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.metrics import Metrics
from taskyard.server.outbound import Outbound
from taskyard.server.settings import Settings
from taskyard.server.wiring.engine import wire
from taskyard.server.wiring.wired import Adapters, Wired
from taskyard.store.sqlite.store import SqliteStore

WORKER = WorkerId("w1")


class WordWorker(WordTransport):
    """A worker whose commands are words: ``echo TEXT``, ``fail``, ``hang``, anything else ends.

    Implements both ends of the transport that services use.
    """

    def __init__(self, logs: MemoryLogs, clock: SystemClock) -> None:
        super().__init__(logs, clock)
        self._hanging: dict[AttemptId, Assignment] = {}

    async def join(self, engine: EngineEnd, tasks: TaskGroup) -> None:
        """Be there."""
        self._engine = engine
        await engine.joined(
            Hello(
                WORKER,
                IncarnationId("i1"),
                "here",
                "1",
                Capacity(4, 4000, 8 << 30),
                ("command",),
                topology=Topology((NumaNode(0, (4, 5), 8 << 30),)),
            )
        )
        tasks.start_soon(self._work)

    async def kill(self, orders: list[KillOrder]) -> None:
        """See the port."""
        for order in orders:
            found = self._hanging.pop(order.attempt_id, None)
            if found is not None:
                await self._end(found, AttemptState.KILLED, Reason.KILLED, None)

    def say(self, attempt_id: str, stream: Stream, data: bytes) -> None:
        """Let a hanging attempt write something."""
        self.logs.write(AttemptId(attempt_id), stream, data)

    async def forget(self, attempt_id: str) -> None:
        """Lose what an attempt has written."""
        await self.logs.delete([AttemptId(attempt_id)])

    async def finish(self, attempt_id: str) -> None:
        """Let a hanging attempt end well."""
        await self._end(self._hanging.pop(AttemptId(attempt_id)), AttemptState.SUCCEEDED, None, 0)

    async def _work(self) -> None:
        async for assignment in self._outbox:
            assert self._engine is not None
            work = assignment.work
            assert isinstance(work, Command)
            words = list(work.argv) or (work.shell or "").split()
            if words[0] == "hang":
                # Before it is seen running, since a test may end it from then on.
                self._hanging[assignment.attempt_id] = assignment
            await self._engine.report(
                [Started(assignment.attempt_id, assignment.lease_token, self._clock.now())]
            )
            if words[0] == "hang":
                continue
            if words[0] == "fail":
                await self._end(assignment, AttemptState.FAILED, Reason.EXIT_CODE, 3)
            else:
                text = " ".join(words[1:]).encode() + b"\n"
                self.logs.write(assignment.attempt_id, Stream.STDOUT, text)
                await self._end(assignment, AttemptState.SUCCEEDED, None, 0)


class NativeWorld:
    """What a test works with."""

    def __init__(
        self,
        wired: Wired,
        worker: WordWorker,
        streams: Streams,
        metrics: Metrics,
        url: str,
        store: SqliteStore,
    ) -> None:
        self.wired = wired
        self.worker = worker
        self.streams = streams
        self.metrics = metrics
        self.url = url
        self.store = store
        self.api = self.client("Bearer dev")
        self.guest = self.client("Basic Z3Vlc3Q6Z3Vlc3Q=")
        self.nobody = self.client(None)

    def client(self, authorization: str | None) -> httpx2.AsyncClient:
        """A client of the API with this credential."""
        headers = {} if authorization is None else {"authorization": authorization}
        return httpx2.AsyncClient(
            base_url=self.url + "/api/v1",
            headers=headers,
            timeout=20,
            trust_env=False,
            verify=False,
        )

    async def submit(self, **spec: Any) -> dict[str, Any]:
        """A submitted task, as answered."""
        answer = await self.api.post("/tasks", json={"command": ["true"], **spec})
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = answer.json()
        return task

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task once it has ended."""
        answer = await self.api.get(f"/tasks/{task_id}/wait", params={"timeout_s": 10})
        task: dict[str, Any] = answer.json()
        assert task["finished_at"], task
        return task

    async def running(self, task_id: str) -> dict[str, Any]:
        """The task's attempt once it has been seen running."""

        async def look() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await self.api.get(f"/tasks/{task_id}/attempts")).json()[
                "items"
            ]
            return items

        items = await eventually_async(
            look, lambda items: bool(items) and items[-1]["state"] == "running"
        )
        return items[-1]


@asynccontextmanager
async def opened(directory: Path, **settings_: Any) -> AsyncIterator[NativeWorld]:
    """A served engine on a data directory."""
    settings = Settings.load(None, {"data": directory, "dev": True, **settings_}, {})
    metrics, streams, clock = Metrics(), Streams(), SystemClock()
    store = SqliteStore(directory, metrics.on_commit)
    logs = MemoryLogs()
    worker = WordWorker(logs, clock)
    sender = Outbound(allow_private=True)
    prepare(directory)
    await store.open()
    wired = wire(
        settings,
        Adapters(store, own_files(settings.data, logs), worker, sender, clock, SystemIds()),
        metrics,
    )
    metrics.watch(wired.counters.by_workspace, wired.engine.dispatch.workers)

    def native(prefix: str) -> Native:
        return Native(
            DialectContext(wired.engine, streams, settings.max_body_bytes, dev=True), prefix
        )

    app = main_app(Served(native, metrics, lambda: {"store": True}))
    listener = Listener(bind_tcp("127.0.0.1", 0), app, 1)
    try:
        async with anyio.create_task_group() as tasks:
            await wired.counters.load(store.dispatch)
            await wired.engine.dispatch.load()
            tasks.start_soon(wired.engine.dispatch.run)
            tasks.start_soon(wired.due.run)
            serving = anyio.Event()

            async def serve() -> None:
                await listener.serve()
                serving.set()

            tasks.start_soon(serve)
            await worker.join(wired.gateway, tasks)
            await started([listener])
            host, port = listener.socket.getsockname()
            url = f"http://{host}:{port}"
            world = NativeWorld(wired, worker, streams, metrics, url, store)
            try:
                async with world.api, world.guest, world.nobody:
                    yield world
            finally:
                with anyio.CancelScope(shield=True):
                    await streams.close()
                    listener.stop()
                    await serving.wait()
                    wired.engine.bus.close()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()
            await sender.close()
            await store.close()
