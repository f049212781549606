"""The Drove dialect served for tests: real services, store and sockets; workers of words."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
from drove_worker import WordWorkers

from eventually import WITHIN_S, eventually_async
from fakes.logs import MemoryLogs
from fakes.stores import prepare
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.ports.runtime import Assignment
from taskyard.server.app import Served, dialect_app, main_app
from taskyard.server.byte_stores import own_files
from taskyard.server.clock import SystemClock, SystemIds
from taskyard.server.fetching import GuardedFetcher
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.metrics import Metrics
from taskyard.server.mounting import others
from taskyard.server.outbound import Outbound
from taskyard.server.settings import Settings
from taskyard.server.wiring.engine import wire
from taskyard.server.wiring.wired import Adapters, Wired
from taskyard.store.sqlite.store import SqliteStore

Json = dict[str, Any]
T = TypeVar("T")
PASSWORD = "correct horse battery"
OP_SPEC: Json = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
OPERATORS = {"watcher": Role.READ, "oncall": Role.OPERATE, "owner": Role.ADMIN}
USERS = {
    "root": Role.ADMIN,
    "writer": Role.WRITE,
    "keeper": Role.OPERATE,
    "reader": Role.READ,
}


def spec(task_id: str = "T1", *args: str, **changes: Any) -> Json:
    """A task; ``args`` say what it does."""
    given: Json = {
        "sourceAppName": "APP",
        "taskId": task_id,
        "executable": {"type": "DOCKER", "url": "example/image", "dockerPullTimeout": "100s"},
        "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 128}],
        "args": list(args),
    }
    given |= changes
    return {name: value for name, value in given.items() if value is not None}


class DroveWorld:
    """What a test works with."""

    def __init__(self, wired: Wired, workers: WordWorkers, url: str, main_url: str) -> None:
        self.wired = wired
        self.workers = workers
        self.url = url + "/apis/v1"
        """Of the dialect's own listener."""
        self.main_url = main_url + "/drove/apis/v1"
        """Of the same below the prefix."""
        self.server_url = main_url
        self.api = self.client("admin", "admin")
        self.guest = self.client("guest", "guest")

    def client(self, user: str | None, password: str = PASSWORD, **more: Any) -> httpx2.AsyncClient:
        """A client of the dialect's own listener."""
        auth = None if user is None else httpx2.BasicAuth(user, password)
        usual = {"base_url": self.url, "timeout": 20, "trust_env": False, "verify": False}
        given: dict[str, Any] = {**usual, **more}
        return httpx2.AsyncClient(auth=auth, **given)

    async def users(self) -> dict[str, httpx2.AsyncClient]:
        """A client for each of the four roles."""
        admin = Caller("test", WorkspaceName("default"), Role.ADMIN)
        for name, role in USERS.items():
            await self.wired.engine.access.add_user(admin, name, PASSWORD, role)
        return {name: self.client(name) for name in USERS}

    async def operators(self) -> dict[str, httpx2.AsyncClient]:
        """A client for each role of the installation."""
        admin = Caller("test", INSTALLATION, Role.READ, installation=Role.ADMIN)
        for name, role in OPERATORS.items():
            await self.wired.engine.access.add_user(admin, name, PASSWORD, role)
        return {name: self.client(name) for name in OPERATORS}

    async def post(self, path: str, body: Any = None) -> httpx2.Response:
        """An answer to a body."""
        return await self.api.post(path, json=body)

    async def operate(self, kind: str, **members: Any) -> httpx2.Response:
        """An answer to an operation."""
        return await self.post("/tasks/operations", {"type": kind, "opSpec": OP_SPEC, **members})

    async def create(self, task_id: str = "T1", *args: str, **changes: Any) -> Json:
        """A created task as it is shown."""
        answer = await self.operate("CREATE", spec=spec(task_id, *args, **changes))
        assert answer.status_code == 200, answer.text
        return await self.show(task_id, changes.get("sourceAppName", "APP"))

    async def refused(self, **changes: Any) -> list[str]:
        """What is wrong with such a task, as validation and creation say alike."""
        said = []
        for answer in (
            await self.post("/tasks/validate/spec", spec(**changes)),
            await self.operate("CREATE", spec=spec(**changes)),
        ):
            body = answer.json()
            assert (answer.status_code, body["status"]) == (400, "FAILED"), body
            assert body["message"] == "Command validation failure"
            said.append([one.removeprefix("spec.") for one in body["data"]["validationErrors"]])
        assert sorted(said[0]) == sorted(said[1])
        problems: list[str] = said[0]
        return problems

    async def kill(self, task_id: str = "T1") -> httpx2.Response:
        """The answer to a kill."""
        return await self.operate("KILL", sourceAppName="APP", taskId=task_id)

    async def show(self, task_id: str = "T1", app: str = "APP") -> Json:
        """A task."""
        answer = await self.api.get(f"/tasks/{app}/instances/{task_id}")
        body: Json = answer.json()
        assert body["status"] == "SUCCESS", body
        data: Json = body["data"]
        return data

    async def active(self) -> list[Json]:
        """All active tasks."""
        data: list[Json] = await self.get("/tasks")
        return data

    async def get(self, path: str, **parameters: Any) -> Any:
        """The data of a successful answer."""
        answer = await self.api.get(path, params=parameters)
        body = answer.json()
        assert (answer.status_code, body["status"], body["message"]) == (200, "SUCCESS", "success")
        return body["data"]

    async def until(self, look: Callable[[], Awaitable[T | None]], within_s: float = WITHIN_S) -> T:
        """What ``look`` answers once it answers with something."""
        found = await eventually_async(look, within_s=within_s)
        assert found is not None
        return found

    async def in_state(self, state: str, task_id: str = "T1") -> Json:
        """A task once it is in a state, and no longer listed as active if that has ended.

        One task is read from the store; the list follows what is announced, a moment later.
        """

        async def look() -> Json | None:
            task = await self.show(task_id)
            if task["state"] != state:
                return None
            listed = {one["instanceId"] for one in await self.active()}
            if state == "STOPPED" and task["instanceId"] in listed:
                return None
            return task

        return await self.until(look)

    async def running(self, task_id: str = "T1") -> Assignment:
        """The assignment of a task that hangs, once it is seen running."""
        await self.in_state("RUNNING", task_id)

        async def look() -> Assignment | None:
            return next((a for a in self.workers.hanging.values() if _named(a, task_id)), None)

        return await self.until(look)

    async def stuck(self, task_id: str = "T1") -> Assignment:
        """The assignment of a task that is stuck, once it is."""

        async def look() -> Assignment | None:
            return next((a for a in self.workers.stuck.values() if _named(a, task_id)), None)

        return await self.until(look)

    async def events(self, kind: str = "TASK_STATE_CHANGE") -> list[Json]:
        """Metadata of all events of a type, oldest first."""
        found = await self.get("/cluster/events/latest", size=100_000)
        return [one["metadata"] for one in reversed(found["events"]) if one["type"] == kind]


def _named(assignment: Assignment, task_id: str) -> bool:
    env: Any = getattr(assignment.work, "env", {})
    return bool(env.get("DROVE_TASK_ID") == task_id)


@asynccontextmanager
async def opened(
    directory: Path, *, workers: bool = True, **settings_: Any
) -> AsyncIterator[DroveWorld]:
    """A served engine on a data directory.

    ``settings_`` are those of the dialect, ``dev``, and ``server`` with further ones of the server.
    """
    dev, server = settings_.pop("dev", True), settings_.pop("server", {})
    given = {"placement_wait_s": 1.0, "allowed_mount_dirs": ["/"], **settings_}
    settings = Settings.load(None, {"data": directory, "dev": dev, "drove": given, **server}, {})
    metrics, streams, clock = Metrics(), Streams(), SystemClock()
    store = SqliteStore(directory, metrics.on_commit)
    fleet = WordWorkers(MemoryLogs(), clock)
    sender = Outbound(allow_private=True)
    prepare(directory)
    await store.open()
    wired = wire(
        settings,
        Adapters(store, own_files(settings.data, fleet.logs), fleet, sender, clock, SystemIds()),
        metrics,
    )
    fetch = GuardedFetcher(allow_private=True)
    host = DialectContext(wired.engine, streams, settings.max_body_bytes, dev=dev, fetch=fetch)

    def native(prefix: str) -> Native:
        return Native(
            DialectContext(wired.engine, streams, settings.max_body_bytes, dev=True), prefix
        )

    served = Served(native, metrics, lambda: {"store": True}, others=others(settings, host))
    listeners = [
        Listener(bind_tcp("127.0.0.1", 0), main_app(served), 1),
        Listener(bind_tcp("127.0.0.1", 0), dialect_app(served, "drove"), 1),
    ]
    stopped = [anyio.Event() for _ in listeners]
    try:
        async with anyio.create_task_group() as tasks:
            await wired.counters.load(store.dispatch)
            await wired.engine.dispatch.load()
            await wired.rescue.load()
            for loop in (wired.engine.dispatch.run, wired.due.run, wired.rescue.run):
                tasks.start_soon(loop)

            async def serve(listener: Listener, end: anyio.Event) -> None:
                await listener.serve()
                end.set()

            for listener, end in zip(listeners, stopped, strict=True):
                tasks.start_soon(serve, listener, end)
            fleet.begin(wired.gateway, tasks)
            if workers:
                await fleet.join("w1")
            await started(listeners)
            urls = [f"http://127.0.0.1:{one.socket.getsockname()[1]}" for one in listeners]
            world = DroveWorld(wired, fleet, urls[1], urls[0])
            try:
                async with world.api, world.guest:
                    yield world
            finally:
                with anyio.CancelScope(shield=True):
                    await streams.close()
                    for listener, end in zip(listeners, stopped, strict=True):
                        listener.stop()
                        await end.wait()
                    wired.engine.bus.close()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await fleet.close()
            await sender.close()
            await store.close()
