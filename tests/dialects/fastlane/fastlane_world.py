"""The fastlane dialect served for tests: real services, store and sockets; a worker of words."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import anyio
import httpx2
from fastlane_worker import WordWorker

from eventually import WITHIN_S, eventually_async
from fakes.logs import MemoryLogs
from fakes.stores import prepare
from taskyard.core.ids import AttemptId
from taskyard.dialects.fastlane.app import fastlane_app
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.server.app import Served, dialect_app, main_app
from taskyard.server.byte_stores import own_files
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.metrics import Metrics
from taskyard.server.outbound import Outbound
from taskyard.server.settings import Settings
from taskyard.server.wiring.engine import wire
from taskyard.server.wiring.wired import Adapters, Wired
from taskyard.store.sqlite.store import SqliteStore

Json = dict[str, Any]
T = TypeVar("T")


class FastlaneWorld:
    """What a test works with."""

    def __init__(self, wired: Wired, worker: WordWorker, url: str, main_url: str) -> None:
        self.wired = wired
        self.worker = worker
        self.url = url
        """Of the dialect's own listener."""
        self.main_url = main_url
        """Of the listener that serves everything."""
        self.api = self.client()

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """A client of the dialect's own listener, as a user of the original would have."""
        return httpx2.AsyncClient(
            base_url=self.url, timeout=20, trust_env=False, verify=False, **options
        )

    async def enqueue(self, command: str = "echo hi", task: str = "mail", **body: Any) -> Json:
        """The answer to a submitted job."""
        answer = await self.api.post(
            f"/tasks/{task}", json={"image": "busybox:1", "command": command, **body}
        )
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def put(self, job: str | None = None, command: str = "echo hi", **body: Any) -> Json:
        """The answer to a job put under an id."""
        answer = await self.api.put(
            f"/tasks/mail/jobs/{job or uuid4()}",
            json={"image": "busybox:1", "command": command, **body},
        )
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def job(self, enqueued: Json) -> Json:
        """The job of an answer, in detail."""
        answer = await self.api.get(f"/tasks/{enqueued['taskId']}/jobs/{enqueued['jobId']}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()["job"]
        return found

    async def until(self, look: Callable[[], Awaitable[T | None]], within_s: float = WITHIN_S) -> T:
        """What ``look`` answers once it answers with something."""
        found = await eventually_async(look, within_s=within_s)
        assert found is not None
        return found

    async def execution(self, enqueued: Json, *statuses: str, count: int = 1) -> Json:
        """The newest execution once there are so many and it has one of these statuses."""
        wanted = statuses or ("done", "failed", "timedout", "expired", "stopped")

        async def look() -> Json | None:
            job = await self.job(enqueued)
            found: list[Json] = job["executions"]
            if len(found) >= count and found[0]["status"] in wanted:
                return found[0]
            return None

        return await self.until(look)

    async def hanging(self) -> AttemptId:
        """The one attempt that hangs, once there is one."""

        async def look() -> AttemptId | None:
            return next(iter(self.worker.hanging), None)

        return await self.until(look)


@asynccontextmanager
async def opened(directory: Path, **settings_: Any) -> AsyncIterator[FastlaneWorld]:
    """A served engine on a data directory; ``settings_`` are those of the dialect, and ``dev``."""
    dev = settings_.pop("dev", True)
    settings = Settings.load(None, {"data": directory, "dev": dev, "fastlane": settings_}, {})
    metrics, streams, clock = Metrics(), Streams(), SystemClock()
    store = SqliteStore(directory, metrics.on_commit)
    worker = WordWorker(MemoryLogs(), clock)
    sender = Outbound(allow_private=True)
    prepare(directory)
    await store.open()
    adapters = Adapters(
        store, own_files(settings.data, worker.logs), worker, sender, clock, SystemIds()
    )
    wired = wire(settings, adapters, metrics)
    host = DialectContext(wired.engine, streams, settings.max_body_bytes, dev=dev)

    def native(prefix: str) -> Native:
        return Native(
            DialectContext(wired.engine, streams, settings.max_body_bytes, dev=True), prefix
        )

    served = Served(
        native,
        metrics,
        lambda: {"store": True},
        others={"fastlane": lambda at: fastlane_app(host, settings.fastlane, at)},
    )
    listeners = [
        Listener(bind_tcp("127.0.0.1", 0), main_app(served), 1),
        Listener(bind_tcp("127.0.0.1", 0), dialect_app(served, "fastlane"), 1),
    ]
    stopped = [anyio.Event() for _ in listeners]
    try:
        async with anyio.create_task_group() as tasks:
            await wired.counters.load(store.dispatch)
            await wired.engine.dispatch.load()
            for loop in (wired.engine.dispatch.run, wired.due.run, wired.job_keeping.run):
                tasks.start_soon(loop)
            await wired.engine.webhooks.start(tasks)

            async def serve(listener: Listener, end: anyio.Event) -> None:
                await listener.serve()
                end.set()

            for listener, end in zip(listeners, stopped, strict=True):
                tasks.start_soon(serve, listener, end)
            await worker.join(wired.gateway, tasks)
            await started(listeners)
            urls = [f"http://127.0.0.1:{one.socket.getsockname()[1]}" for one in listeners]
            world = FastlaneWorld(wired, worker, urls[1], urls[0])
            try:
                async with world.api:
                    yield world
            finally:
                with anyio.CancelScope(shield=True):
                    await streams.close()
                    for listener, end in zip(listeners, stopped, strict=True):
                        listener.stop()
                        await end.wait()
                    await wired.engine.webhooks.stop()
                    wired.engine.bus.close()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()
            await sender.close()
            await store.close()
