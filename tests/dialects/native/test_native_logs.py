"""Output over HTTP: ranges, downloads, following by events and by WebSocket."""

import json
from typing import Any

import httpx2
import pytest
import websockets
from native_world import NativeWorld

from eventually import eventually_async
from taskyard.ports.logs import Stream

pytestmark = pytest.mark.anyio

TEXT = b"0123456789"
DEV = "dev"


@pytest.fixture
async def log(world: NativeWorld) -> str:
    """Path of the finished output ``0123456789`` of a task."""
    task = await world.submit(command=["hang"])
    attempt = await world.running(task["id"])
    world.worker.say(attempt["id"], Stream.STDOUT, TEXT)
    await world.worker.finish(attempt["id"])
    await world.ended(task["id"])
    return f"/tasks/{task['id']}/logs"


async def test_output_is_read_by_offset_and_length(world: NativeWorld, log: str) -> None:
    """Raw bytes, with what is known of the whole in headers."""
    answer = await world.api.get(f"{log}/stdout", params={"offset": 3, "length": 4})
    assert (answer.status_code, answer.content) == (200, b"3456")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["log-size"] == "10"
    assert answer.headers["log-dropped"] == "0"
    assert answer.headers["log-complete"] == "true"
    behind = await world.api.get(f"{log}/stdout", params={"offset": 99})
    assert (behind.status_code, behind.content) == (200, b"")
    assert (await world.api.get(f"{log}/stderr")).content == b""
    assert (await world.api.get(f"{log}/stdlog")).status_code == 404
    assert (await world.api.get(f"{log}/stdout", params={"attempt": 2})).status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "data", "said"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, TEXT, "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, TEXT, None),
        ("bytes=0-1,4-5", 200, TEXT, None),
        ("lines=0-1", 200, TEXT, None),
        ("bytes=-", 200, TEXT, None),
    ],
)
async def test_ranges_are_honoured(
    world: NativeWorld, log: str, asked: str, status: int, data: bytes | None, said: str | None
) -> None:
    """206 for one satisfiable range, 416 for none, 200 for what is not understood."""
    answer = await world.api.get(f"{log}/stdout", headers={"Range": asked})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == said
    if data is not None:
        assert answer.content == data
        assert answer.headers["accept-ranges"] == "bytes"


async def test_if_range_guards_against_another_output(world: NativeWorld, log: str) -> None:
    """The range counts only while the entity tag is the same."""
    etag = (await world.api.head(f"{log}/stdout")).headers["etag"]
    same = await world.api.get(f"{log}/stdout", headers={"Range": "bytes=9-", "If-Range": etag})
    assert (same.status_code, same.content) == (206, b"9")
    other = await world.api.get(f"{log}/stdout", headers={"Range": "bytes=9-", "If-Range": '"x"'})
    assert (other.status_code, other.content) == (200, TEXT)


async def test_large_output_is_cut_unless_downloaded(world: NativeWorld) -> None:
    """8 MiB for each answer; a download brings it all, in pieces, under a file name."""
    task = await world.submit(command=["hang"])
    attempt = await world.running(task["id"])
    data = bytes(range(256)) * (40 << 10)
    world.worker.say(attempt["id"], Stream.STDOUT, data)
    path = f"/tasks/{task['id']}/logs/stdout"
    cut = await world.api.get(path)
    assert cut.content == data[: 8 << 20]
    assert cut.headers["log-complete"] == "false"
    assert "etag" not in cut.headers
    whole = await world.api.get(path, params={"download": 1})
    assert whole.content == data
    assert whole.headers["content-disposition"].endswith('-1.stdout.log"')


class Events:
    """Reads server-sent events off an answer."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next_line(self) -> str:
        """A line, also one of a comment."""
        return await anext(self._lines)

    async def next(self) -> dict[str, str]:
        """The fields of the next event that is no comment."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                if fields:
                    return fields
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        return fields


async def test_events_follow_output_from_before_the_start_to_the_exit(world: NativeWorld) -> None:
    """Every byte once, then the exit record, then the end of the stream."""
    await world.api.post("/groups/g/pause")
    task = await world.submit(command=["hang"], group="g")
    async with world.api.stream("GET", f"/tasks/{task['id']}/logs/follow") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = Events(answer)
        await world.api.post("/groups/g/resume")
        attempt = await world.running(task["id"])
        world.worker.say(attempt["id"], Stream.STDOUT, "hé".encode()[:2])
        world.worker.say(attempt["id"], Stream.STDOUT, "hé".encode()[2:])
        seen, last_id = "", ""
        while seen != "hé":
            event = await events.next()
            assert event["event"] == "output"
            message = json.loads(event["data"])
            assert message["offset"] == len(seen.encode())
            seen += message["text"]
            last_id = event["id"]
        world.worker.say(attempt["id"], Stream.STDERR, b"\xff")
        raw = json.loads((await events.next())["data"])
        assert (raw["stream"], raw["base64"]) == ("stderr", "/w==")
        await world.worker.finish(attempt["id"])
        exit_ = json.loads((await events.next())["data"])
        assert (exit_["type"], exit_["exit_code"], exit_["stdout"]) == ("exit", 0, 3)
        assert await events.next() == {}
    assert last_id == "1:3:0"
    headers = {"Last-Event-ID": "1:1:1"}
    again = await world.api.get(f"/tasks/{task['id']}/logs/follow", headers=headers)
    first = json.loads(again.text.split("data: ")[1].split("\n")[0])
    assert first["offset"] == 1
    bad = await world.api.get(f"/tasks/{task['id']}/logs/follow", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 400


async def test_output_that_is_gone_is_an_error(world: NativeWorld) -> None:
    """Neither nothing nor the end of it; followers hear of it with the exit."""
    task = await world.submit(command=["hang"])
    attempt = await world.running(task["id"])
    world.worker.say(attempt["id"], Stream.STDOUT, TEXT)
    await world.worker.finish(attempt["id"])
    await world.ended(task["id"])
    await world.worker.forget(attempt["id"])
    path = f"/tasks/{task['id']}/logs"
    for query in ({}, {"offset": 3}, {"download": "true"}):
        answer = await world.api.get(f"{path}/stdout", params=query)
        assert answer.status_code == 500
        assert answer.json()["type"] == "about:blank#damaged"
        assert "10 bytes of stdout of attempt 1 are gone" in answer.json()["detail"]
    both = await world.api.get(f"{path}/both")
    assert both.status_code == 500
    (exit_,) = await messages_of(world, path, {})
    assert (exit_["type"], exit_["stdout_missing"]) == ("exit", 10)


async def say_by_turns(world: NativeWorld) -> tuple[str, str]:
    """Path of the output of a task that writes to both streams, and the id of its attempt."""
    task = await world.submit(command=["hang"])
    attempt = await world.running(task["id"])
    for number in range(6):
        stream = Stream.STDERR if number % 2 else Stream.STDOUT
        world.worker.say(attempt["id"], stream, b"line %d\n" % number)
    return f"/tasks/{task['id']}/logs", attempt["id"]


BY_TURNS = "".join(f"line {number}\n" for number in range(6))


async def test_both_streams_are_read_in_the_order_they_came(world: NativeWorld) -> None:
    """The same while the task runs and when it has ended, from any place on."""
    path, attempt_id = await say_by_turns(world)
    running = await world.api.get(f"{path}/both")
    assert (running.status_code, running.text) == (200, BY_TURNS)
    assert running.headers["log-complete"] == "false"
    await world.worker.finish(attempt_id)
    await world.ended(path.split("/")[2])
    ended = await world.api.get(f"{path}/both", params={"download": "true"})
    assert ended.text == BY_TURNS
    assert ended.headers["log-complete"] == "true"
    assert ended.headers["content-disposition"].endswith('-1.log"')
    later = await world.api.get(f"{path}/both", params={"stdout": 7, "stderr": 3})
    assert later.text == BY_TURNS[7 + 3 :]
    stderr = await world.api.get(f"{path}/both", params={"stdout": -1})
    assert stderr.text == "line 1\nline 3\nline 5\n"
    assert (await world.api.get(f"{path}/both", params={"attempt": 2})).status_code == 404
    assert (await world.api.head(f"{path}/both")).content == b""


async def test_lines_come_with_times_if_asked_for(world: NativeWorld) -> None:
    """Before each line of the bytes, and in each message."""
    path, _ = await say_by_turns(world)
    lines = (await world.api.get(f"{path}/both", params={"timestamps": "true"})).text.splitlines()
    assert lines[:2] == [f"1970-01-01T00:00:00.000000Z line {number}" for number in range(2)]
    query = {"timestamps": "true", "wait": "false"}
    messages = await messages_of(world, path, query)
    assert [message.get("at") for message in messages[:-1]] == ["1970-01-01T00:00:00.000000Z"] * 6
    assert all("at" not in one for one in await messages_of(world, path, {"wait": "false"}))


async def messages_of(world: NativeWorld, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
    """All messages of a stream that ends by itself."""
    answer = await world.api.get(f"{path}/follow", params=query)
    return [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]


async def test_a_follower_that_does_not_wait_is_told_where_it_is(world: NativeWorld) -> None:
    """All there is, in order; then that it has caught up, or the exit."""
    path, attempt_id = await say_by_turns(world)
    messages = await messages_of(world, path, {"wait": "false"})
    assert "".join(message["text"] for message in messages[:-1]) == BY_TURNS
    assert messages[-1] == {"type": "caught_up", "attempt": 1}
    await world.worker.finish(attempt_id)
    await world.ended(path.split("/")[2])
    again = await messages_of(world, path, {"wait": "false", "stdout": "21", "stderr": "21"})
    assert [message["type"] for message in again] == ["exit"]


def ws(world: NativeWorld, path: str, token: str | None = DEV) -> Any:
    """A WebSocket of the API."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = world.url.replace("http", "ws") + "/api/v1" + path
    return websockets.connect(url, additional_headers=headers, proxy=None)


async def test_websocket_follows_to_the_exit(world: NativeWorld) -> None:
    """Text messages, then close code 1000 with the reason exit."""
    task = await world.submit(command=["hang"])
    attempt = await world.running(task["id"])
    async with ws(world, f"/tasks/{task['id']}/logs/ws?stdout=1") as socket:
        world.worker.say(attempt["id"], Stream.STDOUT, b"ab")
        message = json.loads(await socket.recv())
        assert (message["offset"], message["next_offset"], message["text"]) == (1, 2, "b")
        await world.worker.finish(attempt["id"])
        assert json.loads(await socket.recv())["type"] == "exit"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "exit")


async def test_websocket_is_refused_before_the_upgrade(world: NativeWorld) -> None:
    """Plain 401, 404 and 400 answers with problem documents."""
    task = await world.submit(start_in_s=99)
    unknown = "0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59"
    for path, token, status in (
        (f"/tasks/{task['id']}/logs/ws", None, 401),
        (f"/tasks/{task['id']}/logs/ws", "wrong", 401),
        (f"/tasks/{unknown}/logs/ws", "dev", 404),
        (f"/tasks/{task['id']}/logs/ws?stdout=-2", "dev", 400),
        ("/events/ws?nothing=1", "dev", 400),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with ws(world, path, token):
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body or b"")["status"] == status
    token_in_query = f"/tasks/{task['id']}/logs/ws?access_token=dev"
    async with ws(world, token_in_query, None):
        pass


async def test_changes_are_streamed_as_they_happen(world: NativeWorld) -> None:
    """By events and by WebSocket, narrowed by group."""
    async with (
        world.api.stream("GET", "/events/stream?group=g&access_token=dev") as answer,
        ws(world, "/events/ws") as socket,
    ):
        events = Events(answer)
        await world.submit(start_in_s=99, group="other")
        task = await world.submit(start_in_s=99, group="g")
        change = json.loads((await events.next())["data"])
        assert (change["type"], change["kind"], change["task_id"]) == (
            "change",
            "submitted",
            task["id"],
        )
        assert [json.loads(await socket.recv())["group"] for _ in range(2)] == ["other", "g"]


async def test_readers_that_leave_are_noticed(world: NativeWorld) -> None:
    """Their streams end, without a word in the log."""
    async with world.api.stream("GET", "/events/stream"), ws(world, "/events/ws"):
        await eventually_async(lambda: len(world.streams) == 2)
    await eventually_async(lambda: len(world.streams) == 0)


async def test_streams_are_bounded(world: NativeWorld) -> None:
    """One too many is answered with 429."""
    world.streams._limit = 1
    async with world.api.stream("GET", "/events/stream") as first:
        assert first.status_code == 200
        assert (await world.api.get("/events/stream")).status_code == 429
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with ws(world, "/events/ws"):
                pass
        assert refused.value.response.status_code == 429


async def test_shutdown_says_goodbye_to_streams(world: NativeWorld) -> None:
    """WebSockets are closed with 1001, event streams end properly, new ones are refused."""
    async with (
        world.api.stream("GET", "/events/stream") as answer,
        ws(world, "/events/ws") as socket,
    ):
        events = Events(answer)
        await events.next_line()
        await world.streams.close()
        assert await events.next() == {}
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert (await world.api.get("/events/stream")).status_code == 503
