"""What lasts ends with its credential; what concerns everybody needs one of the installation."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from native_world import WORKER, NativeWorld
from websockets.asyncio.client import connect

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.services.access.accounts import LOCAL

pytestmark = pytest.mark.anyio
ENDS_WITHIN_S = 1.0
EVENTS = {"accept": "text/event-stream"}
HERE = Caller(LOCAL, INSTALLATION, Role.ADMIN, installation=Role.ADMIN)


class Reader:
    """Somebody with a token that is about to end."""

    def __init__(self, world: NativeWorld, token: dict[str, Any]) -> None:
        self.world = world
        self.token = token
        self.api = world.client(f"Bearer {token['token']}")

    async def revoke(self) -> None:
        """End the token."""
        answer = await self.world.api.delete(f"/tokens/{self.token['id']}")
        assert answer.status_code == 204

    def socket(self, path: str) -> connect:
        """A WebSocket of the API."""
        url = f"{self.world.url.replace('http', 'ws')}/api/v1{path}"
        return connect(f"{url}?access_token={self.token['token']}", proxy=None)


@asynccontextmanager
async def reader(world: NativeWorld, **more: Any) -> AsyncIterator[Reader]:
    """A new one."""
    made = await world.api.post("/tokens", json={"name": "r", "role": "read", **more})
    assert made.status_code == 201, made.text
    one = Reader(world, made.json())
    async with one.api:
        yield one


async def installation(world: NativeWorld, role: Role) -> httpx2.AsyncClient:
    """A client with a new token of the installation."""
    _, text = await world.wired.engine.access.create_token(HERE, role.word, role, INSTALLATION)
    return world.client(f"Bearer {text}")


async def soon(awaited: Awaitable[object]) -> None:
    """It is over within a second."""
    with anyio.fail_after(ENDS_WITHIN_S):
        await awaited


@pytest.mark.parametrize("path", ["/events/stream", "/tasks/{id}/logs/follow"])
async def test_server_sent_events_end(world: NativeWorld, path: str) -> None:
    """Of every kind, when the token is revoked."""
    task = await world.submit(command=["hang"])
    await world.running(task["id"])
    async with (
        reader(world) as one,
        one.api.stream("GET", path.format(id=task["id"]), headers=EVENTS) as stream,
    ):
        assert stream.status_code == 200, await stream.aread()
        assert stream.headers["content-type"].startswith("text/event-stream")
        await one.revoke()
        await soon(stream.aread())
        assert (await one.api.get("/me")).status_code == 401


@pytest.mark.parametrize("path", ["/events/ws", "/tasks/{id}/logs/ws"])
async def test_websockets_end(world: NativeWorld, path: str) -> None:
    """With 1008, when the token is revoked."""
    task = await world.submit(command=["hang"])
    await world.running(task["id"])
    async with reader(world) as one, one.socket(path.format(id=task["id"])) as stream:
        await one.revoke()
        await soon(stream.wait_closed())
        assert stream.close_code == 1008


async def test_waiting_ends(world: NativeWorld) -> None:
    """401 for a request that waits for a task, not after its own time."""
    task = await world.submit(command=["hang"])
    await world.running(task["id"])
    async with reader(world) as one, anyio.create_task_group() as tasks:
        answers: list[int] = []
        answered = anyio.Event()

        async def wait() -> None:
            path = f"/tasks/{task['id']}/wait"
            answers.append((await one.api.get(path, params={"timeout_s": 15})).status_code)
            answered.set()

        tasks.start_soon(wait)
        assert (await one.api.get("/me")).status_code == 200
        await one.revoke()
        await soon(answered.wait())
        assert answers == [401]


async def test_expiry_ends_a_stream(world: NativeWorld) -> None:
    """As revoking does, without anybody doing anything."""
    async with (
        reader(world, expires_in_s=1) as one,
        one.api.stream("GET", "/events/stream", headers=EVENTS) as stream,
    ):
        assert stream.status_code == 200
        with anyio.fail_after(1 + ENDS_WITHIN_S):
            await stream.aread()


async def test_a_removed_user_ends(world: NativeWorld) -> None:
    """Users as well as tokens; others read on."""
    user = {"name": "ada", "password": "long enough", "role": "read"}
    assert (await world.api.post("/users", json=user)).status_code == 201
    async with (
        world.client("Basic YWRhOmxvbmcgZW5vdWdo") as ada,
        ada.stream("GET", "/events/stream", headers=EVENTS) as stream,
        world.guest.stream("GET", "/events/stream", headers=EVENTS) as other,
    ):
        assert (stream.status_code, other.status_code) == (200, 200)
        assert (await world.api.delete("/users/ada")).status_code == 204
        await soon(stream.aread())
        task = await world.submit()
        lines = other.aiter_lines()
        with anyio.fail_after(10):
            while task["id"] not in await anext(lines):
                pass


async def test_workers_are_drained_by_the_installation_only(world: NativeWorld) -> None:
    """No role of a workspace is enough, and the refusal says what is; each is recorded."""
    async with reader(world, role="admin") as admin:
        for method in ("POST", "DELETE"):
            answer = await admin.api.request(method, f"/workers/{WORKER}/drain")
            assert answer.status_code == 403
            assert "taskyard token create NAME --installation" in answer.json()["detail"]
        refused = [
            (one["action"], one["outcome"])
            for one in (await world.api.get("/audit")).json()["items"]
            if one["outcome"] == "refused"
        ]
        assert refused == [("worker.undrain", "refused"), ("worker.drain", "refused")]
    async with await installation(world, Role.READ) as watcher:
        assert (await watcher.post(f"/workers/{WORKER}/drain")).status_code == 403
    async with await installation(world, Role.OPERATE) as operator:
        assert (await operator.post(f"/workers/{WORKER}/drain")).status_code == 200
        assert (await operator.delete(f"/workers/{WORKER}/drain")).status_code == 200
        await world.submit()
        assert (await operator.get("/tasks")).json()["items"] == []
        assert (await operator.get("/secrets")).status_code == 403
        assert (await operator.post("/tasks", json={"command": "id"})).status_code == 403


async def test_metrics_name_only_ones_own_workspace(world: NativeWorld) -> None:
    """All with a credential of the installation; a reader sees none."""
    for workspace in ("alpha", "beta"):
        made = await world.wired.engine.access.create_token(HERE, "t", Role.OPERATE, workspace)  # type: ignore[arg-type]  # a name
        async with world.client(f"Bearer {made[1]}") as client:
            await client.post("/tasks", json={"command": "hang", "start_in_s": 99})
            page = (await client.get(f"{world.url}/metrics")).text
            assert f'workspace="{workspace}"' in page
            assert page.count('workspace="') == 1
    assert (await world.guest.get(f"{world.url}/metrics")).status_code == 403
    async with await installation(world, Role.READ) as watcher:
        page = (await watcher.get(f"{world.url}/metrics")).text
        assert 'workspace="alpha"' in page
        assert 'workspace="beta"' in page
