"""Functions and builds: every rule, and what bad input is told."""

import base64
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from greencloud_world import GreenCloudWorld, zipped

pytestmark = pytest.mark.anyio
NONE = "e" * 24
SOURCE = "def handle(event, context):\n    return {answer!r}\n"
CAPABILITIES = {
    "timeout": 10,
    "cpuCount": 0,
    "memSize": 0,
    "networkLatency": 0,
    "privileged": False,
}
GOOD: dict[str, Any] = {"name": "Abc1", "lang": "PY", "type": "DOCKER"}


async def test_a_new_function(world: GreenCloudWorld) -> None:
    """Its members and their defaults; names need not be unique."""
    first, second = await world.acme.function("Same"), await world.acme.function("Same")
    assert first != second
    found = await world.acme.got(f"/v1/function/{first}")
    created_at = found.pop("createdAt")
    assert created_at == str(int(first[:8], 16))
    assert found == {
        "id": first,
        "name": "Same",
        "description": "",
        "type": "docker",
        "lang": "py",
        "tags": [],
        "capabilities": CAPABILITIES,
        "metrics": {"todaysTasks": 0, "pendingTasks": 0, "weekTasks": 0, "completedTasks": 0},
        "paused": False,
        "deployed": False,
    }
    lines = await world.acme.got("/v1/function/list")
    assert [one["id"] for one in lines[:2]] == [second, first]
    assert set(lines[0]) == {"id", "name", "description", "lang", "tags", "createdAt"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a-b"}, "name"),
        ({"name": "ä"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"name": 5}, "name"),
        ({"description": "a\tb"}, "description"),
        ({"description": "a" * 81}, "description"),
        ({"description": "é"}, "description"),
        ({"description": []}, "description"),
        ({"tag": "x"}, "tag"),
        ({"tag": ["f" * 24]}, "tag"),
        ({"tag": [1]}, "tag"),
        ({"tags": [{"name": "x"}]}, "tags"),
        ({"lang": "py"}, "lang"),
        ({"lang": "PHP"}, "lang"),
        ({"lang": ["PY"]}, "lang"),
        ({"type": "docker"}, "type"),
        ({"type": None}, "type"),
    ],
)
async def test_rules_of_functions(
    world: GreenCloudWorld, change: dict[str, Any], field: str
) -> None:
    """What breaks one is named."""
    answer = await world.acme.http.post("/v1/function", json={**GOOD, **change})
    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_INPUT")
    assert set(answer.json()["fields"]) == {field}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b"1e999"])
async def test_bodies_that_are_no_objects(world: GreenCloudWorld, body: bytes) -> None:
    """400 on each route that expects one."""
    function = await world.acme.function()
    for method, path in (
        ("POST", "/v1/function"),
        ("PATCH", f"/v1/function/{function}"),
        ("POST", f"/v1/function/{function}/capabilities"),
        ("POST", "/v1/trigger"),
        ("POST", "/v1/scheduled"),
        ("POST", "/v1/tag"),
        ("POST", "/v1/auth/apiKey"),
        ("POST", "/v1/task"),
    ):
        answer = await world.acme.http.request(method, path, content=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_INPUT"), path
        assert "fields" not in answer.json()


async def test_editing(world: GreenCloudWorld) -> None:
    """Members not sent stay; the set of tags is replaced; a bad member changes nothing."""
    acme = world.acme
    one, two = [await acme.made("/v1/tag", {"name": name}) for name in ("one", "two")]
    function = await acme.function("Before", description="text", tag=[one])
    path = f"/v1/function/{function}"
    edited = await acme.http.patch(path, json={"name": "After", "unknown": 1})
    assert (edited.status_code, edited.content) == (204, b"")
    bad = await acme.http.patch(path, json={"name": "Third", "description": "\x00"})
    assert bad.status_code == 400
    found = await acme.got(path)
    assert (found["name"], found["description"]) == ("After", "text")
    assert [tag["name"] for tag in found["tags"]] == ["one"]
    assert (await acme.http.patch(path, json={"tag": [{"id": two}]})).status_code == 204
    assert [tag["id"] for tag in (await acme.got(path))["tags"]] == [two]
    twice = await acme.http.patch(path, json={"tag": [two, two]})
    assert set(twice.json()["fields"]) == {"tag"}
    assert [x["id"] for x in await acme.got(f"/v1/function/list?tag={two}")] == [function]
    assert await acme.got(f"/v1/function/list?tag={one}") == []
    assert await acme.got("/v1/function/list?tag=unknown") == []
    assert (await acme.http.patch(path, json={"tags": [one, {"id": two}]})).status_code == 204
    assert [tag["id"] for tag in (await acme.got(path))["tags"]] == [one, two]
    assert (await acme.http.patch(path, json={"tag": [two]})).status_code == 204
    await acme.http.delete(f"/v1/tag/{two}")
    assert (await acme.got(path))["tags"] == []
    assert await acme.got(f"/v1/function/list?tag={two}") == []


async def test_functions_of_others_do_not_exist(world: GreenCloudWorld) -> None:
    """Nor do those with ids that cannot be."""
    function = await world.acme.deployed()
    assert await world.rival.got("/v1/function/list") == []
    calls = [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/togglePause"),
        ("POST", "/restore"),
        ("GET", "/capabilities"),
        ("POST", "/capabilities"),
    ]
    for key in (function, NONE, "x", "A" * 24):
        for method, path in calls:
            answer = await world.rival.http.request(method, f"/v1/function/{key}{path}", json={})
            shown = (answer.status_code, answer.json()["error"])
            assert shown == (404, "FUNCTION_NOT_FOUND"), (method, path)
    assert (await world.acme.http.delete("/v1/function/list")).status_code == 404


async def test_capabilities(world: GreenCloudWorld) -> None:
    """Set one by one, shown with defaults; tasks keep those they were issued with."""
    acme = world.acme
    function = await acme.deployed(SOURCE.format(answer="x"))
    path = f"/v1/function/{function}/capabilities"
    assert await acme.got(path) == CAPABILITIES
    before = await acme.task(function)
    for sent in ({"timeout": 120, "cpuCount": 4}, {"memSize": 5}, {"privilaged": True}):
        assert (await acme.http.post(path, json=sent)).status_code == 204
    wanted = {**CAPABILITIES, "timeout": 120, "cpuCount": 4, "memSize": 5, "privileged": True}
    assert await acme.got(path) == wanted
    assert (await acme.http.post(path, json={"memSize": 128})).status_code == 204
    after = await acme.task(function)
    task = await acme.finished(after)
    assert (task["timeout"], task["status"]) == (120, 200)
    assert (task["capabilities"]["cpuCount"], task["capabilities"]["memSize"]) == (4, 128)
    assert (await acme.got(f"/v1/task/{before}"))["timeout"] == 10
    for wrong, field in (
        ({"timeout": 9}, "timeout"),
        ({"timeout": 121}, "timeout"),
        ({"timeout": 10.0}, "timeout"),
        ({"timeout": "10"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"cpuCount": 5}, "cpuCount"),
        ({"cpuCount": -1}, "cpuCount"),
        ({"memSize": 2049, "timeout": 30}, "memSize"),
        ({"memSize": 10**400}, "memSize"),
        ({"privileged": 1}, "privileged"),
    ):
        answer = await acme.http.post(path, json=wrong)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {field}), wrong
    assert (await acme.got(path))["timeout"] == 120


async def test_pausing(world: GreenCloudWorld) -> None:
    """Nothing new is taken; what is there stays readable."""
    acme = world.acme
    function = await acme.deployed(SOURCE.format(answer="x"))
    done = await acme.task(function)
    await acme.finished(done)
    toggle = f"/v1/function/{function}/togglePause"
    assert (await acme.http.post(toggle)).status_code == 204
    assert (await acme.got(f"/v1/function/{function}"))["paused"]
    refused = await acme.http.post(f"/v1/task/{function}")
    assert (refused.status_code, refused.json()["error"]) == (423, "FUNCTION_PAUSED")
    assert (await acme.result(done)).text == "x"
    assert (await acme.http.post(toggle)).status_code == 204
    assert (await acme.called(function)).text == "x"


async def test_deleting_and_restoring(world: GreenCloudWorld) -> None:
    """Queued tasks end, running ones go on, results stay; it comes back as it was."""
    acme = world.acme
    tag = await acme.made("/v1/tag", {"name": "kept"})
    source = "import time\ndef handle(e, c):\n    time.sleep(float(e.body))\n    return 'x'\n"
    function = await acme.deployed(source, tag=[tag])
    endpoint = await acme.made(f"/v1/endpoint/{function}")
    running = await acme.task(function, content="1.5")
    while (await acme.got(f"/v1/task/{running}"))["progress"] < 75:
        pass
    tasks = [await acme.task(function, content="1.5") for _ in range(12)]
    assert (await acme.http.delete(f"/v1/function/{function}")).status_code == 204
    assert (await acme.http.delete(f"/v1/function/{function}")).status_code == 404
    assert (await acme.http.get(f"/v1/endpoint/{endpoint}")).status_code == 404
    assert (await world.nobody.http.post(f"/gc/{endpoint}")).status_code == 404
    last = await acme.result(tasks[-1])
    assert (last.status_code, last.json()["error"]) == (500, "FUNCTION_ERROR")
    assert last.json()["message"] == "the function was deleted before the task started"
    assert (await acme.result(running)).text == "x"
    listed = {one["id"] for one in await acme.got("/v1/task/list")}
    assert {running, *tasks} <= listed
    restore = f"/v1/function/{function}/restore"
    for _ in range(2):
        assert (await acme.http.post(restore)).status_code == 204
    found = await acme.got(f"/v1/function/{function}")
    assert ([one["name"] for one in found["tags"]], found["deployed"]) == (["kept"], True)
    assert (await acme.called(function, content="0")).text == "x"
    assert (await acme.http.get(f"/v1/endpoint/{endpoint}")).status_code == 404


async def test_metrics_of_functions(world: GreenCloudWorld) -> None:
    """Today's, this week's, and finished tasks."""
    function = await world.acme.deployed(SOURCE.format(answer="x"))
    for _ in range(3):
        await world.acme.called(function)
    found = (await world.acme.got(f"/v1/function/{function}"))["metrics"]
    assert found == {"todaysTasks": 3, "pendingTasks": 0, "weekTasks": 3, "completedTasks": 3}


async def test_a_build(world: GreenCloudWorld) -> None:
    """Its timeline in order, its log, its line in the list; both layouts and a form are taken."""
    acme = world.acme
    function = await acme.function()
    built = await acme.build(function, zipped({"handler.py": SOURCE.format(answer="one")}))
    assert built["functionId"] == function
    assert built["arch"] == ["amd64"]
    assert [one["status"] for one in built["timeline"]] == ["PENDING", "BUILDING", "SUCCESS"]
    times = [one["time"] for one in built["timeline"]]
    assert times == sorted(times)
    assert all(time.endswith("Z") and len(time) == 20 for time in times)
    assert any("compiles" in line for line in built["log"])
    assert (await acme.called(function)).text == "one"
    inside = zipped(
        {
            "function/handler.py": "from extra import X\ndef handle(e, c): return X\n",
            "function/extra.py": "X = 'two'\n",
        }
    )
    form = await acme.http.post(
        f"/v1/build/{function}?arch=amd64", files={"file": ("x.zip", inside)}
    )
    assert form.status_code == 201
    while (await acme.got(f"/v1/build/{form.json()['id']}"))["status"] != "SUCCESS":
        pass
    assert (await acme.called(function)).text == "two"
    page = await acme.got(f"/v1/build/list?functionId={function}&limit=1")
    assert (page["pageCount"], page["pageSize"], page["totalCount"]) == (2, 1, 2)
    assert page["results"][0]["id"] == form.json()["id"]
    assert set(page["results"][0]) == {"id", "functionId", "status", "createdAt"}
    assert (await world.rival.http.get(f"/v1/build/{form.json()['id']}")).status_code == 404
    assert (await world.rival.got("/v1/build/list"))["totalCount"] == 0


def _linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("handler.py")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("handler.py")
        info.size = len(SOURCE)
        archive.addfile(info, io.BytesIO(SOURCE.encode()))
    return buffer.getvalue()


BAD = {
    "no zip": SOURCE.encode(),
    "base64": base64.b64encode(zipped({"handler.py": SOURCE})),
    "tar": _tar(),
    "cut": zipped({"handler.py": SOURCE})[:-30],
    "up": zipped({"../handler.py": SOURCE}),
    "absolute": zipped({"/handler.py": SOURCE}),
    "link": _linked(),
    "empty": zipped({}),
    "no handler": zipped({"other.py": SOURCE}),
    "no python": zipped({"handler.py": "def handle(:"}),
    "bomb": zipped({"handler.py": SOURCE, "zeros": bytes((256 << 20) + 1)}, zipfile.ZIP_DEFLATED),
    "no package": zipped({"handler.py": SOURCE, "requirements.txt": "./there-is-none\n"}),
}


async def test_bad_builds_change_nothing(world: GreenCloudWorld) -> None:
    """Each fails with words, and what was deployed before stays in use."""
    acme = world.acme
    function = await acme.deployed(SOURCE.format(answer="good"))
    for name, archive in BAD.items():
        built = await acme.build(function, archive)
        assert built["status"] == "FAILED", name
        assert built["log"], name
    assert (await acme.called(function)).text == "good"
    path = f"/v1/build/{function}"
    archive = zipped({"handler.py": SOURCE})
    for query in ("", "?arch=arm64", "?arch="):
        answer = await acme.http.post(path + query, content=archive)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {"arch"})
    empty = await acme.http.post(f"{path}?arch=amd64")
    assert empty.status_code == 400
    form = {"content-type": "multipart/form-data; boundary=x"}
    broken = await acme.http.post(f"{path}?arch=amd64", content=b"--y\r\n", headers=form)
    assert broken.status_code == 400
    for key in (NONE, "list"):
        unknown = await acme.http.post(f"/v1/build/{key}?arch=amd64", content=archive)
        assert (unknown.status_code, unknown.json()["error"]) == (404, "FUNCTION_NOT_FOUND")
    assert (await acme.http.get(f"/v1/build/{NONE}")).json()["error"] == "BUILD_NOT_FOUND"


async def test_large_uploads(world: GreenCloudWorld) -> None:
    """50 MiB are taken, more than 64 are not."""
    acme = world.acme
    function = await acme.function()
    large = zipped({"handler.py": SOURCE.format(answer="big"), "data": bytes(50 << 20)})
    assert (await acme.build(function, large))["status"] == "SUCCESS"
    answer = await acme.http.post(f"/v1/build/{function}?arch=amd64", content=bytes((64 << 20) + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await acme.called(function)).text == "big"


@pytest.mark.parametrize("lang", ["GO", "CS", "RB", "RS"])
async def test_languages_without_a_tool_chain(
    world: GreenCloudWorld, lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be created; their builds fail and say why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    function = await world.acme.function(lang=lang)
    assert (await world.acme.got(f"/v1/function/{function}"))["lang"] == lang.lower()
    built = await world.acme.build(function, zipped({"handler.x": "x"}))
    assert built["status"] == "FAILED"
    assert any("no tool chain" in line for line in built["log"])
    assert (await world.acme.http.post(f"/v1/task/{function}")).status_code == 409


async def test_pages(world: GreenCloudWorld) -> None:
    """By query or body; the query wins; numbers out of range are refused."""
    acme = world.acme
    function = await acme.function()
    ids = [await acme.made(f"/v1/endpoint/{function}") for _ in range(5)]
    got = await acme.got(f"/v1/endpoint/list?functionId={function}&limit=2&page=3")
    assert [one["id"] for one in got["results"]] == [ids[0]]
    assert (got["pageCount"], got["totalCount"]) == (3, 5)
    body = {"functionId": function, "limit": 2, "page": 1}
    answer = await acme.http.request("GET", "/v1/endpoint/list", json=body)
    assert [one["id"] for one in answer.json()["results"]] == [ids[4], ids[3]]
    answer = await acme.http.request("GET", "/v1/endpoint/list?page=9", json=body)
    assert (answer.status_code, answer.json()["results"]) == (200, [])
    trigger = {"functionId": function, "nextId": function, "includeResult": False}
    schedule = {"functionId": function, "cron": "0 0 1 1 *", "timezone": "UTC"}
    for _ in range(3):
        await acme.made("/v1/trigger", trigger)
        await acme.made("/v1/scheduled", schedule)
        await acme.build(function, zipped({"handler.py": SOURCE}))
    for kind in ("build", "trigger", "scheduled"):
        path = f"/v1/{kind}/list"
        wanted = {"functionId": function, "limit": 2, "page": 2}
        by_body = (await acme.http.request("GET", path, json=wanted)).json()
        assert await acme.got(path, params=wanted) == by_body
        numbers = [by_body[name] for name in ("pageCount", "pageSize", "totalCount")]
        assert (numbers, len(by_body["results"])) == ([2, 2, 3], 1)
    for wrong in ("page=0", "page=x", "limit=0", "limit=1000", "limit=-1", "page=1.0", "page="):
        for kind in ("build", "endpoint", "trigger", "scheduled"):
            answer = await acme.http.get(f"/v1/{kind}/list?{wrong}")
            assert answer.status_code == 400, wrong
    for bad in ({"page": "1"}, {"limit": 2.0}, {"page": True}):
        answer = await acme.http.request("GET", "/v1/endpoint/list", json=bad)
        assert answer.status_code == 400, bad
