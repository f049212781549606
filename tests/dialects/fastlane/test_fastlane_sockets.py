"""The WebSockets: messages in order, and the reason to close by which clients decide."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import pytest
from fastlane_world import FastlaneWorld, Json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from taskyard.dialects.fastlane.statuses import STOPPED_BY_USER
from taskyard.ports.logs import Stream

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def followed(world: FastlaneWorld, path: str) -> AsyncIterator[ClientConnection]:
    """An open socket."""
    async with connect(world.url.replace("http", "ws") + path, proxy=None) as socket:
        yield socket


async def read_all(socket: ClientConnection) -> tuple[list[Any], str, int]:
    """All messages, the close reason, and the code."""
    with anyio.fail_after(15):
        messages = [one async for one in socket]
    assert socket.close_reason is not None
    assert socket.close_code is not None
    return messages, socket.close_reason, socket.close_code


async def everything(world: FastlaneWorld, path: str) -> tuple[list[Any], str, int]:
    """What a socket says from its opening to its end."""
    async with followed(world, path) as socket:
        return await read_all(socket)


def paths(enqueued: Json, execution: str | None = None) -> list[str]:
    """Of both sockets, with and without slash."""
    job = f"/tasks/mail/jobs/{enqueued['jobId']}"
    at = f"{job}/executions/{execution or enqueued['executionId']}"
    return [f"{job}/ws", f"{job}/ws/", f"{at}/ws", f"{at}/ws/"]


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("echo out", ["EXIT CODE: 0\n", "out\n", "\n-=-\n", ""]),
        ("exit 3", ["EXIT CODE: 3\n", "", "\n-=-\n", "oh\n"]),
        ("lost-start", ["EXIT CODE: None\n", "", "\n-=-\n", "no such image"]),
    ],
)
async def test_an_ended_execution_is_four_messages(
    world: FastlaneWorld, command: str, wanted: list[str]
) -> None:
    """Exit code, log, a line between, error; then done."""
    enqueued = await world.enqueue(command)
    await world.execution(enqueued)
    for path in paths(enqueued):
        assert await everything(world, path) == (wanted, "done", 1000)


async def test_other_ends_are_done_too(world: FastlaneWorld) -> None:
    """Timed out, expired, stopped."""
    slow = await world.enqueue("slow")
    expired = await world.enqueue(expiration=5)
    stopped = await world.put("11111111-1111-4111-8111-111111111111", "exit 1", retries=1,
                              backoff={"minMs": 60_000})  # fmt: skip
    await world.execution(stopped, "enqueued", count=2)
    await world.api.post(f"/tasks/mail/jobs/{stopped['jobId']}/stop")
    for enqueued, status in ((slow, "timedout"), (expired, "expired"), (stopped, "stopped")):
        found = await world.execution(enqueued, status)
        messages, reason, _ = await everything(world, paths(enqueued, found["executionId"])[2])
        assert reason == "done"
        assert messages == ["EXIT CODE: None\n", "", "\n-=-\n", found["error"]]


async def test_running_output_comes_live_from_the_beginning(world: FastlaneWorld) -> None:
    """Both streams, split characters put together again, then done."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    attempt = await world.hanging()
    world.worker.say(attempt, Stream.STDOUT, b"first \xe2\x82")
    async with followed(world, paths(enqueued)[0]) as socket:
        with anyio.fail_after(10):
            assert await socket.recv() == "first "
            world.worker.say(attempt, Stream.STDOUT, b"\xac")
            assert await socket.recv() == "€"
            world.worker.say(attempt, Stream.STDERR, b"error")
            assert await socket.recv() == "error"
        world.worker.say(attempt, Stream.STDOUT, b"last \xe2")
        await world.worker.finish(attempt)
        messages, reason, _ = await read_all(socket)
    assert ("".join(messages), reason) == ("last \ufffd", "done")


async def test_a_stop_ends_the_stream_as_done(world: FastlaneWorld) -> None:
    """And the next look has the remark."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    async with followed(world, paths(enqueued)[3]) as socket:
        await world.api.post(f"/tasks/mail/jobs/{enqueued['jobId']}/stop")
        assert (await read_all(socket))[1] == "done"
    messages, _, _ = await everything(world, paths(enqueued)[0])
    assert messages == ["EXIT CODE: 143\n", "", "\n-=-\n", STOPPED_BY_USER]


async def test_what_waits_is_to_be_asked_again(world: FastlaneWorld) -> None:
    """Enqueued, pulling, no execution yet, an execution nobody knows: retry, without a word."""
    pulling = await world.enqueue("pull")
    await world.execution(pulling, "pulling")
    delayed = await world.enqueue(startIn="1h")
    backing_off = await world.enqueue("exit 1", retries=1, backoff={"minMs": 60_000})
    await world.execution(backing_off, "enqueued", count=2)
    for path in (
        *paths(pulling),
        paths(delayed, str(uuid4()))[0],
        paths(delayed, str(uuid4()))[2],
        paths(backing_off)[0],
    ):
        assert await everything(world, path) == ([], "retry", 1000)


async def test_unknown_tasks_and_jobs_are_refused(world: FastlaneWorld) -> None:
    """Before the upgrade, with 404."""
    await world.enqueue()
    for path in (f"/tasks/none/jobs/{uuid4()}/ws/", f"/tasks/mail/jobs/{uuid4()}/ws"):
        with pytest.raises(InvalidStatus) as refused:
            await everything(world, path)
        assert refused.value.response.status_code == 404


async def test_a_stopping_server_asks_to_come_back(world: FastlaneWorld) -> None:
    """Retry, not done: there is more to come."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    async with followed(world, paths(enqueued)[0]) as socket:
        world.worker.say(await world.hanging(), Stream.STDOUT, b"x")
        assert await socket.recv() == "x"
        world.wired.engine.bus.close()
        world.worker.say(await world.hanging(), Stream.STDOUT, b"y")
        _, reason, _ = await read_all(socket)
    assert reason == "retry"


async def test_long_output_comes_in_pieces(world: FastlaneWorld) -> None:
    """Whole, and none of them huge."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    attempt = await world.hanging()
    world.worker.say(attempt, Stream.STDOUT, b"0123456789abcde\n" * (1 << 16))
    await world.worker.finish(attempt)
    await world.execution(enqueued)
    messages, reason, _ = await everything(world, paths(enqueued)[0])
    assert reason == "done"
    assert sum(len(one) for one in messages[1:-2]) == 1 << 20
    assert max(len(one) for one in messages) <= 256 << 10
