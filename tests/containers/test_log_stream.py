"""Reading logs of engines: the whole is told from the half, and others get their turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream
from container_harness import ContainerHarness

from taskyard.runtimes.container.copying import Copying
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.request import container_name
from taskyard.runtimes.engine.address import EngineAddress
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.xdist_group("containers")]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[EngineClient]:
    """A client of something that answers so, part by part, and hangs up."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            for part in parts:
                await stream.send(part)
                await anyio.lowlevel.checkpoint()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            async with EngineClient(EngineAddress(url=f"http://127.0.0.1:{port}")) as client:
                yield client
            group.cancel_scope.cancel()


async def read(client: EngineClient) -> bytes:
    """A whole log."""
    async with client.log("c", follow=False) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_chunks_are_put_together() -> None:
    """However they were cut on their way."""
    body = b"3\r\nabc\r\n" * 1000 + b"0\r\n\r\n"
    for cut in (1, 7, 1000):
        whole = CHUNKED + body
        parts = [whole[start : start + cut] for start in range(0, len(whole), cut)]
        if cut == 1:
            parts = [*parts[:200], whole[200:]]
        async with answering(*parts) as client:
            assert await read(client) == b"abc" * 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        CHUNKED,
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nab",
        CHUNKED + b"no length\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"SSH-2.0-nothing like it\r\n",
    ],
)
async def test_half_a_log_never_looks_whole(answer: bytes) -> None:
    """It is read again, whatever has ended it."""
    async with answering(answer) as client:
        with pytest.raises(EngineUnreachable):
            await read(client)


async def test_refusals_say_what_the_engine_said() -> None:
    """With its status."""
    body = b'{"message":"no such container"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with answering(head + body) as client:
        with pytest.raises(EngineRefused, match="no such container") as raised:
            await read(client)
    assert raised.value.status == 404


async def test_nobody_there_is_unreachable() -> None:
    """Over every way."""
    for place in (
        EngineAddress(socket="/nonexistent/socket"),
        EngineAddress(url="http://127.0.0.1:1"),
    ):
        async with EngineClient(place) as client:
            with pytest.raises(EngineUnreachable, match="does not answer"):
                await read(client)


async def test_others_get_their_turn_while_a_long_log_is_read(harness: ContainerHarness) -> None:
    """No more than a block of it is worked on at a time, however short its lines are."""
    size = 200_000
    ended = await harness.run(f"yes | head -c {size}", log_limit_bytes=size)
    output = Output(harness.directory(ended.attempt_id), size)
    output.resume(0)
    runtime = harness.runtime
    copying = Copying(
        runtime.engine,
        runtime.watch,
        container_name(ended.attempt_id),
        output,
        stdin=None,
        is_podman=runtime.is_podman,
        on_failure=lambda: None,
    )
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await copying.read_all()
        group.cancel_scope.cancel()
    output.close()
    framed = size // 2 * 10
    assert turns >= framed // (1 << 16)
    assert output.sizes()["stdout"].stored_bytes == size
    assert await harness.output(ended) == b"y\n" * (size // 2)
