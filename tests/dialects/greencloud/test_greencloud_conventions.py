"""What holds for every route: ids, who may come in, what others see, how defects are told."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from greencloud_world import ECHO, GreenCloudWorld, Json, opened

from taskyard.dialects.greencloud.app import ROUTES
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.http.routes import Route
from taskyard.services.functions.resources import FunctionResources

pytestmark = pytest.mark.anyio
SAY = "def handle(event, context):\n    return 'said'\n"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
GUARDED = [one for one in ROUTES if not one.access]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, whose clock is moved."""
    async with opened(tmp_path_factory.mktemp("conventions") / "data") as world:
        yield world


def named(route: Route[Call, bool]) -> str:
    """A route as tests are named after it."""
    return f"{route.methods[0]} {route.path}"


@pytest.mark.parametrize("route", GUARDED, ids=named)
async def test_every_route_asks_for_a_token_first(
    world: GreenCloudWorld, route: Route[Call, bool]
) -> None:
    """Before it looks anything up, or reads a body that it would refuse."""
    path = route.path.replace("{id}", "x")
    for token in (None, "expired", "Basic Z3Vlc3Q6eA==", "Bearer\tacme-token"):
        headers = {} if token is None else {"authorization": token}
        answer = await world.nobody.http.request(
            route.methods[0], path, content="{", headers=headers
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "NEEDS_LOGIN")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert set(answer.json()) == {"error", "message"}


async def test_ids_and_times(world: GreenCloudWorld) -> None:
    """24 digits that begin with the time of creation; each time in its own format."""
    acme = world.acme
    function = await acme.deployed(SAY)
    tag = await acme.made("/v1/tag", {"name": "x"})
    body: Json = {"functionId": function, "nextId": function, "includeResult": False}
    trigger = await acme.made("/v1/trigger", body)
    cron = {"functionId": function, "cron": "0 0 1 1 *", "timezone": "UTC"}
    schedule = await acme.made("/v1/scheduled", cron)
    build = (await acme.got("/v1/build/list"))["results"][0]["id"]
    now_s = world.clock.now() // 1_000_000
    for one in (function, tag, trigger, schedule, build):
        assert re.fullmatch("[0-9a-f]{24}", one)
        assert abs(int(one[:8], 16) - now_s) < 60
    assert RFC_3339.match((await acme.got(f"/v1/trigger/{trigger}"))["createdAt"])
    assert RFC_3339.match((await acme.got("/v1/build/list"))["results"][0]["createdAt"])
    assert (await acme.got(f"/v1/function/{function}"))["createdAt"].isdigit()


async def test_two_tokens_of_one_account(world: GreenCloudWorld) -> None:
    """See the same objects, and so does one that was given for its key."""
    function = await world.acme.function()
    given = await world.nobody.http.post("/v1/auth/apiKey", json={"key": "acme-key"})
    for token in ("acme-token", "Bearer acme-other", given.json()["accessToken"]):
        headers = {"authorization": token}
        answer = await world.nobody.http.get(f"/v1/function/{function}", headers=headers)
        assert (answer.status_code, answer.json()["id"]) == (200, function)


async def test_things_of_others_do_not_exist(world: GreenCloudWorld) -> None:
    """Every kind of object, with every method it has."""
    acme, rival = world.acme, world.rival
    function, own = await acme.deployed(SAY), await rival.function()
    cron = {"functionId": function, "cron": "0 0 1 1 *", "timezone": "UTC"}
    schedule = await acme.made("/v1/scheduled", cron)
    endpoint = await acme.made(f"/v1/endpoint/{function}")
    tag = await acme.made("/v1/tag", {"name": "x"})
    for key in (schedule, "0" * 24, "x", "%00"):
        for method, rest in (
            *(("GET", ""), ("PATCH", ""), ("DELETE", "")),
            *(("PUT", "/payload"), ("POST", "/try")),
        ):
            answer = await rival.http.request(method, f"/v1/scheduled/{key}{rest}", json={})
            assert (answer.status_code, answer.json()["error"]) == (404, "SCHEDULE_NOT_FOUND")
    assert (await rival.http.get(f"/v1/endpoint/{endpoint}/metrics")).status_code == 404
    for path, body in (
        (f"/v1/endpoint/{function}", {}),
        ("/v1/scheduled", cron),
        ("/v1/trigger", {"functionId": function, "nextId": own, "includeResult": True}),
        ("/v1/trigger", {"functionId": own, "nextId": function, "includeResult": True}),
        ("/v1/task", {"lambdaId": function}),
    ):
        answer = await rival.http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (404, "FUNCTION_NOT_FOUND"), path
    tagged = await rival.http.patch(f"/v1/function/{own}", json={"tag": [tag]})
    assert (tagged.status_code, set(tagged.json()["fields"])) == (400, {"tag"})
    for kind in ("build", "endpoint", "trigger", "scheduled"):
        assert (await rival.got(f"/v1/{kind}/list?functionId={function}"))["totalCount"] == 0
    assert await rival.got("/v1/tag/list") == []
    assert await rival.got(f"/v1/task/list?functionId={function}") == []


async def test_a_token_that_may_only_read(world: GreenCloudWorld) -> None:
    """One of the engine's own looks, and changes nothing."""
    function = await world.dev.deployed(SAY)
    task = await world.dev.task(function)
    await world.dev.finished(task)
    made = await world.native.http.post("/tokens", json={"name": "reader", "role": "read"})
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    http = world.nobody.http
    for path in (f"/v1/function/{function}", f"/v1/task/{task}", "/v1/metrics", "/v1/tag/list"):
        assert (await http.get(path, headers=headers)).status_code == 200
    body = {"name": "x", "lang": "PY", "type": "DOCKER"}
    for method, path, sent in (
        ("POST", "/v1/function", body),
        ("PATCH", f"/v1/function/{function}", {"name": "y"}),
        ("DELETE", f"/v1/function/{function}", None),
        ("POST", f"/v1/task/{function}", {}),
        ("POST", "/v1/tag", {"name": "x"}),
        ("POST", f"/v1/endpoint/{function}", {}),
    ):
        answer = await http.request(method, path, json=sent, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "NOT_ALLOWED"), path
    assert (await world.dev.got(f"/v1/function/{function}"))["name"] == "MyFunction"


async def test_objects_that_are_too_large(world: GreenCloudWorld) -> None:
    """413, and not what their members say."""
    large = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    for path in ("/v1/function", "/v1/tag", "/v1/trigger", "/v1/scheduled", "/v1/auth/apiKey"):
        answer = await world.acme.http.post(path, content=large)
        assert (answer.status_code, answer.json()["error"]) == (413, "PAYLOAD_TOO_LARGE"), path


async def test_a_defect_is_not_shown(
    world: GreenCloudWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with a fixed text; the next request is answered."""

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the inside")

    with monkeypatch.context() as patch:
        patch.setattr(FunctionResources, "page", broken)
        answer = await world.acme.http.get("/v1/endpoint/list")
    assert (answer.status_code, answer.json()["error"]) == (500, "INTERNAL")
    assert "inside" not in answer.text
    assert (await world.acme.http.get("/v1/endpoint/list")).status_code == 200


async def test_a_paused_function_and_its_schedules(world: GreenCloudWorld) -> None:
    """Nothing is issued while it is paused; with the function, they are gone for good."""
    acme = world.acme
    function = await acme.deployed(ECHO)
    body = {"functionId": function, "cron": "15 * * * *", "timezone": "UTC"}
    schedule = await acme.made("/v1/scheduled", body)
    toggle = f"/v1/function/{function}/togglePause"
    await acme.http.post(toggle)
    tried = await acme.http.post(f"/v1/scheduled/{schedule}/try")
    assert (tried.status_code, tried.json()["error"]) == (423, "FUNCTION_PAUSED")
    world.clock.move_to(9, 15)
    await world.fired()
    await acme.http.post(toggle)
    assert await acme.got(f"/v1/task/list?functionId={function}") == []
    world.clock.move_to(11, 15)
    await world.fired()
    tried = await acme.http.post(f"/v1/scheduled/{schedule}/try")
    seen = (await acme.result(tried.json()["id"])).json()
    assert seen["headers"]["gc-schedule-id"] == schedule
    assert len(await acme.got(f"/v1/task/list?functionId={function}")) == 2
    csv = await acme.http.get(f"/v1/task/{function}/csv?scheduledId={schedule}")
    assert tried.json()["id"] in csv.text
    await acme.http.post(toggle)
    assert (await acme.http.delete(f"/v1/function/{function}")).status_code == 204
    assert (await acme.http.get(f"/v1/scheduled/{schedule}")).status_code == 404
    assert (await acme.http.post(f"/v1/function/{function}/restore")).status_code == 204
    assert (await acme.got(f"/v1/function/{function}"))["paused"]
    assert (await acme.http.get(f"/v1/scheduled/{schedule}")).status_code == 404
