"""The stream of a workspace: what is sent when, who is refused, and how it is closed."""

import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from gx_world import DEADLINE_S, GxWorld, Json, Space, all_of, closed, next_list, opened
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio

RANK = {"queued": 0, "running": 1, "completed": 2, "failed": 2}


async def refused(url: str) -> tuple[int, Any]:
    """The status and the body that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as found:
        async with connect(url, proxy=None):
            pass
    answer = found.value.response
    assert answer.headers.get_all("access-control-allow-origin") == ["*"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.body is not None
    return answer.status_code, json.loads(answer.body)


def legal(before: list[Json], after: list[Json]) -> None:
    """Ids ascend, and no status goes back."""
    numbers = [task["id"] for task in after]
    assert numbers == sorted(set(numbers))
    ranks = {task["id"]: RANK[task["status"]] for task in before}
    for task in after:
        assert RANK[task["status"]] >= ranks.get(task["id"], 0)


async def test_first_message_is_there_at_once(space: Space) -> None:
    """``[]`` for an empty workspace, otherwise the list just as the REST route shows it."""
    async with space.follow() as stream:
        assert await next_list(stream) == []
    await space.create("gx.heavy", "a")
    await space.create("gx.tiny", "b")
    await space.until(lambda seen: seen == {1: "running", 2: "completed"})
    async with space.follow(origin="http://elsewhere.test") as stream:
        assert await next_list(stream) == await space.tasks()


async def test_list_is_sent_every_second_changed_or_not(space: Space) -> None:
    """The same again and again, of which nobody is told twice in one second."""
    await space.create("gx.heavy")
    await space.until(lambda seen: seen == {1: "running"})
    async with space.follow() as stream:
        first = await next_list(stream)
        begun = time.monotonic()
        for _ in range(2):
            assert await next_list(stream) == first
        # Only the lower bound: how late a message is depends on the machine.
        assert time.monotonic() - begun > 0.9


async def test_changes_are_sent_before_the_next_tick(space: Space) -> None:
    """A create, a start, an end and a flush are each seen, in order and never older ones later."""
    async with space.follow() as stream:
        before = await next_list(stream)
        for _ in range(8):
            await space.create("gx.micro")
        with anyio.fail_after(DEADLINE_S):
            while [task["status"] for task in before] != ["completed"] * 8:
                after = await next_list(stream)
                legal(before, after)
                before = after
        await space.flush()
        assert await next_list(stream) == []


async def test_all_streams_see_legal_states_under_load(space: Space) -> None:
    """Several readers beside creates, deletes and flushes; what is gone never comes back."""
    done = anyio.Event()
    gone: set[int] = set()

    async def read() -> None:
        seen: dict[int, bool] = {}
        async with space.follow(max_queue=None) as stream:
            before = await next_list(stream)
            here: set[int] = set()
            while not done.is_set():
                after = await next_list(stream)
                legal(before, after)
                here = {task["id"] for task in after}
                # Once missing after it was there, it never comes back.
                back = {number for number in here if seen.get(number) is False}
                assert not back
                seen.update({number: number in here for number in {*seen, *here}})
                before = after
            while gone & here:
                here = {task["id"] for task in await next_list(stream)}

    async def write() -> None:
        for turn in range(30):
            made = await all_of(*[space.create("gx.tiny") for _ in range(5)])
            number = made[-1]
            if (await space.delete(number)).status_code == 204:
                gone.add(number)
            if turn % 10 == 9:
                finished = [n for n, one in (await space.statuses()).items() if one == "completed"]
                await space.flush()
                gone.update(finished)
        done.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(read)
        tasks.start_soon(write)
    assert gone


async def test_refusals_come_before_the_upgrade(world: GxWorld) -> None:
    """403, then 400, as plain answers; other paths are unknown, or no streams."""
    for query in ({}, {"api_key": "no"}, {"api_key": "no", "workspace_id": "a b"}):
        assert await refused(world.stream_url(query)) == (403, {"message": "Forbidden"})
    bad = world.stream_url({"api_key": "dev", "workspace_id": "a b"})
    assert await refused(bad) == (400, {"message": "invalid workspace id"})
    base = world.url.replace("http", "ws", 1)
    unknown = await refused(f"{base}/nothing?api_key=dev")
    assert unknown == (404, {"message": "Not Found"})
    assert (await refused(f"{base}/tasks?api_key=dev"))[0] == 400


async def test_request_without_upgrade_headers(space: Space) -> None:
    """400 with a text of its own, once key and workspace are right."""
    answer = await space.http.get("/ws/tasks", params=space.query)
    assert (answer.status_code, answer.json()) == (400, {"message": "Bad Request"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_ten_streams_and_no_more(world: GxWorld, space: Space) -> None:
    """The eleventh is 429; others do not count; REST goes on; a closed one frees its place."""
    full = (429, {"message": "too many connections in workspace"})
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(space.follow()) for _ in range(10)]
        for stream in streams:
            assert await next_list(stream) == []
        assert await refused(space.stream_url) == full
        await space.create("gx.heavy")
        other = world.space(f"{space.query['workspace_id']}-other")
        async with other.follow() as stream:
            assert await next_list(stream) == []
        await streams.pop().close()
        with anyio.fail_after(DEADLINE_S):
            while True:
                try:
                    async with space.follow() as stream:
                        assert [task["id"] for task in await next_list(stream)] == [1]
                    break
                except InvalidStatus:
                    await anyio.sleep(0.05)
        # One that breaks off without a word counts no longer either.
        streams.pop().transport.abort()
        with anyio.fail_after(DEADLINE_S):
            while True:
                try:
                    async with space.follow(), space.follow():
                        break
                except InvalidStatus:
                    await anyio.sleep(0.05)


async def test_handshakes_at_once_take_ten_places(space: Space) -> None:
    """However they race, ten get in and the others are refused."""
    async with AsyncExitStack() as stack:

        async def enter() -> int:
            try:
                await stack.enter_async_context(space.follow())
            except InvalidStatus as error:
                return error.response.status_code
            return 101

        assert sorted(await all_of(*[enter() for _ in range(25)])) == [101] * 10 + [429] * 15


async def test_what_a_client_says_is_ignored(space: Space) -> None:
    """Text, bytes, nonsense and pings; the stream goes on."""
    async with space.follow() as stream:
        assert await next_list(stream) == []
        for message in ("hello", b"\0\1", "", "x" * 65_536, '{"name":"a","type":"gx.tiny"}'):
            await stream.send(message)
        with anyio.fail_after(DEADLINE_S):
            await (await stream.ping())
        assert await next_list(stream) == []
    assert await space.tasks() == []


async def test_too_large_a_message_closes(space: Space) -> None:
    """One over 64 KiB: 1009; also when it comes in pieces."""
    async with space.follow() as stream:
        await stream.send("x" * 65_537)
        assert (await closed(stream))[0] == 1009
    async with space.follow() as stream:
        await stream.send(["x" * 40_000, "y" * 40_000])
        assert (await closed(stream))[0] == 1009


async def test_withdrawn_key_closes_its_streams(world: GxWorld) -> None:
    """1008 once the token is revoked, and nobody gets in with it again."""
    token_id, key = await world.key("withdrawn")
    mine = world.space("w", key)
    async with mine.follow() as stream, world.space("w").follow() as other:
        assert await next_list(stream) == []
        assert (await world.native.delete(f"/tokens/{token_id}")).is_success
        assert (await closed(stream))[0] == 1008
        assert await next_list(other) == []
        assert await next_list(other) == []
    assert (await refused(mine.stream_url))[0] == 403


async def test_shutdown_says_so(tmp_path: Path) -> None:
    """1001 for every stream, and a handshake during it is refused."""
    async with opened(tmp_path / "data") as world:
        space = world.space("s")
        await space.create("gx.heavy")
        async with space.follow() as first, space.follow() as second:
            await next_list(first)
            await next_list(second)
            await world.streams.close()
            assert [(await closed(one))[0] for one in (first, second)] == [1001, 1001]
        assert (await refused(space.stream_url))[0] == 503
        assert [task["id"] for task in await space.tasks()] == [1]


async def test_all_streams_of_the_server_are_limited(world: GxWorld, space: Space) -> None:
    """Past the server's own limit a handshake is 429, and the workspace is not charged for it."""
    limit, world.streams._limit = world.streams._limit, len(world.streams)
    try:
        for _ in range(12):
            assert (await refused(space.stream_url))[0] == 429
    finally:
        world.streams._limit = limit
    async with space.follow() as stream:
        assert await next_list(stream) == []


async def test_streams_change_nothing(space: Space) -> None:
    """Opening and closing them leaves the tasks alone."""
    for _ in range(7):
        await space.create("gx.heavy")
    before = await space.until(lambda seen: seen[6] == "running")
    for _ in range(5):
        async with space.follow() as stream:
            await next_list(stream)
    assert await space.statuses() == before


async def test_stream_below_the_prefix(world: GxWorld, space: Space) -> None:
    """The main listener has it too."""
    base = world.main_url.replace("http", "ws", 1)
    url = str(httpx2.URL(f"{base}/gx/ws/tasks", params=space.query))
    async with connect(url, proxy=None) as stream:
        assert await next_list(stream) == []
    assert await refused(f"{base}/gx/ws/tasks") == (403, {"message": "Forbidden"})
