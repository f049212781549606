"""What every route has in common: who asks, which workspace, errors, browsers."""

from typing import Any

import httpx2
import pytest
from gx_world import GxWorld, Space, opened

pytestmark = pytest.mark.anyio

FORBIDDEN = (403, {"message": "Forbidden"})
BAD_WORKSPACE = (400, {"message": "invalid workspace id"})
ROUTES = [
    ("GET", "/tasks"),
    ("POST", "/tasks"),
    ("DELETE", "/tasks/1"),
    ("DELETE", "/tasks/abc"),
    ("POST", "/tasks/flush"),
    ("GET", "/tasks/1"),
    ("GET", "/tasks/1/logs"),
    ("GET", "/ws/tasks"),
]
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
STREAM = "/ws/tasks"
OPEN = "access-control-allow-origin"


def said(answer: httpx2.Response) -> tuple[int, Any]:
    """Status and body; every answer is open to all origins, and JSON."""
    assert answer.headers.get_list(OPEN) == ["*"]
    if answer.status_code != 204:
        assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("method", "path", "headers"), [*((*route, {}) for route in ROUTES), ("GET", STREAM, UPGRADE)]
)
async def test_key_comes_first_then_workspace_then_the_rest(
    world: GxWorld, method: str, path: str, headers: dict[str, str]
) -> None:
    """403 whatever else is wrong, 400 for the workspace before anything the route checks."""
    for query in ("", "?api_key=", "?api_key=%20", "?api_key=no", "?API_KEY=dev", "?api_key=dev2"):
        for bad in ("", "workspace_id=a%20b"):
            url = path + (f"{query}&{bad}" if query else f"?{bad}")
            answer = await world.http.request(method, url, headers=headers)
            assert said(answer) == FORBIDDEN, url
    url = f"{path}?api_key=dev&workspace_id=a%20b"
    answer = await world.http.request(method, url, headers=headers)
    assert said(answer) == BAD_WORKSPACE


async def test_key_in_a_header_counts_for_nothing(world: GxWorld) -> None:
    """Only the parameter is a key."""
    for headers in ({"authorization": "Bearer dev"}, {"x-api-key": "dev"}, {"api_key": "dev"}):
        assert said(await world.http.get("/tasks", headers=headers)) == FORBIDDEN
        assert said(await world.http.get("/tasks?api_key=no", headers=headers)) == FORBIDDEN


async def test_white_space_around_parameters_is_nothing(world: GxWorld) -> None:
    """Both are trimmed; an empty workspace is the default one."""
    await world.space().create("gx.heavy")
    await world.space("w").create("gx.heavy", "in w")
    for query in (
        "api_key=dev",
        "api_key=%20dev%0A",
        "api_key=%09dev+&workspace_id=",
        "api_key=dev&workspace_id=%20%20",
        "api_key=dev&workspace_id=default",
        "api_key=dev&workspace_id=+default%09",
    ):
        answer = await world.http.get(f"/tasks?{query}")
        assert [task["name"] for task in answer.json()["tasks"]] == ["abc"], query
    answer = await world.http.get("/tasks?api_key=dev&workspace_id=%20w%0D%0A")
    assert [task["name"] for task in answer.json()["tasks"]] == ["in w"]


async def test_first_value_of_a_repeated_parameter_counts(world: GxWorld) -> None:
    """Of the key and of the workspace."""
    await world.space("first").create("gx.heavy", "first")
    query = "api_key=dev&workspace_id=first&api_key=no&workspace_id=a%20b"
    answer = await world.http.get(f"/tasks?{query}")
    assert [task["name"] for task in answer.json()["tasks"]] == ["first"]
    assert said(await world.http.get("/tasks?api_key=no&api_key=dev")) == FORBIDDEN
    assert said(await world.http.get("/tasks?api_key=&api_key=dev")) == FORBIDDEN
    again = await world.http.get("/tasks?api_key=dev&workspace_id=a%20b&workspace_id=first")
    assert said(again) == BAD_WORKSPACE


@pytest.mark.parametrize(
    "name", ["team_1", "A-z", "[x]", "^", "`", "\\", "]", "_", "-", "0", "Z" * 128]
)
async def test_pattern_is_taken_literally(world: GxWorld, name: str) -> None:
    """The six characters between Z and a are allowed."""
    answer = await world.http.get("/tasks", params={"api_key": "dev", "workspace_id": name})
    assert said(answer) == (200, {"tasks": []})


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a.b",
        "a/b",
        "ü",
        "\u0661\u0662",
        "a\nb",
        "a\0",
        "\0",
        "a\u200b",
        "a%",
        "Z" * 129,
        "\U0001d7d9",
        "é",
    ],
)
async def test_what_does_not_match_is_refused(world: GxWorld, name: str) -> None:
    """The whole value has to match, in ASCII, with 128 characters at most."""
    answer = await world.http.get("/tasks", params={"api_key": "dev", "workspace_id": name})
    assert said(answer) == BAD_WORKSPACE


async def test_bytes_that_are_no_text_are_refused(world: GxWorld) -> None:
    """Neither a key nor a workspace, and no defect."""
    assert said(await world.http.get("/tasks?api_key=%ff")) == FORBIDDEN
    answer = await world.http.get("/tasks?api_key=dev&workspace_id=%ff%fe")
    assert said(answer) == BAD_WORKSPACE


async def test_unknown_paths_and_wrong_methods(world: GxWorld) -> None:
    """404 and 405 with the exact texts, for whoever asks."""
    for path in ("/", "/nothing", "/tasks/1/2/3", "/ws", "/task", "/tasks/1/log"):
        assert said(await world.http.get(path)) == (404, {"message": "Not Found"}), path
    for method, path in (
        ("PUT", "/tasks"),
        ("DELETE", "/tasks"),
        ("PATCH", "/tasks/1"),
        ("POST", "/tasks/1"),
        ("PUT", "/tasks/flush"),
        ("POST", "/ws/tasks"),
        ("POST", "/stats"),
        ("DELETE", "/stats"),
    ):
        answer = await world.http.request(method, path)
        assert said(answer) == (405, {"message": "Method Not Allowed"}), (method, path)


@pytest.mark.parametrize(
    "path",
    ["/tasks", "/tasks/1", "/tasks/abc", "/tasks/flush", "/tasks/1/logs", "/ws/tasks", "/stats"],
)
async def test_preflight_is_answered_without_a_key(world: GxWorld, path: str) -> None:
    """204 with the methods and the header a browser asks for."""
    asks = {"origin": "http://elsewhere.test", "access-control-request-method": "POST"}
    answer = await world.http.options(path, headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers.get_list(OPEN) == ["*"]
    methods = {one.strip() for one in answer.headers["access-control-allow-methods"].split(",")}
    assert methods >= {"GET", "POST", "DELETE"}
    assert answer.headers["access-control-allow-headers"].lower() == "content-type"


async def test_preflight_of_an_unknown_path_is_open_too(world: GxWorld) -> None:
    """Whatever is answered, a page elsewhere may read it."""
    assert said(await world.http.options("/nothing"))[0] == 404


async def test_every_success_is_open_to_all_origins(world: GxWorld, space: Space) -> None:
    """Not only errors."""
    number = await space.create("gx.tiny")
    await space.create("gx.heavy")
    answers = [
        await space.post({"name": "n", "type": "gx.tiny"}),
        *[
            await world.http.get(path, params=space.query)
            for path in ("/tasks", f"/tasks/{number}", f"/tasks/{number}/logs", "/stats")
        ],
        await world.http.post("/tasks/flush", params=space.query),
    ]
    for answer in answers:
        assert answer.is_success
        assert answer.headers.get_list(OPEN) == ["*"], answer.url


async def test_stats_need_no_key(world: GxWorld) -> None:
    """Both instants, in RFC 3339."""
    status, stats = said(await world.http.get("/stats"))
    assert status == 200
    assert set(stats) == {"startedAt", "requestedAt"}
    assert stats["startedAt"] <= stats["requestedAt"]


async def test_the_same_below_the_prefix(world: GxWorld, space: Space) -> None:
    """The main listener serves it at ``/gx``, with the same workspaces."""
    await space.create("gx.heavy")
    async with httpx2.AsyncClient(base_url=world.main_url, trust_env=False) as http:
        answer = await http.get("/gx/tasks", params=space.query)
        assert [task["id"] for task in answer.json()["tasks"]] == [1]
        assert said(await http.get("/gx/nothing"))[1] == {"message": "Not Found"}
        assert said(await http.get("/gx/tasks")) == FORBIDDEN
        assert said(await http.put("/gx/tasks"))[0] == 405
        answer = await http.options("/gx/tasks/flush")
        assert (answer.status_code, answer.headers[OPEN]) == (204, "*")


async def test_workspaces_of_a_key_are_limited(tmp_path: Any) -> None:
    """One too many is 429 by whatever request; those that exist go on; other keys are others."""
    async with opened(tmp_path / "data", workspaces=2) as world:
        await world.space("a").tasks()
        await world.space("b").create()
        refused = (429, {"message": "too many workspaces"})
        for method, path in ROUTES:
            query = {"api_key": "dev", "workspace_id": "c"}
            assert said(await world.http.request(method, path, params=query)) == refused, path
        query = {"api_key": "dev", "workspace_id": "c"}
        answer = await world.http.get("/ws/tasks", params=query, headers=UPGRADE)
        assert said(answer) == refused
        await world.space("a").create()
        _, key = await world.key()
        assert await world.space("c", key).tasks() == []


async def test_a_reader_may_look_and_nothing_else(world: GxWorld) -> None:
    """A key that may not write is refused where something would change."""
    _, key = await world.key(role="read")
    reading = world.space("r", key)
    assert await reading.tasks() == []
    assert said(await reading.post({"name": "a", "type": "gx.tiny"})) == FORBIDDEN
    assert said(await reading.delete(1))[0] == 403
    answer = await world.http.post("/tasks/flush", params=reading.query)
    assert said(answer) == FORBIDDEN
