"""A whole server in this process: listeners, files, health, metrics."""

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from taskyard.core.errors import StoreInUse
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.dialect import Native
from taskyard.server import run
from taskyard.server.app import Served, dialect_app, is_near, main_app
from taskyard.server.assemble import assemble
from taskyard.server.settings import Settings

pytestmark = pytest.mark.anyio


class Server:
    """A running server, as its own file describes it."""

    def __init__(self, data: Path, stop: anyio.Event) -> None:
        self.data = data
        self.stop = stop
        self.file: dict[str, Any] = json.loads((data / "server.json").read_text())
        self.http = httpx2.AsyncClient(
            base_url=self.file["url"],
            headers={"authorization": "Bearer dev"},
            trust_env=False,
            verify=False,
            timeout=20,
        )


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server with well-known credentials and one more listener."""
    monkeypatch.setattr(run, "dashboard_pages", lambda: ())
    settings = Settings.load(
        None,
        {"data": tmp_path / "d", "port": 0, "dev": True, "listen": ["native=127.0.0.1:0"]},
        {},
    )
    stop = anyio.Event()
    monkeypatch.setattr(run, "_until_signal", lambda _signals: stop.wait())
    ready, done = anyio.Event(), anyio.Event()

    async def running() -> None:
        await run.run(settings, ready)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running)
        with anyio.fail_after(30):
            await ready.wait()
        server = Server(settings.data, stop)
        async with server.http:
            yield server
        stop.set()
        with anyio.fail_after(20):
            await done.wait()
    assert not (settings.data / "server.json").exists()
    assert not (settings.data / "control.sock").exists()


async def test_server_says_where_it_is_and_takes_that_back(server: Server) -> None:
    """``server.json`` names process, address and control socket; the fixture sees it go."""
    assert server.file["dev"] is True
    assert server.file["control"] == "control.sock"
    assert (await server.http.get("/health/live")).json() == {"live": True}
    health = await server.http.get("/health")
    assert (health.status_code, health.json()["ready"]) == (200, True)


async def test_a_full_disk_is_no_place_for_work(server: Server) -> None:
    """Readiness says so, and is there again once the reserve is."""
    reserve = server.data / "reserve"
    assert reserve.stat().st_size == 16 << 20
    reserve.unlink()
    health = await server.http.get("/health/ready")
    assert (health.status_code, health.json()["checks"]["disk"]) == (503, False)
    with anyio.fail_after(20):
        while (await server.http.get("/health/ready")).status_code != 200:
            await server.http.post("/api/v1/tasks", json={"command": "true"})


async def test_command_runs_to_its_end(server: Server) -> None:
    """Through the API, the store, the worker and back."""
    task = await server.http.post("/api/v1/tasks", json={"command": "echo hello; exit 3"})
    path = f"/api/v1/tasks/{task.json()['id']}"
    ended = (await server.http.get(f"{path}/wait", params={"timeout_s": 20})).json()
    assert (ended["state"], ended["exit_code"]) == ("failed", 3)
    assert (await server.http.get(f"{path}/logs/stdout")).text == "hello\n"
    metrics = (await server.http.get("/metrics")).text
    assert 'taskyard_tasks{state="failed"} 1.0' in metrics
    assert 'taskyard_tasks_ended_total{state="failed"} 1.0' in metrics
    assert "taskyard_attempt_run_seconds_count 1.0" in metrics
    assert "taskyard_task_wait_seconds_count 1.0" in metrics
    assert 'route="/api/v1/tasks",status="201"' in metrics
    assert 'taskyard_worker_capacity{resource="slots",worker="local"}' in metrics


async def test_control_socket_needs_no_credential(server: Server) -> None:
    """Its caller is an admin of whichever workspace it names; a credential goes before that."""
    control = server.data / "control.sock"
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    transport = httpx2.AsyncHTTPTransport(uds=str(control))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x/api/v1") as local:
        assert (await local.get("/me")).json()["workspace"] == "default"
        other = await local.get("/me", headers={"Taskyard-Workspace": "other"})
        who = {"actor": "local", "workspace": "other", "role": "admin"}
        assert other.json() | who == other.json()
        odd = await local.get("/me", headers={"Taskyard-Workspace": "No Such"})
        assert odd.status_code == 400
        token = await local.get("/me", headers={"Authorization": "Bearer nope"})
        assert token.status_code == 401
    tcp = await server.http.get("/api/v1/me", headers={"Taskyard-Workspace": "other"})
    assert tcp.json()["workspace"] == "default"


async def test_metrics_behind_a_proxy_need_a_credential(server: Server) -> None:
    """Loopback alone is open, and not what somebody forwards from elsewhere."""
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    async with httpx2.AsyncClient(base_url=server.file["url"], trust_env=False) as nobody:
        assert (await nobody.get("/metrics")).status_code == 200
        assert (await nobody.get("/metrics", headers=forwarded)).status_code == 401
        assert (await nobody.get("/metrics", headers={"Via": "1.1 proxy"})).status_code == 401
        guest = await nobody.get("/metrics", headers=forwarded, auth=("guest", "guest"))
        assert guest.status_code == 403
    assert (await server.http.get("/metrics", headers=forwarded)).status_code == 200


async def test_second_server_on_the_same_directory_is_refused(server: Server) -> None:
    """And the first one goes on."""
    settings = Settings.load(None, {"data": server.data, "dev": True}, {})
    with pytest.raises(StoreInUse):
        async with assemble(settings):
            pass
    assert (await server.http.get("/health/ready")).status_code == 200


async def test_long_waits_end_with_the_server(server: Server) -> None:
    """A long poll is answered when the server stops, and does not hold it up."""
    task = await server.http.post("/api/v1/tasks", json={"command": "x", "start_in_s": 99})
    path = f"/api/v1/tasks/{task.json()['id']}/wait"
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            metrics = ""
            while 'route="/api/v1/tasks/{task_id}"' not in metrics:
                await server.http.get(f"/api/v1/tasks/{task.json()['id']}")
                metrics = (await server.http.get("/metrics")).text
            server.stop.set()

        tasks.start_soon(stop)
        with anyio.fail_after(8):
            answer = await server.http.get(path)
    assert answer.status_code in {200, 503}


async def test_dialect_of_its_own_listener_stands_at_the_root(tmp_path: Path) -> None:
    """``/tasks`` instead of ``/api/v1/tasks``, and a description that says so."""
    settings = Settings.load(None, {"data": tmp_path, "dev": True}, {})
    async with assemble(settings) as yard:
        served = Served(
            lambda prefix: Native(DialectContext(yard.engine, Streams(), dev=True), prefix),
            yard.metrics,
            yard.checks,
        )
        own = httpx2.ASGITransport(_with_state(dialect_app(served, "native")))
        async with httpx2.AsyncClient(transport=own, base_url="http://x") as client:
            client.headers["authorization"] = "Bearer dev"
            task = await client.post("/tasks", json={"command": "true"})
            assert task.headers["location"] == f"/tasks/{task.json()['id']}"
            assert "/tasks" in (await client.get("/openapi.json")).json()["paths"]
            assert (await client.get("/api/v1/me")).status_code == 404
        whole = httpx2.ASGITransport(_with_state(main_app(served)))
        async with httpx2.AsyncClient(transport=whole, base_url="http://x") as client:
            options = await client.options("/api/v1/tasks")
            assert (options.status_code, options.headers["allow"]) == (
                204,
                "GET, HEAD, POST, OPTIONS",
            )
            assert (await client.options("/nothing")).status_code == 404


def _with_state(served: Any) -> Any:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {}
        await served(scope, receive, send)

    return serve


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1:2", False),
        ("::1234", False),
        ("128.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("127.example", False),
    ],
)
def test_who_is_near(address: str, *, expected: bool) -> None:
    """Loopback itself, not what begins with the same characters."""
    scope: Any = {"state": {}, "headers": [], "client": (address, 1)}
    assert is_near(scope) is expected
