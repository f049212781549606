"""What goes on by itself: triggers and schedules; and tags, metrics, nodes, accounts."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from greencloud_world import ECHO, GreenCloudWorld, Json, opened

from eventually import eventually_async

pytestmark = pytest.mark.anyio
NONE = "d" * 24
SAY = (
    "def handle(event, context):\n"
    "    return {'statusCode': int(event.body or b'200'), 'body': 'said'}\n"
)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, whose clock is moved."""
    async with opened(tmp_path_factory.mktemp("chains") / "data") as world:
        yield world


def of_another_account(token: str) -> str:
    """The same token, with the same signature, as if it were of the account ``rival``."""
    *parts, signature = token.split(".")
    read = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts]
    renamed = [part.replace(b'"acme"', b'"rival"') for part in read]
    written = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in renamed]
    return ".".join([*written, signature])


async def tasks_of(world: GreenCloudWorld, function: str, count: int) -> list[Json]:
    """The tasks of a function, once there are so many and all have finished."""

    async def look() -> list[Json]:
        found: list[Json] = await world.acme.got(f"/v1/task/list?functionId={function}")
        return found

    return await eventually_async(
        look, lambda found: len(found) >= count and all(one["progress"] == 100 for one in found)
    )


async def test_a_trigger(world: GreenCloudWorld) -> None:
    """Fires by status, with or without the result, and says so in a header."""
    acme = world.acme
    first, plain, fed = (
        await acme.deployed(SAY),
        await acme.deployed(ECHO),
        await acme.deployed(ECHO),
    )
    without = await acme.made(
        "/v1/trigger", {"functionId": first, "nextId": plain, "includeResult": False}
    )
    body = {"functionId": first, "nextId": fed, "includeResult": True, "status": 418}
    teapots = await acme.made("/v1/trigger", body)
    await acme.called(first)
    await acme.called(first, content="418", params={"q": "1"})
    calls = await tasks_of(world, plain, 2)
    seen = (await acme.result(calls[0]["id"])).json()
    assert (seen["body"], seen["query"], seen["method"]) == ("", "", "POST")
    assert seen["headers"]["gc-trigger-id"] == without
    (only,) = await tasks_of(world, fed, 1)
    seen = (await acme.result(only["id"])).json()
    assert seen["body"] == "said"
    assert seen["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert seen["headers"]["gc-trigger-id"] == teapots


async def test_triggers_of_failures(world: GreenCloudWorld) -> None:
    """A task that failed has the status 500."""
    acme = world.acme
    first = await acme.deployed("def handle(e, c): raise ValueError('x')\n")
    following = await acme.deployed(ECHO)
    body = {"functionId": first, "nextId": following, "includeResult": True, "status": 500}
    await acme.made("/v1/trigger", body)
    await acme.called(first)
    (task,) = await tasks_of(world, following, 1)
    assert (await acme.result(task["id"])).json()["body"] == ""


async def test_chains_end(world: GreenCloudWorld) -> None:
    """A function that triggers itself goes on for ten links."""
    acme = world.acme
    function = await acme.deployed(SAY)
    trigger = await acme.made(
        "/v1/trigger", {"functionId": function, "nextId": function, "includeResult": False}
    )
    await acme.task(function)
    assert len(await tasks_of(world, function, 11)) == 11
    assert (await acme.http.delete(f"/v1/trigger/{trigger}")).status_code == 204
    await acme.called(function)
    assert len(await tasks_of(world, function, 12)) == 12


async def test_paused_functions_are_skipped(world: GreenCloudWorld) -> None:
    """Silently, and so are those without code."""
    acme = world.acme
    first, paused, bare = await acme.deployed(SAY), await acme.deployed(ECHO), await acme.function()
    last = await acme.deployed(ECHO)
    for following in (paused, bare, last):
        await acme.made(
            "/v1/trigger", {"functionId": first, "nextId": following, "includeResult": False}
        )
    await acme.http.post(f"/v1/function/{paused}/togglePause")
    await acme.called(first)
    await tasks_of(world, last, 1)
    assert await tasks_of(world, paused, 0) == []
    assert await tasks_of(world, bare, 0) == []


async def test_triggers_as_objects(world: GreenCloudWorld) -> None:
    """Shown, listed, edited, and gone with either function."""
    acme = world.acme
    first, second = await acme.function(), await acme.function()
    body: Json = {"functionId": first, "nextId": second, "includeResult": False}
    trigger = await acme.made("/v1/trigger", {**body, "description": "d"})
    path = f"/v1/trigger/{trigger}"
    shown = await acme.got(path)
    assert shown.pop("createdAt").endswith("Z")
    assert shown == {**body, "tags": [], "status": 0, "description": "d"}
    change = {"status": 404, "includeResult": True}
    assert (await acme.http.patch(path, json=change)).status_code == 204
    shown = await acme.got(path)
    assert (shown["status"], shown["includeResult"], shown["description"]) == (404, True, "d")
    page = await acme.got(f"/v1/trigger/list?functionId={first}")
    assert page["results"] == [{"id": trigger, **shown}]
    for wrong, field in (
        ({"status": 99}, "status"),
        ({"status": 600}, "status"),
        ({"includeResult": "yes"}, "includeResult"),
        ({"description": "\n"}, "description"),
        ({"tag": [NONE]}, "tag"),
    ):
        for answer in (
            await acme.http.patch(path, json=wrong),
            await acme.http.post("/v1/trigger", json={**body, **wrong}),
        ):
            assert (answer.status_code, set(answer.json()["fields"])) == (400, {field})
    missing = await acme.http.post("/v1/trigger", json={})
    assert set(missing.json()["fields"]) == {"functionId", "nextId", "includeResult"}
    for name in ("functionId", "nextId"):
        answer = await acme.http.post("/v1/trigger", json={**body, name: NONE})
        assert (answer.status_code, answer.json()["error"]) == (404, "FUNCTION_NOT_FOUND")
    for method in ("GET", "PATCH", "DELETE"):
        answer = await world.rival.http.request(method, path, json={})
        assert answer.json()["error"] == "TRIGGER_NOT_FOUND"
    await acme.http.delete(f"/v1/function/{second}")
    assert (await acme.http.get(path)).status_code == 404


async def test_a_schedule(world: GreenCloudWorld) -> None:
    """Its payload, a try, and its firings: those missed in between are skipped."""
    acme = world.acme
    function = await acme.deployed(ECHO)
    body = {"functionId": function, "cron": "30 * * * *", "timezone": "Europe/Berlin"}
    schedule = await acme.made("/v1/scheduled", {**body, "description": "hourly"})
    path = f"/v1/scheduled/{schedule}"
    empty = {"query": "", "body": "", "contentType": ""}
    wanted = {"active": True, **body, "description": "hourly"}
    assert await acme.got(path) == {**wanted, "inlinePayload": empty}
    put = await acme.http.put(
        f"{path}/payload?a=1&a=2", content=b"\x00", headers={"content-type": "x/y"}
    )
    assert put.status_code == 204
    payload = (await acme.got(path))["inlinePayload"]
    assert payload == {"query": "a=1&a=2", "body": "AA==", "contentType": "x/y"}
    page = await acme.got("/v1/scheduled/list?timezone=Europe/Berlin")
    assert page["results"] == [{"id": schedule, **wanted}]
    assert (await acme.got("/v1/scheduled/list?timezone=UTC"))["totalCount"] == 0
    tried = await acme.http.post(f"{path}/try")
    assert tried.status_code == 201
    seen = (await acme.result(tried.json()["id"])).json()
    assert (seen["body"], seen["query"]) == ("\x00", "a=1&a=2")
    assert seen["headers"]["content-type"] == "x/y"
    assert seen["headers"]["gc-schedule-id"] == schedule
    world.clock.move_to(12, 30)
    await acme.http.post("/v1/tag", json={"name": "x"})
    world.yard.wired.triggers.schedules_changed()  # as waking up does in time
    assert len(await tasks_of(world, function, 2)) == 2
    world.clock.move_to(15, 40)
    world.yard.wired.triggers.schedules_changed()
    world.clock.move_to(16, 30)
    world.yard.wired.triggers.schedules_changed()
    assert len(await tasks_of(world, function, 3)) == 3
    assert (await acme.http.patch(path, json={"active": "false"})).status_code == 204
    assert (await acme.got(path))["active"] is False
    world.clock.move_to(17, 30)
    world.yard.wired.triggers.schedules_changed()
    assert len(await tasks_of(world, function, 3)) == 3
    change = {"active": True, "cron": "5 9 * * *", "timezone": "Asia/Tokyo"}
    assert (await acme.http.patch(path, json=change)).status_code == 204
    shown = await acme.got(path)
    assert {name: shown[name] for name in change} == change
    world.clock.move_to(0, 5)
    world.yard.wired.triggers.schedules_changed()
    assert len(await tasks_of(world, function, 4)) == 4
    assert (await acme.http.delete(path)).status_code == 204
    assert (await acme.http.get(path)).json()["error"] == "SCHEDULE_NOT_FOUND"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "@daily"}, "cron"),
        ({"cron": "* * L * *"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"timezone": "Mars/X"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"description": "é"}, "description"),
    ],
)
async def test_rules_of_schedules(
    world: GreenCloudWorld, members: dict[str, Any], field: str
) -> None:
    """What breaks one is named."""
    function = await world.acme.function()
    good = {"functionId": function, "cron": "0 12 * jan-mar mon,7", "timezone": "UTC"}
    schedule = await world.acme.made("/v1/scheduled", good)
    for answer in (
        await world.acme.http.post("/v1/scheduled", json={**good, **members}),
        await world.acme.http.patch(f"/v1/scheduled/{schedule}", json=members),
    ):
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {field})
    odd = await world.acme.http.patch(f"/v1/scheduled/{schedule}", json={"active": "True"})
    assert set(odd.json()["fields"]) == {"active"}


async def test_tags(world: GreenCloudWorld) -> None:
    """Made, listed oldest first, changed, deleted; colours and names have rules."""
    acme = world.acme
    one = await acme.made("/v1/tag", {"name": "one"})
    two = await acme.made("/v1/tag", {"name": "two", "color": "#FfF"})
    listed = await acme.got("/v1/tag/list")
    assert listed[-2:] == [
        {"id": one, "name": "one", "color": "#00ff80"},
        {"id": two, "name": "two", "color": "#FfF"},
    ]
    assert (await acme.http.patch(f"/v1/tag/{one}", json={"color": "#12345678"})).status_code == 204
    assert (await acme.got("/v1/tag/list"))[-2] == {"id": one, "name": "one", "color": "#12345678"}
    for wrong, field in (
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "ü"}, "name"),
        ({"name": "x", "color": "red"}, "color"),
        ({"name": "x", "color": "#12"}, "color"),
        ({"name": "x", "color": "#12345"}, "color"),
    ):
        answer = await acme.http.post("/v1/tag", json=wrong)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {field})
    assert (await world.rival.http.delete(f"/v1/tag/{one}")).json()["error"] == "TAG_NOT_FOUND"
    assert (await acme.http.delete(f"/v1/tag/{one}")).status_code == 204
    assert (await acme.http.delete(f"/v1/tag/{one}")).status_code == 404
    assert await world.rival.got("/v1/tag/list") == []


async def test_metrics_and_nodes(world: GreenCloudWorld) -> None:
    """Counts of the account; nodes that somebody registered."""
    found = await world.rival.got("/v1/metrics")
    assert found["activeNodes"] == found["freeNodes"] + found["busyNodes"] == 1
    assert set(found) == {
        *("pendingTasks", "pendingBuilds", "activeNodes", "freeNodes", "busyNodes"),
        *("todayTasks", "completedTasks"),
    }
    assert (found["todayTasks"], found["completedTasks"]) == (0, 0)
    function = await world.rival.deployed(SAY)
    await world.rival.called(function)
    found = await world.rival.got("/v1/metrics")
    assert (found["todayTasks"], found["completedTasks"], found["pendingTasks"]) == (1, 1, 0)
    node = "1a061cfd-df01-4b02-a067-5122c5941e15"
    path = f"/v1/node/{node}"
    made = await world.acme.http.post(path, json={"description": "mine"})
    assert (made.status_code, made.content) == (201, b"")
    line = {"available": False, "description": "mine", "disabled": False, "hash": node}
    assert await world.acme.got("/v1/node/list") == [line]
    assert await world.rival.got("/v1/node/list") == []
    assert (await world.acme.http.delete(path)).status_code == 204
    assert (await world.acme.got("/v1/node/list"))[0]["disabled"]
    restored = await world.acme.http.patch(path)
    assert (restored.status_code, restored.content) == (200, b"")
    assert (await world.rival.http.patch(path)).json()["error"] == "NODE_NOT_FOUND"


async def test_accounts(world: GreenCloudWorld) -> None:
    """Fixed tokens in every form, keys for tokens that expire, and nobody else."""
    http = world.nobody.http
    path = "/v1/function/list"
    for header in ("acme-token", "Bearer acme-token", "bEaReR  acme-token", "acme-other"):
        assert (await http.get(path, headers={"authorization": header})).status_code == 200
    for header in ("", "Bearer", "acme", "Basic eDp5", "gc.acme.1.x", "x" * 9000):
        answer = await http.get(path, headers={"authorization": header})
        assert (answer.status_code, answer.json()["error"]) == (401, "NEEDS_LOGIN"), header
    unread = await http.post("/v1/function", content=b"{")
    assert unread.status_code == 401
    given = await http.post("/v1/auth/apiKey", json={"key": "acme-key"})
    assert (given.status_code, given.json()["expiresIn"]) == (200, 3590)
    token = given.json()["accessToken"]
    assert (await http.get(path, headers={"authorization": token})).status_code == 200
    forged = of_another_account(token)
    assert forged != token
    assert (await http.get(path, headers={"authorization": forged})).status_code == 401
    world.clock.shift_s += 3601
    assert (await http.get(path, headers={"authorization": token})).status_code == 401
    wrong = await http.post("/v1/auth/apiKey", json={"key": "nope"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "INVALID_CREDENTIALS")
    for body in ({}, {"key": 1}, {"key": None}):
        answer = await http.post("/v1/auth/apiKey", json=body)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {"key"})


async def test_paths(world: GreenCloudWorld) -> None:
    """Unknown ones, wrong methods, and the same below a prefix of the main listener."""
    unknown = await world.acme.http.get("/v1/nothing")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "NOT_FOUND")
    wrong = await world.acme.http.delete("/v1/metrics")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "METHOD_NOT_ALLOWED")
    assert "GET" in wrong.headers["allow"]
    assert await world.below.got("/v1/function/list") == await world.acme.got("/v1/function/list")
    assert isinstance(await world.dev.got("/v1/function/list"), list)
    key = await world.dev.http.post("/v1/auth/apiKey", json={"key": "dev"})
    assert key.status_code == 200


async def test_a_restart_in_the_middle(tmp_path: Path) -> None:
    """Tasks, their ids, results, endpoints and what follows them are all there afterwards."""
    async with opened(tmp_path / "data") as first:
        acme = first.acme
        slow = await acme.deployed(
            "import time\ndef handle(e, c):\n    time.sleep(1)\n    return e.body\n"
        )
        following = await acme.deployed(ECHO)
        await acme.made(
            "/v1/trigger", {"functionId": slow, "nextId": following, "includeResult": True}
        )
        endpoint = await acme.made(f"/v1/endpoint/{slow}", {"dailyLimit": 12})
        http = first.nobody.http
        tasks = [
            (await http.post(f"/gc/{endpoint}", content=str(n))).json()["id"] for n in range(12)
        ]
        token = (await http.post("/v1/auth/apiKey", json={"key": "acme-key"})).json()["accessToken"]
    async with opened(tmp_path / "data") as second:
        for number, task_id in enumerate(tasks):
            result = await second.acme.result(task_id)
            assert (result.status_code, result.text) == (200, str(number))
        await tasks_of(second, following, 12)
        assert len(await second.acme.got(f"/v1/task/list?functionId={following}")) == 12
        spent = await second.nobody.http.post(f"/gc/{endpoint}")
        assert spent.json()["error"] == "DAILY_LIMIT_REACHED"
        again = await second.nobody.http.get("/v1/metrics", headers={"authorization": token})
        assert again.status_code == 200
