"""Tasks and their results, as clients of the original meet them."""

import re
from typing import NoReturn

import pytest
from greencloud_world import ECHO, GreenCloudWorld, zipped

from eventually import eventually_async
from taskyard.core.access.principals import Caller
from taskyard.core.errors import Overloaded
from taskyard.dialects.http.streams import Streams

pytestmark = pytest.mark.anyio
ID = re.compile(r"[0-9a-f]{24}\Z")
NODE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
HEADERS = {"authorization": "x", "cookie": "y", "prefer": "z", "gc-task-id": "forged"}
NONE = "f" * 24


@pytest.fixture(scope="module")
async def echo(world: GreenCloudWorld) -> str:
    """A function that answers with what it was asked."""
    return await world.acme.deployed(ECHO)


async def test_a_task_has_the_members_of_both_originals(world: GreenCloudWorld, echo: str) -> None:
    """Eleven members, each in its format, and a line in the list."""
    task_id = await world.acme.task(echo, content=b"{}")
    assert ID.match(task_id)
    task = await world.acme.finished(task_id)
    assert set(task) == {
        *("functionId", "lambdaId", "issued", "assigned", "finished", "progress", "node"),
        *("timeout", "capabilities", "id", "status"),
    }
    assert task["functionId"] == task["lambdaId"] == echo
    assert task["id"] == task_id
    assert int(task["issued"]) <= int(task["assigned"]) <= int(task["finished"])
    assert int(task_id[:8], 16) == int(task["issued"])
    assert NODE.match(task["node"])
    assert (task["timeout"], task["status"]) == (10, 200)
    assert task["capabilities"] == {
        "cpuCount": 0,
        "memSize": 0,
        "networkLatency": 0,
        "privileged": False,
    }
    lines = await world.acme.got("/v1/task/list")
    assert lines[-1] == {
        "id": task_id,
        "issued": task["issued"],
        "progress": 100,
        "status": 200,
    }
    ours = await world.acme.got("/v1/task/list", params={"functionId": echo, "limit": 1})
    assert len(ours) == 1
    assert await world.rival.got("/v1/task/list") == []


async def test_before_the_end_there_is_no_result(world: GreenCloudWorld) -> None:
    """404 with the state; progress is what the function says."""
    function = await world.acme.deployed(
        "import time\n"
        "def handle(event, context):\n"
        "    context.progress(50)\n"
        "    for _ in range(150): time.sleep(0.02)\n"
        "    return 'x'\n"
    )
    task_id = await world.acme.task(function)
    early = await world.acme.http.get(f"/v1/task/{task_id}/result")
    assert (early.status_code, early.json()["error"]) == (404, "RESULT_NOT_READY")
    assert early.headers["retry-after"] == "1"
    assert early.headers["gc-task-id"] == task_id
    assert early.headers["gc-task-state"] in {"queued", "assigned", "running"}
    await eventually_async(
        lambda: world.acme.got(f"/v1/task/{task_id}"), lambda task: task["progress"] == 75 + 12
    )
    assert (await world.acme.result(task_id)).text == "x"


async def test_unknown_tasks_and_functions(world: GreenCloudWorld, echo: str) -> None:
    """Malformed, unknown and foreign ids are all the same."""
    task_id = await world.acme.task(echo)
    for account, key in (
        *((world.acme, one) for one in (NONE, "x", "list%20", "%00", "ü", "a" * 5000)),
        (world.rival, task_id),
    ):
        for path in (f"/v1/task/{key}", f"/v1/task/{key}/result"):
            answer = await account.http.get(path)
            assert (answer.status_code, answer.json()["error"]) == (404, "TASK_NOT_FOUND"), path
            assert "gc-task-id" not in answer.headers
    for account, key in ((world.acme, NONE), (world.acme, "list"), (world.rival, echo)):
        answer = await account.http.post(f"/v1/task/{key}")
        assert (answer.status_code, answer.json()["error"]) == (404, "FUNCTION_NOT_FOUND")
    assert (await world.acme.http.put(f"/v1/task/{echo}")).status_code == 405
    assert "POST" in (await world.acme.http.put(f"/v1/task/{echo}")).headers["allow"]


async def test_errors_come_in_order(world: GreenCloudWorld) -> None:
    """401, 404, 423, 409, 402, 413."""
    poor = world.poor
    function = await poor.function()
    path = f"/v1/task/{function}"
    large = b"x" * ((10 << 20) + 1)
    nobody = await world.nobody.http.post(path, content=large)
    assert (nobody.status_code, nobody.json()["error"]) == (401, "NEEDS_LOGIN")
    assert nobody.headers["www-authenticate"] == "Bearer"
    await poor.http.post(f"/v1/function/{function}/togglePause")
    assert (await poor.http.post(path, content=large)).status_code == 423
    await poor.http.post(f"/v1/function/{function}/togglePause")
    no_runner = await poor.http.post(path, content=large)
    assert (no_runner.status_code, no_runner.json()["error"]) == (409, "NO_RUNNER")
    other = await poor.deployed("def handle(event, context): return 'x'\n")
    too_large = await poor.http.post(f"/v1/task/{other}", content=large)
    assert (too_large.status_code, too_large.json()["error"]) == (413, "PAYLOAD_TOO_LARGE")
    for _ in range(2):
        await poor.task(other)
    spent = await poor.http.post(f"/v1/task/{other}", content=large)
    assert (spent.status_code, spent.json()["error"]) == (402, "NO_QUOTA_AVAILABLE")


async def test_waiting_for_the_result(world: GreenCloudWorld, echo: str) -> None:
    """``Prefer: wait`` answers with the result, or with the id if it takes longer."""
    waited = await world.acme.http.post(
        f"/v1/task/{echo}?wait=1", content=b"x", headers={"prefer": "respond-async, wait=30"}
    )
    assert waited.status_code == 200
    assert waited.headers["preference-applied"] == "wait"
    assert waited.json()["query"] == "wait=1"
    assert "prefer" not in waited.json()["headers"]
    slow = await world.acme.deployed("import time\ndef handle(e, c): time.sleep(1)\n")
    late = await world.acme.http.post(f"/v1/task/{slow}", headers={"prefer": "wait=0.05"})
    assert (late.status_code, set(late.json())) == (201, {"id"})
    assert "preference-applied" not in late.headers


async def test_too_many_that_wait_are_answered_at_once(
    world: GreenCloudWorld, echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the id; the task was created, and waiting is only a preference."""

    def full(_self: Streams, _caller: Caller) -> NoReturn:
        raise Overloaded("too many wait", 1.0)

    monkeypatch.setattr(Streams, "waiting", full)
    prompt = await world.acme.http.post(f"/v1/task/{echo}", headers={"prefer": "wait=30"})
    assert (prompt.status_code, set(prompt.json())) == (201, {"id"})
    assert "preference-applied" not in prompt.headers


async def test_the_create_of_the_first_generation(world: GreenCloudWorld, echo: str) -> None:
    """The function's id and the payload in the body, and a timeout of its own."""
    body = {"lambdaId": echo, "timeout": 20, "inlinePayload": "hello"}
    task_id = await world.acme.made("/v1/task", body)
    assert (await world.acme.result(task_id)).json()["body"] == "hello"
    assert (await world.acme.got(f"/v1/task/{task_id}"))["timeout"] == 20
    for wrong, field in (
        ({"lambdaId": echo, "timeout": 9}, "timeout"),
        ({"timeout": 10}, "functionId"),
        ({"functionId": echo, "inlinePayload": 1}, "inlinePayload"),
    ):
        answer = await world.acme.http.post("/v1/task", json=wrong)
        assert (answer.status_code, set(answer.json()["fields"])) == (400, {field})


async def test_what_a_function_keeps(world: GreenCloudWorld) -> None:
    """``GC-Storage`` is given to the next task, never shown, and bounded."""
    function = await world.acme.deployed(
        "import base64\n"
        "def handle(event, context):\n"
        "    seen = event.headers.get('gc-storage')\n"
        "    said = event.body.decode()\n"
        "    headers = {} if said == '-' else {'GC-Storage': said}\n"
        "    size = {'huge': 1048577, 'full': 1048576}.get(said)\n"
        "    if size: headers = {'GC-Storage': base64.b64encode(b'x' * size).decode()}\n"
        "    shown = seen if seen is None or len(seen) < 100 else len(seen)\n"
        "    return {'statusCode': 202, 'headers': headers, 'body': [shown]}\n"
    )

    async def say(word: str) -> tuple[int, object]:
        result = await world.acme.called(function, content=word)
        assert "gc-storage" not in result.headers
        return result.status_code, result.json()[0] if result.status_code == 202 else None

    assert await say("aGk=") == (202, None)
    assert await say("-") == (202, "aGk=")
    assert await say("%%%") == (500, None)
    assert await say("huge") == (500, None)
    assert await say("full") == (202, "aGk=")
    assert await say("") == (202, 1398104)
    assert await say("-") == (202, None)


async def test_a_pause_leaves_the_queue_and_new_code_answers_it(world: GreenCloudWorld) -> None:
    """What was queued starts after the pause, with the build that is the newest then."""
    acme = world.acme
    source = "import time\ndef handle(e, c):\n    time.sleep(0.5)\n    return {answer!r}\n"
    function = await acme.deployed(source.format(answer="old"))
    tasks = [await acme.task(function) for _ in range(24)]
    toggle = f"/v1/function/{function}/togglePause"
    assert (await acme.http.post(toggle)).status_code == 204
    await acme.build(function, zipped({"handler.py": source.format(answer="new")}))
    assert (await acme.result(tasks[0])).text == "old"
    last = await acme.got(f"/v1/task/{tasks[-1]}")
    assert (last["progress"], last["assigned"], last["node"], last["status"]) == (0, "", "", 0)
    metrics = (await acme.got(f"/v1/function/{function}"))["metrics"]
    assert metrics["pendingTasks"] > 0
    assert (await acme.http.post(toggle)).status_code == 204
    assert (await acme.result(tasks[-1])).text == "new"


async def test_killed_through_the_native_api(world: GreenCloudWorld) -> None:
    """500, and the message says so."""
    function = await world.dev.deployed("import time\ndef handle(e, c): time.sleep(9)\n")
    task_id = await world.dev.task(function)
    await eventually_async(
        lambda: world.dev.got(f"/v1/task/{task_id}"), lambda task: task["progress"] >= 75
    )
    items = (await world.native.got("/tasks?limit=5"))["items"]
    assert (await world.native.http.post(f"/tasks/{items[0]['id']}/cancel")).is_success
    result = await world.dev.result(task_id)
    assert (result.status_code, result.json()["message"]) == (500, "the task was killed")


async def test_an_id_leads_to_the_task_in_the_native_api(world: GreenCloudWorld) -> None:
    """In all its routes, in the own workspace alone; a retry there is a task here as well."""
    function = await world.dev.deployed(
        "def handle(request):\n    raise ValueError(request.text)\n"
    )
    task_id = await world.dev.task(function, content=b"odd")
    await world.dev.finished(task_id)
    task = await world.native.got(f"/tasks/{task_id}")
    assert (task["runtime"], task["state"], len(task["id"])) == ("function", "failed", 36)
    (attempt,) = (await world.native.got(f"/tasks/{task_id}/attempts"))["items"]
    assert attempt["task_id"] == task["id"]
    assert (await world.native.http.get(f"/tasks/{task_id}/logs/stdout")).status_code == 200
    request = await world.native.got(f"/tasks/{task_id}/request")
    assert (request["method"], request["body"], request["body_base64"]) == ("POST", "odd", None)
    retried = await world.native.http.post(f"/tasks/{task_id}/retry")
    assert (retried.status_code, retried.json()["retry_of"]) == (201, task["id"])
    lines = await world.dev.got("/v1/task/list", params={"functionId": function})
    assert lines[0]["id"] == task_id
    (_, again) = [line["id"] for line in lines]
    await world.dev.finished(again)
    assert (await world.native.got(f"/tasks/{again}"))["id"] == retried.json()["id"]
    for unknown in (NONE, await world.acme.task(await world.acme.deployed(ECHO))):
        answer = await world.native.http.get(f"/tasks/{unknown}")
        assert (answer.status_code, unknown in answer.text) == (404, True)
