"""The GreenCloud dialect served for tests: a whole engine with its real worker, on free ports."""

import io
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from eventually import eventually_async
from fakes.stores import prepare, threads_for_processes
from taskyard.core.instants import Instant, after
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.server.app import Served, dialect_app, main_app
from taskyard.server.assemble import Node, assemble
from taskyard.server.clock import SystemClock
from taskyard.server.listeners import Listener, bind_tcp, started
from taskyard.server.mounting import others
from taskyard.server.settings import Settings
from taskyard.store.sqlite.database import FILE_NAME, connect

DEADLINE_S = 30.0
ACCOUNTS = {
    "acme": {"key": "acme-key", "tokens": ["acme-token", "acme-other"]},
    "rival": {"key": "rival-key", "tokens": ["rival-token"]},
    "poor": {"tokens": ["poor-token"], "quota": 2},
}
ECHO = (
    "def handle(event, context):\n"
    "    headers = {k: v for k, v in event.headers.items()}\n"
    "    return {'statusCode': 200, 'body': {'body': event.body.decode('latin-1'),\n"
    "        'query': event.query_string, 'first': event.query, 'all': event.query_all,\n"
    "        'method': event.method, 'path': event.path, 'host': event.host, 'headers': headers,\n"
    "        'task': context.task_id, 'function': context.function_id, 'node': context.node,\n"
    "        'timeout': context.timeout, 'hostname': bool(context.hostname)}}\n"
)
Json = dict[str, Any]


class ShiftedClock(SystemClock):
    """The machine's clock, moved on at will."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def now(self) -> Instant:
        """The instant that it pretends to be."""
        return after(super().now(), self.shift_s)

    def move_to(self, hour: int, minute: int = 0) -> None:
        """Go on to the next time it is this late, UTC."""
        day = 86_400
        now_s = self.now() / 1_000_000 % day
        self.shift_s += (hour * 3600 + minute * 60 - now_s) % day


def zipped(files: dict[str, str | bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Account:
    """One account as a client sees it."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {} if token is None else {"authorization": token}
        self.http = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=60, trust_env=False, verify=False
        )

    async def made(self, path: str, body: Any = None, **more: Any) -> str:
        """The id of what a POST creates."""
        answer = await self.http.post(path, json=body, **more)
        assert answer.status_code == 201, answer.text
        document: Json = answer.json()
        assert set(document) == {"id"}
        return str(document["id"])

    async def got(self, path: str, **more: Any) -> Any:
        """What a GET answers with."""
        answer = await self.http.get(path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def function(self, name: str = "MyFunction", lang: str = "PY", **more: Any) -> str:
        """A function without code."""
        return await self.made(
            "/v1/function", {"name": name, "lang": lang, "type": "DOCKER", **more}
        )

    async def build(self, function_id: str, archive: bytes) -> Json:
        """A build, once it has ended."""
        answer = await self.http.post(f"/v1/build/{function_id}?arch=amd64", content=archive)
        assert answer.status_code == 201, answer.text
        path = f"/v1/build/{answer.json()['id']}"

        async def look() -> Json:
            found: Json = await self.got(path)
            return found

        return await eventually_async(
            look, lambda found: found["status"] in {"SUCCESS", "FAILED"}, within_s=DEADLINE_S
        )

    async def deployed(self, source: str = ECHO, lang: str = "PY", **more: Any) -> str:
        """A function with this code."""
        function_id = await self.function(lang=lang, **more)
        file = "handler.py" if lang == "PY" else "handler.js"
        built = await self.build(function_id, zipped({file: source}))
        assert built["status"] == "SUCCESS", built
        return function_id

    async def task(self, function_id: str, **more: Any) -> str:
        """A new task."""
        answer = await self.http.post(f"/v1/task/{function_id}", **more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def finished(self, task_id: str) -> Json:
        """The task once it has finished; its progress never goes down meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        before = 0
        while True:
            found: Json = await self.got(f"/v1/task/{task_id}")
            assert found["progress"] >= before
            before = found["progress"]
            if before == 100:
                return found
            assert time.monotonic() < deadline, found
            await anyio.sleep(0.01)

    async def result(self, task_id: str) -> httpx2.Response:
        """The result of a task, once it has one."""
        await self.finished(task_id)
        return await self.http.get(f"/v1/task/{task_id}/result")

    async def called(self, function_id: str, **more: Any) -> httpx2.Response:
        """The result of a new task."""
        return await self.result(await self.task(function_id, **more))


class GreenCloudWorld:
    """What a test works with."""

    def __init__(
        self, data: Path, yard: Node, main_url: str, url: str, clock: ShiftedClock
    ) -> None:
        self.data = data
        self.yard = yard
        self.main_url = main_url
        self.url = url
        self.clock = clock
        self.acme = Account(url, "Bearer acme-token")
        self.rival = Account(url, "rival-token")
        self.poor = Account(url, "Bearer poor-token")
        self.nobody = Account(url, None)
        self.below = Account(main_url + "/greencloud", "Bearer acme-token")
        self.dev = Account(main_url + "/greencloud", "Bearer dev")
        self.native = Account(main_url + "/api/v1", "Bearer dev")

    async def fired(self) -> None:
        """Wake the schedules, as time does, and return once none of them is due any more."""
        self.yard.wired.triggers.schedules_changed()
        sql = "SELECT min(due_at) FROM catalogue WHERE due_at IS NOT NULL"
        with closing(connect(self.data / FILE_NAME, read_only=True)) as connection:
            await eventually_async(lambda: connection.execute(sql).fetchone()[0] > self.clock.now())

    @property
    def accounts(self) -> list[Account]:
        """All of them."""
        return [
            *(self.acme, self.rival, self.poor, self.nobody),
            *(self.below, self.dev, self.native),
        ]


@asynccontextmanager
async def opened(
    directory: Path, engine: Json | None = None, **greencloud: Any
) -> AsyncIterator[GreenCloudWorld]:
    """A served engine on a data directory, with these settings of its own and of the dialect."""
    values = {
        "data": directory,
        "dev": True,
        "greencloud": {"accounts": ACCOUNTS, **greencloud},
        "worker_slots": 8,
        "worker_cpu": 2,
        **(engine or {}),
    }
    settings = Settings.load(None, values, {})
    if not directory.exists():  # noqa: ASYNC240 - before anything is served
        prepare(directory)
    clock = ShiftedClock()
    with pytest.MonkeyPatch.context() as patch, threads_for_processes():
        patch.setattr("taskyard.server.assemble.SystemClock", lambda: clock)
        async with assemble(settings) as yard:
            streams = Streams(settings.max_streams)

            def native(prefix: str) -> Native:
                return Native(
                    DialectContext(yard.engine, streams, settings.max_body_bytes, dev=True), prefix
                )

            host = DialectContext(yard.engine, streams, settings.max_body_bytes, dev=True)
            served = Served(native, yard.metrics, yard.checks, (), others=others(settings, host))
            main = Listener(bind_tcp("127.0.0.1", 0), main_app(served), 1)
            own = Listener(bind_tcp("127.0.0.1", 0), dialect_app(served, "greencloud"), 1)
            async with anyio.create_task_group() as tasks:
                for one in (main, own):
                    tasks.start_soon(one.serve)
                await started([main, own])
                urls = [f"http://127.0.0.1:{one.socket.getsockname()[1]}" for one in (main, own)]
                world = GreenCloudWorld(directory, yard, urls[0], urls[1], clock)
                try:
                    yield world
                finally:
                    with anyio.CancelScope(shield=True):
                        for account in world.accounts:
                            await account.http.aclose()
                        await streams.close()
                        yard.engine.bus.close()
                        for one in (main, own):
                            one.stop()
