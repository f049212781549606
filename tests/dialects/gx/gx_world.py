"""The GX dialect served for tests: a whole engine with its real worker, on free ports."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from eventually import eventually_async
from fakes.stores import prepare, threads_for_processes
from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.server.app import Served, dialect_app, main_app
from taskyard.server.assemble import Node, assemble
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.mounting import others
from taskyard.server.settings import Settings

DEADLINE_S = 20.0
QUICK = {
    "gx.tiny": {"cpu": 0.25, "memory_mib": 64, "limit_s": 60, "simulated_s": 0.02},
    "gx.micro": {"cpu": 0.25, "memory_mib": 64, "limit_s": 60, "simulated_s": 0.4},
    "gx.small": {"cpu": 0.25, "memory_mib": 64, "limit_s": 1, "simulated_s": 0.5},
}
"""Sizes whose simulations end soon; the others last for minutes, which is forever here."""
ADMIN = Caller("user admin", WorkspaceName("default"), Role.ADMIN)

Json = dict[str, Any]


class Space:
    """One workspace as a client sees it."""

    def __init__(self, world: "GxWorld", key: str, name: str | None) -> None:
        self.world = world
        self.http = world.http
        self.query = {"api_key": key} | ({} if name is None else {"workspace_id": name})

    async def post(self, body: Any) -> httpx2.Response:
        """A create with this body: bytes, or something to encode."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post("/tasks", params=self.query, content=content)

    async def create(self, kind: str = "gx.tiny", name: str = "abc", **more: Any) -> int:
        """A new task's id."""
        answer = await self.post({"name": name, "type": kind, **more})
        assert answer.is_success, answer.text
        task: Json = answer.json()["task"]
        assert task == {"id": task["id"], "name": name, "type": kind, "status": "queued"}
        return int(task["id"])

    async def tasks(self) -> list[Json]:
        """The list."""
        answer = await self.http.get("/tasks", params=self.query)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        assert set(found) == {"tasks"}
        return list(found["tasks"])

    async def statuses(self) -> dict[int, str]:
        """What the list says, by id."""
        return {task["id"]: task["status"] for task in await self.tasks()}

    async def until(self, wanted: Callable[[dict[int, str]], bool]) -> dict[int, str]:
        """The statuses once they are as wanted."""
        seen: dict[int, str] = {}

        async def look() -> bool:
            nonlocal seen
            seen = await self.statuses()
            return wanted(seen)

        await eventually_async(look, of=lambda: seen, within_s=DEADLINE_S)
        return seen

    async def delete(self, number: object) -> httpx2.Response:
        """Take a task back."""
        return await self.http.delete(f"/tasks/{number}", params=self.query)

    async def flush(self, **more: str) -> None:
        """Take what was dispatched off the list."""
        answer = await self.http.post("/tasks/flush", params={**self.query, **more})
        assert (answer.status_code, answer.content) == (204, b"")

    async def detail(self, number: int) -> Json:
        """All that is known of a task."""
        answer = await self.http.get(f"/tasks/{number}", params=self.query)
        assert answer.is_success, answer.text
        task: Json = answer.json()["task"]
        return task

    async def logs(self, number: int) -> bytes:
        """What a task has written."""
        answer = await self.http.get(f"/tasks/{number}/logs", params=self.query)
        assert answer.is_success, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.content

    @property
    def stream_url(self) -> str:
        """Where the stream is."""
        return self.world.stream_url(self.query)

    def follow(self, **options: Any) -> connect:
        """A stream, to be entered."""
        return connect(self.stream_url, proxy=None, ping_interval=None, **options)

    async def native(self) -> list[Json]:
        """The tasks of this workspace's group, as the native API shows them."""
        name = self.query.get("workspace_id", "default")
        items = (await self.world.native.get("/tasks", params={"limit": 500})).json()["items"]
        return [one for one in items if one["group"].endswith(f"/{name}")]

    async def native_id(self, name: str) -> str:
        """The engine's id of the only task with this name."""
        (found,) = [one["id"] for one in await self.native() if one["name"] == name]
        return str(found)

    async def kill(self, name: str) -> None:
        """Kill the only task with this name through the native API."""
        answer = await self.world.native.post(f"/tasks/{await self.native_id(name)}/cancel")
        assert answer.is_success, answer.text


class GxWorld:
    """What a test works with."""

    def __init__(self, yard: Node, streams: Streams, main_url: str, url: str) -> None:
        self.yard = yard
        self.streams = streams
        self.main_url = main_url
        self.url = url
        limits = httpx2.Limits(max_connections=300)
        self.http = httpx2.AsyncClient(
            base_url=url, timeout=20, trust_env=False, verify=False, limits=limits
        )
        self.native = httpx2.AsyncClient(
            base_url=main_url + "/api/v1",
            headers={"authorization": "Bearer dev"},
            timeout=20,
            trust_env=False,
            verify=False,
        )

    def space(self, name: str | None = None, key: str = "dev") -> Space:
        """A workspace under a key."""
        return Space(self, key, name)

    def stream_url(self, query: dict[str, str]) -> str:
        """Where a stream with these parameters is."""
        base = self.url.replace("http", "ws", 1)
        return str(httpx2.URL(f"{base}/ws/tasks", params=query))

    async def key(self, name: str = "other", role: str = "write") -> tuple[str, str]:
        """A new key: its id, and its text."""
        answer = await self.native.post("/tokens", json={"name": name, "role": role})
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        token = made["token"]
        return (made["id"], token) if isinstance(token, str) else (token["id"], made["text"])


async def next_list(stream: ClientConnection) -> list[Json]:
    """The stream's next message: one text frame with an array."""
    with anyio.fail_after(DEADLINE_S):
        frame = await stream.recv()
    assert isinstance(frame, str)
    found = json.loads(frame)
    assert isinstance(found, list)
    return found


async def closed(stream: ClientConnection) -> tuple[int | None, str | None]:
    """The code and reason that a stream is closed with, whatever is said before."""
    with anyio.fail_after(DEADLINE_S), contextlib.suppress(ConnectionClosedError):
        async for _ in stream:
            pass
    await stream.wait_closed()
    return stream.close_code, stream.close_reason


async def all_of(*calls: Awaitable[Any]) -> list[Any]:
    """Everything at once; the answers in order."""
    return list(await asyncio.gather(*calls))


@asynccontextmanager
async def opened(directory: Path, **gx: Any) -> AsyncIterator[GxWorld]:
    """A served engine on a data directory, with these settings of the dialect."""
    table = {"sizes": QUICK, **gx}
    values = {"data": directory, "dev": True, "gx": table, "worker_slots": 8, "worker_cpu": 8}
    settings = Settings.load(None, values, {})
    if not directory.exists():  # noqa: ASYNC240 - before anything is served
        prepare(directory)
    async with AsyncExitStack() as stack:
        with threads_for_processes():
            yard = await stack.enter_async_context(assemble(settings))
        streams = Streams(settings.max_streams)

        def native(prefix: str) -> Native:
            return Native(
                DialectContext(yard.engine, streams, settings.max_body_bytes, dev=True), prefix
            )

        host = DialectContext(yard.engine, streams, settings.max_body_bytes, dev=True)
        served = Served(native, yard.metrics, yard.checks, (), others=others(settings, host))
        main = Listener(bind_tcp("127.0.0.1", 0), main_app(served), 1)
        own = Listener(bind_tcp("127.0.0.1", 0), dialect_app(served, "gx"), 1)
        async with anyio.create_task_group() as tasks:
            for one in (main, own):
                tasks.start_soon(one.serve)
            await started([main, own])
            urls = [f"http://127.0.0.1:{one.socket.getsockname()[1]}" for one in (main, own)]
            world = GxWorld(yard, streams, urls[0], urls[1])
            try:
                async with world.http, world.native:
                    yield world
            finally:
                with anyio.CancelScope(shield=True):
                    await streams.close()
                    yard.engine.bus.close()
                    for one in (main, own):
                        one.stop()
