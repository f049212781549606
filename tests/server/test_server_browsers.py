"""A whole server with well-known credentials, asked as browsers ask for pages of others."""

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from taskyard.core.errors import InvalidInput
from taskyard.server import run
from taskyard.server.browsers import browser_guard_of, browser_rules_of
from taskyard.server.settings import Settings

pytestmark = pytest.mark.anyio

EVIL = {"Origin": "https://evil.test", "Content-Type": "text/plain"}
DIALECTS = ("native", "gx", "fastlane", "greencloud", "drove")
PREFIXES = {"native": "/api/v1", "drove": "/drove/apis/v1"} | {
    one: f"/{one}" for one in ("gx", "fastlane", "greencloud")
}
ROOTS = {one: "/apis/v1" if one == "drove" else "" for one in DIALECTS}
SENT = {
    "native": ("/tasks", {"command": "id"}),
    "gx": ("/tasks?api_key=dev", {"name": "x", "type": "gx.tiny", "command": "id"}),
    "fastlane": ("/tasks/x", {"image": "busybox", "command": "id"}),
    "greencloud": ("/v1/function", {"title": "x"}),
    "drove": ("/tasks/operations", {"type": "CREATE"}),
}
"""What would make something run, by dialect."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    ports: dict[str, int]
    http: httpx2.AsyncClient

    def addresses(self, dialect: str, path: str) -> list[str]:
        """Both addresses of a path: on the main listener, and on the dialect's own."""
        return [
            f"http://localhost:{self.port}{PREFIXES[dialect]}{path}",
            f"http://127.0.0.1:{self.ports[dialect]}{ROOTS[dialect]}{path}",
        ]

    async def tasks(self) -> int:
        """How many tasks there are."""
        path = self.addresses("native", "/tasks/counts")[0]
        answer = await self.http.get(path, headers={"Authorization": "Bearer dev"})
        return sum(answer.json()["counts"].values())


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server as ``--dev`` starts it, with each dialect on a listener of its own, too."""
    ports = {one: free_port() for one in DIALECTS}
    settings = Settings.load(
        None,
        {
            "data": tmp_path / "d",
            "port": free_port(),
            "dev": True,
            "container_engine": "off",
            "listen": [f"{name}=127.0.0.1:{port}" for name, port in ports.items()],
        },
        {},
    )
    stop, ready = anyio.Event(), anyio.Event()
    monkeypatch.setattr(run, "_until_signal", lambda _signals: stop.wait())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.run, settings, ready)
        with anyio.fail_after(30):
            await ready.wait()
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            yield Server(settings.port, ports, http)
        stop.set()


async def raw(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and everything behind it that a hand-written request is answered with."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        answer = b""
        with anyio.fail_after(20):
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive()
    return int(answer.split(b" ")[1]), answer


async def test_pages_of_others_run_nothing(server: Server) -> None:
    """On every listener, in every dialect, with every credential that everybody knows."""
    for dialect, (path, body) in SENT.items():
        for url in server.addresses(dialect, path):
            for credential in (httpx2.USE_CLIENT_DEFAULT, httpx2.BasicAuth("admin", "admin")):
                for origin in ("https://evil.test", "null", "http://localhost:3000"):
                    for kind in ("text/plain", "application/json"):
                        answer = await server.http.post(
                            url,
                            content=json.dumps(body),
                            headers={"Origin": origin, "Content-Type": kind},
                            auth=credential,
                        )
                        assert answer.status_code == 403, (dialect, answer.text)
                        assert "allowed_origins" in answer.text
    assert await server.tasks() == 0


async def test_pages_of_others_open_no_socket_and_read_nothing(server: Server) -> None:
    """WebSockets with the well-known token, and GETs whose answers such a page could read."""
    paths = {
        "native": "/events/ws?access_token=dev",
        "gx": "/ws/tasks?api_key=dev",
        "fastlane": "/tasks/x/jobs/00000000-0000-4000-8000-000000000000/ws",
    }
    for dialect, path in paths.items():
        for url in server.addresses(dialect, path):
            target = httpx2.URL(url)
            lines = [
                f"GET {target.raw_path.decode()} HTTP/1.1",
                f"Host: {target.host}:{target.port}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ]
            own = "\r\n".join([*lines, f"Origin: http://{target.host}:{target.port}", "", ""])
            evil = "\r\n".join([*lines, "Origin: https://evil.test", "", ""])
            assert target.port is not None
            status, _ = await raw(target.port, own.encode())
            assert status == (404 if dialect == "fastlane" else 101)
            assert (await raw(target.port, evil.encode()))[0] == 403
    for url in server.addresses("gx", "/tasks?api_key=dev"):
        assert (await server.http.get(url, headers=EVIL)).status_code == 403
        assert (await server.http.get(url)).status_code == 200


async def test_other_names_lead_nowhere(server: Server) -> None:
    """A page whose name was made to resolve to this machine (DNS rebinding)."""
    for dialect, (path, body) in SENT.items():
        for url in server.addresses(dialect, path):
            headers = {"Host": "evil.test", "Origin": "http://evil.test"}
            answer = await server.http.post(url, json=body, headers=headers)
            assert answer.status_code == 421
            assert "allowed_hosts" in answer.text
    for path in ("/", "/metrics", "/health", "/openapi.json", "/nowhere"):
        url = f"http://127.0.0.1:{server.port}{path}"
        assert (await server.http.get(url, headers={"Host": "evil.test"})).status_code == 421
    assert await server.tasks() == 0


async def test_target_names_the_host_before_the_header(server: Server) -> None:
    """``GET http://host/…``, as sent to proxies; other forms are no requests."""
    for head, wanted in (
        (b"GET http://evil.test/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        (b"GET http://localhost/health HTTP/1.1\r\nHost: evil.test\r\n\r\n", 200),
        (b"GET http://localhost/health HTTP/1.1\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: \r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: LOCALHOST.:1\r\n\r\n", 200),
        (b"CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\n", 400),
    ):
        status, answer = await raw(server.port, head)
        assert status == wanted, (head, answer)


async def test_first_steps_work_by_both_names(server: Server) -> None:
    """What the README says: ``curl`` with the token, whose type is that of a form."""
    for host in ("localhost", "127.0.0.1"):
        answer = await server.http.post(
            f"http://{host}:{server.port}/api/v1/tasks",
            content=b'{"command": "date"}',
            headers={
                "Authorization": "Bearer dev",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        assert answer.status_code == 201


async def test_clients_of_the_originals_go_on(server: Server) -> None:
    """Without a browser's marks, fastlane and GX take bodies of any type, or of none."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
        for dialect in ("fastlane", "gx"):
            path, body = SENT[dialect]
            for url in server.addresses(dialect, path):
                answer = await server.http.post(
                    url, content=json.dumps(body), headers={"Content-Type": kind}
                )
                assert answer.is_success, answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tasks"),
        ("POST", "/tasks/batch"),
        ("POST", "/tasks/cancel"),
        ("PUT", "/functions/f"),
    ],
)
async def test_bodies_without_a_token_say_that_they_are_json(
    server: Server, method: str, path: str
) -> None:
    """With a password, which browsers remember, the types of forms are refused, and so is none."""
    bodies: Any = {
        None: 415,
        "text/plain": 415,
        "text/plain; application/json": 415,
        "application/x-www-form-urlencoded": 415,
        "multipart/form-data; boundary=x": 415,
        "application/json": 0,
        "application/JSON; charset=utf-8": 0,
    }
    for url in server.addresses("native", path):
        for kind, wanted in bodies.items():
            headers = {} if kind is None else {"Content-Type": kind}
            answer = await server.http.request(
                method, url, content=b"{}", headers=headers, auth=("admin", "admin")
            )
            if wanted:
                assert answer.status_code == wanted, (kind, answer.text)
                assert "application/json" in answer.json()["detail"]
            else:
                assert answer.status_code in {202, 422}, (kind, answer.text)


async def test_names_come_from_what_is_listened_on_and_allowed(tmp_path: Path) -> None:
    """The addresses, the machine's name where others can reach it, and the operator's list."""
    own = socket.gethostname().encode()
    near = browser_guard_of(Settings.load(None, {"data": tmp_path}, {})).hosts
    assert near.known(b"localhost:1") is not None
    far = Settings.load(
        None,
        {"data": tmp_path, "listen": ["gx=[::]:1", "fastlane=box.test:2"], "host": "0.0.0.0"},  # noqa: S104 - only parsed
        {"TASKYARD_ALLOWED_HOSTS": "tasks.example.com,*.example.org"},
    )
    hosts = browser_guard_of(far).hosts
    for name in (own, b"box.test:2", b"tasks.example.com", b"a.example.org", b"192.0.2.1"):
        assert hosts.known(name) is not None
    for name in (b"evil.test", b"example.com", b"0"):
        assert hosts.known(name) is None
    named = Settings.load(None, {"fastlane": {"server_name": "lane.test:99"}}, {})
    assert browser_guard_of(named).hosts.known(b"lane.test") is not None


async def test_origins_that_are_none_are_refused_at_the_start() -> None:
    """Naming the setting."""
    settings = Settings.load(None, {"allowed_origins": ["app.test"]}, {})
    with pytest.raises(InvalidInput, match="allowed_origins"):
        browser_guard_of(settings)


async def test_only_public_routes_of_functions_are_for_everybody() -> None:
    """The endpoint and its results, spelled exactly."""
    is_public = browser_rules_of(Settings())["greencloud"].is_public
    assert is_public is not None
    assert [is_public(one) for one in ("/gc/a", "/gc/a/result", "/gc/a/")] == [True] * 3
    for path in ("/gc/", "/v1/task", "/gc/a/b", "/gc/a/result/x", "/v1/gc/a"):
        assert not is_public(path)
