"""A neighbour that knows every name of another workspace asks every route of every dialect.

The routes are those that the applications have, so that a new one is asked as well. What belongs to
the victim carries a marker: no answer to the neighbour may hold it, and afterwards the victim finds
everything as it was.
"""

import gc
import itertools
import json
import re
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from taskyard.core.access.principals import Role
from taskyard.dialects.http.routes import WEBSOCKET, Router
from taskyard.server import run
from taskyard.server.dialects import PREFIXES
from taskyard.server.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
Json = dict[str, Any]
MARKER: Final = "victims-own"
VICTIM, NEIGHBOUR = "victim", "neighbour"
ROLES: Final = (Role.READ, Role.ADMIN)
SOURCE: Final = f"def handle(event):\n    return {{'body': '{MARKER} result'}}\n"
BODIES: Final[Sequence[Any]] = (
    None,
    {"priority": 7, "concurrency_limit": 1, "value": "x", "role": "read", "name": "x"},
    {"source": "def handle(event):\n    return None\n", "language": "python"},
)
"""What is sent with requests that change something."""
BARE: Final = frozenset(
    {
        *("tokens", "/api/v1/workspace", "/gx/tasks", "/drove/apis/v1/tasks"),
        *("/greencloud/v1/scheduled/list", "/greencloud/v1/endpoint/list"),
    }
)
"""Answers that name nothing of what they are about."""
NOT_ASKED: Final = frozenset({"/api/v1/events/stream", "/api/v1/events/ws", "/ws/tasks"})
"""Streams without an end of their own; they have a test below."""


@dataclass
class Town:
    """A server, a victim with everything a workspace can have, and its neighbour."""

    url: str
    victim: httpx2.AsyncClient
    neighbours: dict[Role, httpx2.AsyncClient]
    ids: dict[str, str] = field(default_factory=dict)
    """What the victim's things are called, by kind."""

    async def made(self, path: str, body: Any = None, method: str = "POST", **more: Any) -> Any:
        """What the victim creates."""
        answer = await self.victim.request(method, f"{self.url}{path}", json=body, **more)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None


class Key(httpx2.Auth):
    """A token, as each dialect wants it."""

    def __init__(self, token: str) -> None:
        self.text = token

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """In the header; GX wants it in the query."""
        request.headers["authorization"] = f"Bearer {self.text}"
        if request.url.path.startswith(PREFIXES["gx"]):
            request.url = request.url.copy_merge_params({"api_key": self.text})
        yield request


async def settled(town: Town) -> None:
    """Fill the victim's workspace, with every dialect that its token opens."""
    made, ids = town.made, town.ids
    task = {
        "name": MARKER,
        "group": "known-group",
        "labels": {"of": MARKER},
        "metadata": {"of": MARKER},
        "env": {"OF": MARKER},
        "webhooks": [{"url": f"http://127.0.0.1:9/{MARKER}"}],
    }
    done = await made("/api/v1/tasks", {**task, "command": f"echo {MARKER}"})
    await town.victim.get(f"/api/v1/tasks/{done['id']}/wait", params={"timeout_s": 30})
    waiting = await made("/api/v1/tasks", {**task, "command": "true", "start_in_s": 9000})
    cron = await made("/api/v1/tasks", {**task, "command": "true", "cron": "0 0 1 1 *"})
    running = await made("/api/v1/tasks", {**task, "command": "sleep 1000"})
    await made("/api/v1/tasks", {**task, "image": "busybox:1", "command": ["true"]})
    function = "known-function"
    await made(
        f"/api/v1/functions/{function}?wait=30s", {"source": SOURCE, "language": "python"}, "PUT"
    )
    found = (await town.victim.get(f"/api/v1/functions/{function}")).json()
    await made("/api/v1/secrets/known-secret", {"value": MARKER}, "PUT")
    token = await made("/api/v1/tokens", {"name": f"{MARKER}-token", "role": "read"})
    user = {"name": "known-user", "password": "long enough", "role": "read"}
    await made("/api/v1/users", user)
    await made("/gx/tasks", {"name": MARKER, "type": "gx.heavy"})
    attempts = (await town.victim.get(f"/api/v1/tasks/{done['id']}/attempts")).json()["items"]
    tag = await made("/greencloud/v1/tag", {"name": f"{MARKER}-tag", "color": "#ffffff"})
    deliveries = (await town.victim.get("/api/v1/webhooks/deliveries")).json()["items"]
    endpoint = await made(f"/greencloud/v1/endpoint/{found.get('id') or found['function']['id']}")
    ids.update(
        done=done["id"],
        waiting=waiting["id"],
        cron=cron["id"],
        running=running["id"],
        attempt=attempts[0]["id"],
        function=function,
        function_id=found.get("id") or found["function"]["id"],
        secret="known-secret",
        token=token["id"],
        user="known-user",
        group="known-group",
        tag=tag["id"],
        endpoint=endpoint["id"],
        delivery=deliveries[0]["id"],
        number="1",
    )


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for all tests here, since they share the server."""
    return "asyncio"


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Started once."""
    data = tmp_path_factory.mktemp("town") / "d"
    values: Json = {"data": data, "port": 0, "worker_slots": 8, "worker_cpu": 4}
    values |= {"webhook_allow_private": True, "gx": {"allow_command": True}}
    settings = Settings.load(None, values, {})
    stop, ready, done = anyio.Event(), anyio.Event(), anyio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "dashboard_pages", lambda: ())
        patch.setattr(run, "_until_signal", lambda _signals: stop.wait())

        async def running() -> None:
            await run.run(settings, ready)
            done.set()

        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            tasks.start_soon(running)
            with anyio.fail_after(30):
                await ready.wait()
            try:
                local = await stack.enter_async_context(local_admin(data))
                url = str(json.loads((data / "server.json").read_text())["url"])

                async def client(workspace: str, role: Role) -> httpx2.AsyncClient:
                    body = {"name": f"{workspace}-{role.word}", "role": role.word}
                    headers = {"taskyard-workspace": workspace}
                    answer = await local.post("/api/v1/tokens", json=body, headers=headers)
                    assert answer.status_code == 201, answer.text
                    made = httpx2.AsyncClient(
                        base_url=url,
                        auth=Key(answer.json()["token"]),
                        timeout=20,
                        trust_env=False,
                        verify=False,
                    )
                    return await stack.enter_async_context(made)

                neighbours = {role: await client(NEIGHBOUR, role) for role in ROLES}
                town = Town(url, await client(VICTIM, Role.ADMIN), neighbours)
                await settled(town)
                yield town
                order = {"grace_s": 0}
                path = f"/api/v1/tasks/{town.ids['running']}"
                await town.victim.post(f"{path}/cancel", json=order)
                await town.victim.get(f"{path}/wait?timeout_s=10")
            finally:
                with anyio.CancelScope(shield=True):
                    stop.set()
                    with anyio.fail_after(30):
                        await done.wait()


def local_admin(data: Path) -> httpx2.AsyncClient:
    """A client of the control socket."""
    transport = httpx2.AsyncHTTPTransport(uds=str(data / "control.sock"))
    return httpx2.AsyncClient(transport=transport, base_url="http://local", timeout=20)


def routes(*, sockets: bool = False) -> list[tuple[str, str]]:
    """Method and path of every route that the main listener has, of every dialect."""
    found = set()
    for router in (one for one in gc.get_objects() if isinstance(one, Router)):
        for method, path, handler in router.all():
            names = [name for name in PREFIXES if f"dialects.{name}." in module_of(handler)]
            prefix = PREFIXES[names[0]] if names and names[0] != "native" else ""
            if (method == WEBSOCKET) is sockets:
                found.add((method, f"{prefix}{path}"))
    return sorted(found | (set() if sockets else _of_litestar()))


def module_of(handler: Any) -> str:
    """Where a handler is declared; of a partial one, the function's."""
    return str(getattr(handler, "func", handler).__module__)


def _of_litestar() -> set[tuple[str, str]]:
    """Those of no dialect."""
    found: set[tuple[str, str]] = set()
    for app in (one for one in gc.get_objects() if isinstance(one, Litestar)):
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                found |= {(str(method), route.path) for method in route.methods}
    return found


def filled(path: str, ids: dict[str, str]) -> Iterator[str]:
    """The path with every name of the victim's that may stand there."""
    holes = re.findall(r"\{([^}:]+)(?::[^}]*)?\}", path)
    shape = re.sub(r"\{[^}]+\}", "%s", path.replace("%", "%%"))
    for values in itertools.product(*(_names(hole, ids) for hole in holes)):
        yield shape % values


NAMES: Final = {
    "task_id": ("done", "waiting", "cron", "running"),
    "token_id": ("token",),
    "delivery_id": ("delivery",),
    "number": ("number",),
    "version": ("number",),
    "id": ("done", "running", "function_id", "tag", "endpoint"),
    "job_id": ("done", "running"),
    "execution_id": ("attempt",),
}
"""Which of the victim's things a hole of a path can name; all that have names for any other."""
NAMED: Final = ("function", "secret", "user", "group", "done")


def _names(hole: str, ids: dict[str, str]) -> list[str]:
    if hole == "stream":
        return ["stdout"]
    return [ids[one] for one in NAMES.get(hole, NAMED)]


async def everything(town: Town) -> Json:
    """All that the victim sees of its own, without what looking itself changes."""
    found: Json = {}
    paths = [
        *("/api/v1/tasks?limit=500", "/api/v1/groups", "/api/v1/secrets", "/api/v1/users"),
        *("/api/v1/functions", f"/api/v1/functions/{town.ids['function']}", "/api/v1/workspace"),
        *("/gx/tasks", "/greencloud/v1/tag/list", "/greencloud/v1/endpoint/list"),
        *("/greencloud/v1/function/list", "/greencloud/v1/scheduled/list", "/drove/apis/v1/tasks"),
        f"/api/v1/tasks/{town.ids['done']}/logs/stdout",
    ]
    for path in paths:
        answer = await town.victim.get(path)
        assert answer.status_code == 200, (path, answer.text)
        found[path] = answer.text
    tokens = (await town.victim.get("/api/v1/tokens")).json()["items"]
    found["tokens"] = [(one["id"], one["revoked_at"]) for one in tokens]
    running = (await town.victim.get(f"/api/v1/tasks/{town.ids['running']}")).json()
    assert running["state"] == "running"
    return found


async def test_the_town_is_full(town: Town) -> None:
    """Otherwise the tests below would find nothing because there is nothing."""
    for path, text in (await everything(town)).items():
        assert MARKER in str(text) or "known-" in str(text) or path in BARE, (path, text)
    asked = {path for _, path in routes()}
    for prefix in PREFIXES.values():
        assert any(path.startswith(prefix) for path in asked), prefix


@pytest.mark.parametrize("role", ROLES)
async def test_no_route_reaches_into_another_workspace(town: Town, role: Role) -> None:
    """Neither to read nor to change, with the least role and with the one that has all others."""
    neighbour = town.neighbours[role]
    before = await everything(town)
    # Who knows its id may call it: that is what an endpoint is for.
    open_to_all = f"{PREFIXES['greencloud']}/gc/{town.ids['endpoint']}"
    asked = 0
    for method, path in routes():
        if path in NOT_ASKED or method in {"OPTIONS", "HEAD"}:
            continue
        for filled_path in filled(path, town.ids):
            if filled_path == open_to_all:
                continue
            for body in BODIES if method in {"POST", "PUT", "PATCH"} else (None,):
                more: Json = {} if body is None else {"json": body}
                try:
                    answer = await neighbour.request(method, filled_path, **more)
                except httpx2.ReadTimeout:
                    pytest.fail(f"{method} {filled_path} does not answer")
                asked += 1
                said = (method, filled_path, body, answer.text)
                assert MARKER not in answer.text, said
                # What was not asked for by name is not named either; an admin has made things of
                # the same names by now, and an audit trail that tells of its attempts.
                named = "known-" in filled_path or role is Role.ADMIN
                assert named or "known-" not in answer.text, said
                assert answer.status_code < 500, (method, filled_path, body, answer.text)
    assert asked > 500
    assert await everything(town) == before


async def test_streams_tell_of_ones_own_workspace_only(town: Town) -> None:
    """Live changes pass by what happens elsewhere at the same time."""
    neighbour = town.neighbours[Role.ADMIN]
    events = {"accept": "text/event-stream"}
    async with neighbour.stream("GET", "/api/v1/events/stream", headers=events) as stream:
        assert stream.status_code == 200
        await town.made("/api/v1/tasks", {"name": MARKER, "command": "true", "start_in_s": 9000})
        mine = await neighbour.post("/api/v1/tasks", json={"command": "true", "start_in_s": 9000})
        told = ""
        with anyio.fail_after(10):
            async for line in stream.aiter_lines():
                told += line
                if mine.json()["id"] in line:
                    break
    assert mine.json()["id"] in told
    assert MARKER not in told
    assert VICTIM not in told


async def test_sockets_of_another_workspace_are_refused(town: Town) -> None:
    """As if there were no such task, whatever the dialect."""
    token = town.neighbours[Role.ADMIN].auth
    assert isinstance(token, Key)
    asked = 0
    for _, path in routes(sockets=True):
        if "{" not in path:
            continue  # of a whole workspace: the neighbour's own
        for filled_path in filled(path, town.ids):
            asked += 1
            url = f"{town.url.replace('http', 'ws')}{filled_path}"
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}?access_token={token.text}", proxy=None)
            assert refused.value.response.status_code in {401, 403, 404}, filled_path
    assert asked >= 4
