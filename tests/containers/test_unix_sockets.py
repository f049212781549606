"""Cancelled reads over Unix sockets leave nothing behind, whatever arrives in the same moment."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from taskyard.runtimes.engine.address import EngineAddress
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineUnreachable

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"3\r\n{}\n\r\n"


class Peer:
    """The engine's end of one connection."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        self._connection: socket.socket | None = None

    async def answer(self) -> None:
        """Take a connection and its request; begin an answer that does not end."""
        loop = asyncio.get_running_loop()
        self._connection, _ = await loop.sock_accept(self._listener)
        await loop.sock_recv(self._connection, 1 << 16)
        await loop.sock_sendall(self._connection, HEAD + PIECE)

    def say(self) -> None:
        """One piece more, at once."""
        assert self._connection is not None
        assert self._connection.send(PIECE) == len(PIECE)

    def close(self) -> None:
        """Hang up."""
        self._listener.close()
        if self._connection is not None:
            self._connection.close()


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    """An engine of one connection."""
    peer = Peer(tmp_path / "s")
    yield peer
    peer.close()


@asynccontextmanager
async def reading(client: EngineClient, way: str) -> AsyncIterator[AsyncIterator[Any]]:
    """What is read without end."""
    if way == "events":
        async with client.events("a=b") as objects:
            yield objects
    else:
        async with client.log("c", follow=True) as pieces:
            yield pieces


@pytest.mark.parametrize("way", ["events", "log"])
async def test_a_read_may_be_cancelled_while_something_arrives(
    peer: Peer, tmp_path: Path, way: str
) -> None:
    """The event loop hears of no error; the test would fail of it."""
    loop = asyncio.get_running_loop()
    got, scope = 0, anyio.CancelScope()

    def both() -> None:
        peer.say()
        loop.call_soon(scope.cancel)

    async with EngineClient(EngineAddress(socket=str(tmp_path / "s"))) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(peer.answer)
            with scope:
                async with reading(client, way) as parts:
                    async for _ in parts:
                        got += 1
                        # In a later turn, when the read waits, the piece comes; in the next one
                        # the loop sees it, and the read is cancelled before it hears of that.
                        loop.call_later(0.05, both)
        assert scope.cancelled_caught
        await anyio.wait_all_tasks_blocked()
    assert got == 1


async def test_closing_wakes_whoever_reads(peer: Peer, tmp_path: Path) -> None:
    """A read that goes on while all connections are closed ends with an error."""
    client = EngineClient(EngineAddress(socket=str(tmp_path / "s")))
    async with anyio.create_task_group() as group:
        group.start_soon(peer.answer)
        with anyio.fail_after(20):
            async with client.events("a=b") as objects:
                await anext(objects)
                group.start_soon(client.close)
                with pytest.raises(EngineUnreachable):
                    await anext(objects)
