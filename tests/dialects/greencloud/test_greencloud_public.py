"""Public endpoints: who may call them, when and how often, and who may read the results."""

import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from greencloud_world import ECHO, GreenCloudWorld, opened

pytestmark = pytest.mark.anyio
PAGE = "https://app.example.com"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, whose clock is moved; proxies on this machine are trusted."""
    data = tmp_path_factory.mktemp("public") / "data"
    async with opened(data, trusted_proxies=["127.0.0.1"]) as world:
        yield world


@pytest.fixture(scope="module")
async def echo(world: GreenCloudWorld) -> str:
    """A function that answers with what it was asked."""
    return await world.acme.deployed(ECHO)


async def refused(call: httpx2.Response, status: int, code: str) -> None:
    """An error that pages may read, too."""
    assert (call.status_code, call.json()["error"]) == (status, code), call.text
    assert "access-control-allow-origin" in call.headers or "vary" in call.headers


async def test_an_endpoint(world: GreenCloudWorld, echo: str) -> None:
    """Its members and their defaults, edited one by one, listed and deleted."""
    acme = world.acme
    endpoint = await acme.made(f"/v1/endpoint/{echo}")
    assert re.fullmatch(r"[0-9a-f]{32}", endpoint)
    path = f"/v1/endpoint/{endpoint}"
    found = await acme.got(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("createdAt"))
    assert found == {
        "functionId": echo,
        "description": "",
        "tags": [],
        "dailyLimit": -1,
        "origin": [],
        "ip": [],
        "timeLimit": {"from": "00:00", "to": "23:59", "timezone": "UTC"},
    }
    tag = await acme.made("/v1/tag", {"name": "web"})
    changes: dict[str, Any] = {
        "description": "shop",
        "dailyLimit": 7,
        "origin": PAGE,
        "ip": ["1.2.3.4"],
        "timeLimit": {"from": "08:00", "to": "17:30", "timezone": "Europe/Berlin"},
        "tag": [tag],
    }
    for name, value in changes.items():
        assert (await acme.http.patch(path, json={name: value})).status_code == 204
    found = await acme.got(path)
    assert {name: found[name] for name in ("description", "dailyLimit", "ip", "timeLimit")} == {
        name: changes[name] for name in ("description", "dailyLimit", "ip", "timeLimit")
    }
    assert (found["origin"], found["tags"][0]["name"]) == ([PAGE], "web")
    page = await acme.got("/v1/endpoint/list")
    assert set(page["results"][0]) == {"id", "description", "tags", "createdAt"}
    for method in ("GET", "PATCH", "DELETE"):
        answer = await world.rival.http.request(method, path, json={})
        assert answer.json()["error"] == "ENDPOINT_NOT_FOUND"
    assert (await acme.http.delete(path)).status_code == 204
    assert (await acme.http.delete(path)).status_code == 404
    await refused(await world.nobody.http.post(f"/gc/{'a' * 32}"), 404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"description": "é"}, "description"),
        ({"description": "x" * 257}, "description"),
        ({"dailyLimit": -2}, "dailyLimit"),
        ({"dailyLimit": 1.0}, "dailyLimit"),
        ({"dailyLimit": "1"}, "dailyLimit"),
        ({"origin": "http://a.b"}, "origin"),
        ({"origin": ["https://a.b", "https://a.b"]}, "origin"),
        ({"origin": ["https://"]}, "origin"),
        ({"origin": ["https://a:b"]}, "origin"),
        ({"origin": [1]}, "origin"),
        ({"ip": "::1"}, "ip"),
        ({"ip": ["1.2.3"]}, "ip"),
        ({"ip": ["1.2.3.4", "1.2.3.4"]}, "ip"),
        ({"ip": {}}, "ip"),
        ({"timeLimit": {"from": "00:00", "to": "10:00"}}, "timeLimit"),
        ({"timeLimit": {"from": "24:00", "to": "10:00", "timezone": "UTC"}}, "timeLimit"),
        ({"timeLimit": {"from": "0:00", "to": "10:00", "timezone": "UTC"}}, "timeLimit"),
        ({"timeLimit": {"from": "00:00", "to": "10:00", "timezone": "Mars/X"}}, "timeLimit"),
        ({"timeLimit": {"from": "00:00", "to": "10:00", "timezone": "../etc"}}, "timeLimit"),
        ({"timeLimit": "always"}, "timeLimit"),
        ({"tag": ["none"]}, "tag"),
    ],
)
async def test_rules_of_endpoints(
    world: GreenCloudWorld, echo: str, members: dict[str, Any], field: str
) -> None:
    """What breaks one is named, when it is made and when it is edited."""
    made = await world.acme.http.post(f"/v1/endpoint/{echo}", json=members)
    assert (made.status_code, set(made.json()["fields"])) == (400, {field})
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}")
    edited = await world.acme.http.patch(f"/v1/endpoint/{endpoint}", json=members)
    assert (edited.status_code, set(edited.json()["fields"])) == (400, {field})


async def test_anybody_may_call(world: GreenCloudWorld, echo: str) -> None:
    """With five methods, with and without a final slash, and read the result."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}")
    http = world.nobody.http
    called = await http.get(f"/gc/{endpoint}")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for slash in ("", "/"):
            called = await http.request(method, f"/gc/{endpoint}{slash}?q=1", content=b"x")
            assert (called.status_code, set(called.json())) == (201, {"id"})
            assert called.headers["access-control-allow-origin"] == "*"
        task_id = called.json()["id"]
        await world.acme.finished(task_id)
        result = await http.get(f"/gc/{task_id}/result")
        assert result.json()["method"] == method
        assert result.json()["query"] == "q=1"
        assert result.headers["access-control-allow-origin"] == "*"
        assert "GC-Task-Id" in result.headers["access-control-expose-headers"]
        assert (await http.get(f"/v1/task/{task_id}")).status_code == 401
    waited = await http.post(f"/gc/{endpoint}", headers={"prefer": "wait=30"})
    assert (waited.status_code, waited.headers["preference-applied"]) == (200, "wait")
    while (metrics := await world.acme.got(f"/v1/endpoint/{endpoint}/metrics"))["pendingTasks"]:
        pass
    assert metrics == {"todayTasks": 12, "pendingTasks": 0, "weekTasks": 12}


async def test_a_page_for_people(world: GreenCloudWorld, echo: str) -> None:
    """A browser's GET gets HTML with the absolute URL of the result, also below a prefix."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}")
    for base in (world.url, f"{world.main_url}/greencloud"):
        page = await world.nobody.http.get(
            f"{base}/gc/{endpoint}", headers={"accept": "text/html,*/*"}
        )
        assert page.status_code == 201
        assert page.headers["content-type"].startswith("text/html")
        (link,) = re.findall(r'href="([^"]+)"', page.text)
        assert link.startswith(f"{base}/gc/")
        with anyio.fail_after(20):
            while (result := await world.nobody.http.get(link)).status_code != 200:
                assert result.json()["error"] == "RESULT_NOT_READY"
    posted = await world.nobody.http.post(f"/gc/{endpoint}", headers={"accept": "text/html"})
    assert posted.headers["content-type"] == "application/json"


async def test_origins(world: GreenCloudWorld, echo: str) -> None:
    """Only pages of these may call, and only they are told."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}", {"origin": [PAGE + "/", "https://b"]})
    path, http = f"/gc/{endpoint}", world.nobody.http
    for origin in (None, "https://evil.example", "http://app.example.com", "null", "https://["):
        headers = {} if origin is None else {"origin": origin}
        await refused(await http.post(path, headers=headers), 403, "ORIGIN_NOT_ALLOWED")
    allowed = await http.post(path, headers={"origin": PAGE})
    assert allowed.status_code == 201
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["vary"] == "Origin"
    asked = {"origin": PAGE, "access-control-request-headers": "x-own"}
    preflight = await http.options(path, headers=asked)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert preflight.headers["access-control-allow-headers"] == "x-own"
    assert preflight.headers["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE"
    strange = await http.options(path, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in strange.headers
    anywhere = await http.options(f"/gc/{'0' * 24}/result")
    assert anywhere.headers["access-control-allow-origin"] == "*"


async def test_addresses(world: GreenCloudWorld, echo: str) -> None:
    """The peer's, or what a trusted proxy says; a caller's own claims count for nothing."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}", {"ip": ["1.2.3.4"]})
    path, http = f"/gc/{endpoint}", world.nobody.http
    await refused(await http.post(path), 403, "IP_NOT_ALLOWED")
    for forwarded in ("9.9.9.9", "1.2.3.4, 9.9.9.9", "nonsense", "", "::1"):
        answer = await http.post(path, headers={"x-forwarded-for": forwarded})
        await refused(answer, 403, "IP_NOT_ALLOWED")
    for forwarded in ("1.2.3.4", "9.9.9.9, 1.2.3.4", "1.2.3.4, 127.0.0.1", "::ffff:1.2.3.4"):
        answer = await http.post(path, headers={"x-forwarded-for": forwarded})
        assert answer.status_code == 201, forwarded
    own = await world.acme.made(f"/v1/endpoint/{echo}", {"ip": "127.0.0.1"})
    assert (await http.post(f"/gc/{own}")).status_code == 201


async def test_time_windows(world: GreenCloudWorld, echo: str) -> None:
    """To the end of the last minute, past midnight, and in the zone's own time."""

    async def allowed(endpoint: str, hour: int, minute: int = 0) -> bool:
        world.clock.move_to(hour, minute)
        called = await world.nobody.http.post(f"/gc/{endpoint}")
        if called.status_code != 201:
            await refused(called, 403, "OUTSIDE_TIME_WINDOW")
        return called.status_code == 201

    async def made(start: str, end: str, zone: str = "UTC") -> str:
        window = {"from": start, "to": end, "timezone": zone}
        return await world.acme.made(f"/v1/endpoint/{echo}", {"timeLimit": window})

    day, night = await made("08:00", "17:30"), await made("22:00", "05:00")
    tokyo = await made("00:00", "00:59", "Asia/Tokyo")
    assert not await allowed(day, 7, 58)
    assert await allowed(day, 8)
    assert not await allowed(night, 12)
    assert await allowed(tokyo, 15, 30)
    assert not await allowed(tokyo, 16, 1)
    assert await allowed(day, 17, 30)
    assert not await allowed(day, 17, 31)
    assert await allowed(night, 23)
    assert await allowed(night, 4, 59)
    assert not await allowed(night, 5, 1)


async def test_daily_limits(world: GreenCloudWorld, echo: str) -> None:
    """Calls that issued a task since midnight, UTC; another day begins at nothing."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}", {"dailyLimit": 2})
    path, http = f"/gc/{endpoint}", world.nobody.http
    world.clock.move_to(20)
    for _ in range(2):
        assert (await http.post(path)).status_code == 201
    await refused(await http.post(path), 429, "DAILY_LIMIT_REACHED")
    await refused(await http.post(path, content=bytes(11 << 20)), 429, "DAILY_LIMIT_REACHED")
    assert (
        await world.acme.http.patch(f"/v1/endpoint/{endpoint}", json={"dailyLimit": 3})
    ).is_success
    assert (await http.post(path)).status_code == 201
    await refused(await http.post(path), 429, "DAILY_LIMIT_REACHED")
    world.clock.move_to(0, 1)
    assert (await http.post(path)).status_code == 201
    metrics = await world.acme.got(f"/v1/endpoint/{endpoint}/metrics")
    assert (metrics["todayTasks"], metrics["weekTasks"]) == (1, 4)
    none = await world.acme.made(f"/v1/endpoint/{echo}", {"dailyLimit": 0})
    await refused(await http.post(f"/gc/{none}"), 429, "DAILY_LIMIT_REACHED")


async def test_many_at_once_keep_to_the_limit(world: GreenCloudWorld, echo: str) -> None:
    """Not one more than allowed, however many come together."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}", {"dailyLimit": 5})
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await world.nobody.http.post(f"/gc/{endpoint}")).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)
    assert (statuses.count(201), statuses.count(429)) == (5, 15)


async def test_results_are_public_for_a_while(world: GreenCloudWorld, echo: str) -> None:
    """Five minutes; then for the owner alone. Results of other tasks never are."""
    endpoint = await world.acme.made(f"/v1/endpoint/{echo}")
    task_id = (await world.nobody.http.post(f"/gc/{endpoint}")).json()["id"]
    await world.acme.finished(task_id)
    path = f"/gc/{task_id}/result"
    world.clock.shift_s += 290
    assert (await world.nobody.http.get(path)).status_code == 200
    world.clock.shift_s += 20
    await refused(await world.nobody.http.get(path), 401, "NEEDS_LOGIN")
    await refused(await world.rival.http.get(path), 401, "NEEDS_LOGIN")
    assert (await world.acme.http.get(path)).status_code == 200
    own = await world.acme.task(echo)
    await world.acme.finished(own)
    for key in (own, "0" * 24, "x"):
        await refused(await world.nobody.http.get(f"/gc/{key}/result"), 404, "TASK_NOT_FOUND")
    assert (await world.acme.http.get(f"/gc/{own}/result")).status_code == 200


async def test_checks_come_in_order(world: GreenCloudWorld, echo: str) -> None:
    """Origin, address, time, daily limit, and then what every create looks at."""
    world.clock.move_to(12)
    acme, http = world.acme, world.nobody.http
    limits: dict[str, Any] = {
        "origin": PAGE,
        "ip": "1.2.3.4",
        "timeLimit": {"from": "01:00", "to": "02:00", "timezone": "UTC"},
        "dailyLimit": 0,
    }
    endpoint = await acme.made(f"/v1/endpoint/{echo}", limits)
    large = bytes((10 << 20) + 1)
    window = {"from": "00:00", "to": "23:59", "timezone": "UTC"}
    for status, code, change in (
        (403, "ORIGIN_NOT_ALLOWED", {"origin": []}),
        (403, "IP_NOT_ALLOWED", {"ip": []}),
        (403, "OUTSIDE_TIME_WINDOW", {"timeLimit": window}),
        (429, "DAILY_LIMIT_REACHED", {"dailyLimit": 1}),
        (413, "PAYLOAD_TOO_LARGE", {}),
    ):
        await refused(await http.post(f"/gc/{endpoint}", content=large), status, code)
        edited = await acme.http.patch(f"/v1/endpoint/{endpoint}", json=change)
        assert edited.status_code == 204
    assert (await http.post(f"/gc/{endpoint}")).status_code == 201
    await refused(await http.post(f"/gc/{endpoint}"), 429, "DAILY_LIMIT_REACHED")


async def test_paused_and_undeployed(world: GreenCloudWorld) -> None:
    """423 before all limits, 409 after them."""
    function = await world.acme.function()
    endpoint = await world.acme.made(f"/v1/endpoint/{function}", {"ip": "1.2.3.4"})
    http, path = world.nobody.http, f"/gc/{endpoint}"
    await refused(await http.get(path), 403, "IP_NOT_ALLOWED")
    await world.acme.http.post(f"/v1/function/{function}/togglePause")
    await refused(await http.get(path), 423, "FUNCTION_PAUSED")
    await world.acme.http.post(f"/v1/function/{function}/togglePause")
    await world.acme.http.patch(f"/v1/endpoint/{endpoint}", json={"ip": []})
    await refused(await http.get(path), 409, "NO_RUNNER")
