"""Credentials, roles and conventions: sections 2 and 3 of the contract, over HTTP."""

import base64
from pathlib import Path

import httpx2
import pytest
from drove_world import OP_SPEC, DroveWorld, opened, spec

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.ids import WorkspaceName

pytestmark = pytest.mark.anyio
OWNER = Caller("token owner", INSTALLATION, Role.READ, installation=Role.ADMIN)

READS = (
    "/ping",
    "/tasks",
    "/tasks/A/instances/B",
    "/cluster",
    "/cluster/dashboard",
    "/cluster/executors",
    "/cluster/executors/x",
    "/cluster/events",
    "/cluster/events/latest",
    "/cluster/events/summary",
    "/endpoints",
    "/applications",
    "/localservices",
)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic !!",
        "Basic " + base64.b64encode(b"admin:wrong").decode(),
        "Bearer wrong",
        "O-Bearer something",
        "Negotiate x",
    ],
)
async def test_everything_needs_a_credential(world: DroveWorld, authorization: str | None) -> None:
    """Ping too; refused in plain text, with a challenge."""
    headers = {} if authorization is None else {"authorization": authorization}
    async with world.client(None, headers=headers) as nobody:
        # Not all of them: wrong passwords are slowed down.
        for path in ("/ping", "/tasks", "/cluster"):
            answer = await nobody.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="realm"'
            assert answer.headers["content-type"].startswith("text/plain")
            assert "\n" not in answer.text


async def test_scheme_names_have_no_case_and_tokens_do_too(world: DroveWorld) -> None:
    """Of Basic and Bearer alike."""
    pair = base64.b64encode(b"admin:admin").decode()
    for authorization in (f"bAsIc {pair}", "bearer dev", "Bearer dev"):
        async with world.client(None, headers={"authorization": authorization}) as somebody:
            assert (await somebody.get("/ping")).json()["data"] == "pong"


async def test_roles_have_what_the_contract_lists_and_inherit_nothing(world: DroveWorld) -> None:
    """The table of section 3; what concerns all workspaces has a test of its own."""
    await world.create("T1", "hang")
    await world.running()
    clients = await world.users()
    log = "/logfiles/tasks/APP/T1/list"
    form = {"taskSearchAppName": "A", "taskSearchTaskID": "B"}

    async def status(who: str, method: str, path: str, **more: object) -> int:
        answer = await clients[who].request(method, path, **more)  # type: ignore[arg-type]  # httpx2
        if answer.status_code == 403:
            assert answer.content == b""
        return answer.status_code

    async def allowed(method: str, path: str, **more: object) -> set[str]:
        return {one for one in clients if await status(one, method, path, **more) != 403}

    everybody = {"root", "writer", "keeper", "reader"}
    for path in READS:
        assert await allowed("GET", path) == everybody
    assert await allowed("POST", "/tasks/search", data=form) == everybody
    assert await allowed("POST", "/tasks/validate/spec", json=spec()) == everybody
    operation = {"type": "KILL", "sourceAppName": "A", "taskId": "B", "opSpec": OP_SPEC}
    assert await allowed("POST", "/tasks/operations", json=operation) == {"root", "writer"}
    assert await allowed("DELETE", "/tasks/A/instances/B") == {"root", "writer"}
    assert await allowed("GET", log) == {"root", "writer", "reader"}
    for client in clients.values():
        await client.aclose()


async def test_cluster_operations_need_a_role_of_the_installation(world: DroveWorld) -> None:
    """No role of a workspace will do, not even ROOT; operators keep out of tasks."""
    clients = {**await world.users(), **await world.operators()}
    for path in (
        "/cluster/executors/blacklist?id=x",
        "/cluster/executors/unblacklist?id=x",
        "/cluster/executors/x/blacklist",
        "/cluster/executors/x/unblacklist",
        "/cluster/maintenance/set",
        "/cluster/maintenance/unset",
    ):
        for name, client in clients.items():
            answer = await client.post(path)
            expected = 200 if name in {"oncall", "owner"} else 403
            assert (answer.status_code, bool(answer.content)) == (expected, expected == 200), name
    await world.create("T1", "hang")
    create = {"type": "CREATE", "spec": spec("T2", "hang"), "opSpec": OP_SPEC}
    for name in ("watcher", "oncall", "owner"):
        assert (await clients[name].post("/tasks/operations", json=create)).status_code == 403
        assert (await clients[name].get("/tasks")).json()["data"] == []
        assert (await clients[name].get("/cluster/executors")).json()["data"]
    trail = await world.wired.engine.audit.page(OWNER, None, 200)
    done = [entry for entry in trail if entry.outcome == "done"]
    assert {entry.action for entry in done if entry.actor == "user oncall"} == {
        "maintenance.set",
        "maintenance.unset",
    }
    for client in clients.values():
        await client.aclose()


async def test_refusals_are_in_the_audit_trail(world: DroveWorld) -> None:
    """Of each route, whoever decided; in the trail of the workspace."""
    await world.guest.post("/tasks/operations", content=b"{")
    await world.guest.post("/cluster/maintenance/set")
    local = Caller("local", WorkspaceName("default"), Role.ADMIN)
    trail = await world.wired.engine.audit.page(local)
    assert [(entry.actor, entry.action, entry.target, entry.outcome) for entry in trail] == [
        ("user guest", "drove.request", f"POST {path}", "refused")
        for path in ("/apis/v1/cluster/maintenance/set", "/apis/v1/tasks/operations")
    ]


async def test_guessing_is_slowed_down(world: DroveWorld) -> None:
    """429 with Retry-After in the envelope, before anything is verified; who is known goes on."""
    clients = await world.users()
    assert (await clients["writer"].get("/ping")).status_code == 200
    answers = []
    for n in range(7):
        async with world.client("root", f"wrong {n}") as guesser:
            answers.append(await guesser.get("/ping"))
    assert [one.status_code for one in answers] == [401] * 5 + [429] * 2
    answer = answers[-1]
    assert answer.json()["status"] == "FAILED"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await clients["root"].get("/ping")).status_code == 429
    assert (await clients["writer"].get("/ping")).status_code == 200
    for client in clients.values():
        await client.aclose()


async def test_the_role_comes_before_the_body(world: DroveWorld) -> None:
    """Whoever may not write learns nothing about what is wrong."""
    answer = await world.guest.post("/tasks/operations", content=b"{")
    assert (answer.status_code, answer.content) == (403, b"")


async def test_logs_can_be_opened_to_all(tmp_path: Path) -> None:
    """By a setting."""
    async with opened(tmp_path, open_logs=True) as world:
        clients = await world.users()
        answer = await clients["keeper"].get("/logfiles/tasks/A/B/list")
        assert answer.status_code == 204
        for client in clients.values():
            await client.aclose()


async def test_authentication_can_be_switched_off(tmp_path: Path) -> None:
    """Then everybody may do everything."""
    async with opened(tmp_path, anonymous=True) as world, world.client(None) as nobody:
        answer = await nobody.post(
            "/tasks/operations", json={"type": "CREATE", "spec": spec(), "opSpec": OP_SPEC}
        )
        assert answer.status_code == 200
        assert (await nobody.post("/cluster/maintenance/set")).status_code == 200


async def test_other_workspaces_see_nothing(world: DroveWorld) -> None:
    """Not in the list, not alone, not in events, and cannot kill."""
    await world.create("T1", "hang")
    local = Caller("local", WorkspaceName("default"), Role.ADMIN)
    _, token = await world.wired.engine.access.create_token(
        local, "t", Role.WRITE, WorkspaceName("other")
    )
    async with world.client(None, headers={"authorization": f"Bearer {token}"}) as other:
        assert (await other.get("/tasks")).json()["data"] == []
        assert (await other.get("/tasks/APP/instances/T1")).json()["status"] == "FAILED"
        events = (await other.get("/cluster/events")).json()["data"]
        assert all(one["type"] != "TASK_STATE_CHANGE" for one in events)
        kill = {"type": "KILL", "sourceAppName": "APP", "taskId": "T1", "opSpec": OP_SPEC}
        assert (await other.post("/tasks/operations", json=kill)).status_code == 400
        create = {"type": "CREATE", "spec": spec("T1", "hang"), "opSpec": OP_SPEC}
        assert (await other.post("/tasks/operations", json=create)).status_code == 200


async def test_wrong_paths_methods_and_types_have_empty_answers(world: DroveWorld) -> None:
    """404, 405 with what is allowed, 415."""
    unknown = await world.api.get("/nothing")
    assert (unknown.status_code, unknown.content) == (404, b"")
    wrong = await world.api.put("/tasks")
    assert (wrong.status_code, wrong.content) == (405, b"")
    assert "GET" in wrong.headers["allow"]
    for path, kind in (("/tasks/operations", "text/plain"), ("/tasks/search", "application/json")):
        answer = await world.api.post(path, content=b"{}", headers={"content-type": kind})
        assert (answer.status_code, answer.content) == (415, b"")


async def test_bodies_have_a_limit(world: DroveWorld) -> None:
    """Told in the envelope."""
    answer = await world.api.post(
        "/tasks/operations", content=b" " * (9 << 20), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["status"]) == (413, "FAILED")


async def test_the_prefix_and_the_root_serve_the_same(world: DroveWorld) -> None:
    """Trailing slashes are taken; both listeners show one cluster."""
    await world.create("T1", "hang")
    async with world.client("admin", "admin", base_url=world.main_url) as below:
        assert [one["taskId"] for one in (await below.get("/tasks")).json()["data"]] == ["T1"]
        assert (await below.get("/tasks/")).status_code == 200
        events = (await below.get("/cluster/events")).json()["data"]
    assert [one["id"] for one in events] == [
        one["id"] for one in await world.get("/cluster/events")
    ]


@pytest.mark.parametrize(("app", "task", "end"), [("APP", "T1", "/tasks/APP/T1"), ("X", "Y", "/")])
async def test_search_leads_below_the_prefix(
    world: DroveWorld, app: str, task: str, end: str
) -> None:
    """To the page of a task that is there, otherwise to the root; also behind a proxy's prefix."""
    await world.create("T1", "hang")
    data = {"taskSearchAppName": app, "taskSearchTaskID": task}
    answer = await world.api.post("/tasks/search", data=data)
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, end, b"")
    async with world.client("admin", "admin", base_url=world.main_url) as below:
        answer = await below.post("/tasks/search", data=data)
        assert answer.headers["location"] == "/drove" + end
        headers = {"x-forwarded-prefix": "/outside/"}
        answer = await below.post("/tasks/search", data=data, headers=headers)
        assert answer.headers["location"] == "/outside/drove" + end
        page = await below.get(httpx2.URL(world.server_url + "/drove" + end))
        assert page.status_code == (303 if end != "/" else 200)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ({}, 2),
        ({"taskSearchAppName": "A"}, 1),
        ({"taskSearchAppName": "a b", "taskSearchTaskID": "../x"}, 2),
    ],
)
async def test_search_fields_are_checked(
    world: DroveWorld, data: dict[str, str], count: int
) -> None:
    """Each violation names its form field."""
    answer = await world.api.post(
        "/tasks/search", data=data, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    problems = answer.json()["data"]["validationErrors"]
    assert len(problems) == count
    assert all(one.startswith("form field taskSearch") for one in problems)
