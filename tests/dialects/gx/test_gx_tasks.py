"""Create, delete, flush and list: the tables of errors, row by row, and what ids and names are."""

import json
from typing import Any

import httpx2
import pytest
from gx_world import GxWorld, Space, all_of

pytestmark = pytest.mark.anyio

BODY = "invalid request body"
NAME = "name is required"
TYPE = "invalid task type"
LONG = "name is too long"
GOOD = {"name": "abc", "type": "gx.tiny"}
TOO_LONG = "x" * 1025


def refused(answer: httpx2.Response) -> tuple[int, str]:
    """Status and message."""
    assert answer.headers["access-control-allow-origin"] == "*"
    document = answer.json()
    assert set(document) == {"message"}
    return answer.status_code, document["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # Not JSON, not an object, wrong types: first of all.
        (b"{", BODY),
        (b"null", BODY),
        (b"[]", BODY),
        (b'"abc"', BODY),
        (b"1", BODY),
        (b"\xff", BODY),
        (b'{"name":"\xff","type":"gx.tiny"}', BODY),
        (b'{"name":"a","type":"gx.tiny"} x', BODY),
        (b"[" * 100_000, BODY),
        ({"name": 1, "type": "gx.tiny"}, BODY),
        ({"name": ["a"], "type": "nonsense"}, BODY),
        ({"name": "", "type": 1}, BODY),
        ({"name": TOO_LONG, "type": False}, BODY),
        ({"name": True}, BODY),
        ({**GOOD, "command": 1}, BODY),
        ({**GOOD, "command": ["a", 1]}, BODY),
        ({**GOOD, "command": {}}, BODY),
        ({**GOOD, "image": 1}, BODY),
        ({**GOOD, "function": []}, BODY),
        ({**GOOD, "env": []}, BODY),
        ({**GOOD, "env": {"A": 1}}, BODY),
        ({**GOOD, "input": 1}, BODY),
        ({"command": 1}, BODY),
        # Then the name.
        (b"", NAME),
        ({}, NAME),
        ({"type": "gx.tiny"}, NAME),
        ({"name": None, "type": "gx.tiny"}, NAME),
        ({"name": "", "type": "gx.tiny"}, NAME),
        ({"name": "", "type": "nonsense"}, NAME),
        ({"name": None, "type": None}, NAME),
        # Then the type.
        ({"name": "a"}, TYPE),
        ({"name": "a", "type": None}, TYPE),
        ({"name": "a", "type": ""}, TYPE),
        ({"name": "a", "type": "tiny"}, TYPE),
        ({"name": "a", "type": "GX.TINY"}, TYPE),
        ({"name": "a", "type": " gx.tiny"}, TYPE),
        ({"name": "a", "type": "gx.tiny\n"}, TYPE),
        ({"name": "a", "type": "default"}, TYPE),
        ({"name": TOO_LONG, "type": "gx.huge"}, TYPE),
        # Then the length.
        ({"name": TOO_LONG, "type": "gx.tiny"}, LONG),
        ({"name": TOO_LONG, "type": "gx.tiny", "image": "i"}, LONG),
    ],
)
async def test_bad_body_is_refused_and_creates_nothing(
    space: Space, body: Any, message: str
) -> None:
    """In the order of the table, with the exact texts; no id is used up."""
    assert refused(await space.post(body)) == (400, message)
    assert await space.tasks() == []
    assert await space.create() == 1


async def test_large_body_is_413(space: Space) -> None:
    """Past 1 MiB, announced or not, whatever is in it; 1 MiB itself is taken."""
    start = json.dumps(GOOD).encode()[:-1] + b',"x":"'
    fits = start + b"y" * ((1 << 20) - len(start) - 2) + b'"}'
    assert len(fits) == 1 << 20
    assert (await space.post(fits)).status_code == 200
    assert refused(await space.post(fits + b" "))[0] == 413
    assert refused(await space.post(b"{" * (1 << 21)))[0] == 413

    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * (1 << 15)

    answer = await space.http.post("/tasks", params=space.query, content=pieces())
    assert refused(answer)[0] == 413
    assert len(await space.tasks()) == 1


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "text/plain", "application/x-www-form-urlencoded", ""],
)
async def test_content_type_does_not_matter(space: Space, content_type: str | None) -> None:
    """A JSON object is one, whatever it is called."""
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await space.http.post(
        "/tasks", params=space.query, content=json.dumps(GOOD).encode(), headers=headers
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "abc",
        "  spaces \n",
        " ",
        "\0",
        "a\0b",
        "🐦\u200d🔥",
        "ü" * 1024,
        "🐦" * 1024,
        "<b>",
        "\u2028",
    ],
)
async def test_name_is_unchanged(space: Space, name: str) -> None:
    """In the answer, the list, the detail and the stream; 1024 characters are allowed."""
    task = {"id": 1, "name": name, "type": "gx.heavy", "status": "running"}
    await space.create("gx.heavy", name)
    await space.until(lambda seen: seen == {1: "running"})
    assert await space.tasks() == [task]
    assert (await space.detail(1))["name"] == name
    async with space.follow() as stream:
        assert json.loads(await stream.recv()) == [task]


async def test_lone_surrogate_is_no_text(space: Space) -> None:
    """It cannot be stored, so it is refused, not a defect."""
    answer = await space.post(b'{"name":"\\ud800","type":"gx.tiny"}')
    assert answer.status_code == 400


async def test_unknown_members_are_ignored(space: Space) -> None:
    """And never echoed; null extensions are as if left out."""
    body = {**GOOD, "id": 7, "status": "failed", "extra": {"a": [1]}, "command": None, "env": None}
    answer = await space.post(body)
    assert answer.json() == {"task": {"id": 1, **GOOD, "status": "queued"}}


@pytest.mark.parametrize(
    "number",
    ["abc", "-1", "+1", "1.0", "1e3", "0x1", "%20", "1%20", "\u0661", "%00", "18446744073709551616",
     "9" * 5000, "1_0", "1%0A", "²"],
)  # fmt: skip
async def test_delete_of_what_is_no_id(space: Space, number: str) -> None:
    """400 for everything that is not an unsigned decimal integer below 2^64."""
    await space.create("gx.heavy")
    assert refused(await space.delete(number)) == (400, "invalid task id")


async def test_delete_of_the_unknown_and_the_dispatched(world: GxWorld, space: Space) -> None:
    """404 without an effect, also across workspaces and keys."""
    for _ in range(7):
        await space.create("gx.heavy")
    tiny = world.space(f"{space.query['workspace_id']}-tiny")
    await tiny.create("gx.tiny")
    before = await space.until(lambda seen: list(seen.values()).count("running") == 6)
    for number in ("0", "8", "1", "18446744073709551615", "9223372036854775808", "00001"):
        assert refused(await space.delete(number))[0] == 404, number
    await tiny.until(lambda seen: seen == {1: "completed"})
    assert refused(await tiny.delete(1))[0] == 404
    assert refused(await tiny.delete(7))[0] == 404
    _, key = await world.key("deleting")
    other = world.space(space.query["workspace_id"], key)
    assert refused(await other.delete(7))[0] == 404
    assert await space.statuses() == before
    answer = await space.delete(7)
    assert (answer.status_code, answer.content) == (204, b"")
    assert refused(await space.delete(7))[0] == 404
    assert await space.statuses() == dict.fromkeys(range(1, 7), "running")


async def test_deleted_task_never_runs_and_its_id_is_not_used_again(space: Space) -> None:
    """It goes from every list; the next one counts on, and a free slot skips it."""
    for _ in range(9):
        await space.create("gx.heavy")
    assert (await space.delete("0000000000000000000000008")).status_code == 204
    assert await space.create("gx.heavy", "last") == 10
    await space.flush(cancel="true")
    seen = await space.until(lambda seen: seen[10] == "running")
    assert seen == {7: "running", 9: "running", 10: "running"}
    answer = await space.http.get("/tasks/8", params=space.query)
    assert refused(answer)[0] == 404


async def test_flush_takes_what_was_dispatched(space: Space) -> None:
    """Queued tasks stay in order; running ones go on unseen and keep their slots."""
    await space.flush()
    for number in range(1, 10):
        await space.create("gx.heavy", f"n{number}")
    await space.until(lambda seen: seen[6] == "running")
    answer = await space.http.post("/tasks/flush", params=space.query, content=b"{{{")
    assert (answer.status_code, answer.content) == (204, b"")
    left = await space.statuses()
    assert list(left) == [7, 8, 9]
    # Two slots become free when their tasks end; four are kept by what nobody sees.
    await all_of(space.kill("n2"), space.kill("n5"))
    assert await space.until(lambda seen: seen[8] == "running") == {
        7: "running",
        8: "running",
        9: "queued",
    }
    running = [one for one in await space.native() if one["state"] == "running"]
    assert len(running) == 6
    for number in (1, 5):
        answer = await space.http.get(f"/tasks/{number}", params=space.query)
        assert refused(answer)[0] == 404
    await space.flush()
    assert await space.statuses() == {9: "queued"}
    assert await space.create() == 10


async def test_flush_with_cancel_frees_the_slots(space: Space) -> None:
    """Only ``cancel=true`` stops what runs; then what waits comes in at once."""
    for _ in range(8):
        await space.create("gx.heavy")
    await space.until(lambda seen: seen[6] == "running")
    await space.flush(cancel="true")
    assert await space.until(lambda seen: seen[8] == "running") == {7: "running", 8: "running"}
    await space.flush(cancel="false")
    running = [one for one in await space.native() if one["state"] == "running"]
    assert len(running) == 2
    assert await space.tasks() == []


async def test_creates_at_once_count_without_a_gap(world: GxWorld, space: Space) -> None:
    """Two workspaces under two keys, 50 concurrent creates in each, each in every later list."""
    name = space.query["workspace_id"]
    _, key = await world.key("second")
    spaces = [world.space(one, by) for one in (name, f"{name}-b") for by in ("dev", key)]

    async def create(where: Space, mark: str) -> tuple[Space, int, str]:
        number = await where.create("gx.heavy", mark)
        listed = {task["id"]: task["name"] for task in await where.tasks()}
        assert listed[number] == mark
        return where, number, mark

    made = await all_of(*[create(one, f"{n}") for n in range(50) for one in spaces])
    for one in spaces:
        mine = {number: mark for where, number, mark in made if where is one}
        assert sorted(mine) == list(range(1, 51))
        tasks = await one.tasks()
        assert [task["id"] for task in tasks] == list(range(1, 51))
        assert {task["id"]: task["name"] for task in tasks} == mine


async def test_same_workspace_id_under_two_keys_is_two_workspaces(
    world: GxWorld, space: Space
) -> None:
    """They never see each other, not even by id."""
    _, key = await world.key("apart")
    other = world.space(space.query["workspace_id"], key)
    await space.create("gx.heavy", "mine")
    assert await other.tasks() == []
    for path in ("/tasks/1", "/tasks/1/logs"):
        answer = await other.http.get(path, params=other.query)
        assert refused(answer)[0] == 404
    assert await other.create("gx.heavy", "theirs") == 1
    await other.flush(cancel="true")
    assert [task["name"] for task in await space.tasks()] == ["mine"]
