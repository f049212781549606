"""An engine that takes its time is told from one that is not there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from eventually import eventually_async
from taskyard.runtimes.engine import client as engine_client
from taskyard.runtimes.engine.address import EngineAddress
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.errors import EngineUnreachable

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class SlowEngine:
    """Answers each request only when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                await self.may_answer.wait()
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(
    kind: str, serve: Serve, directory: Path
) -> AsyncIterator[tuple[EngineAddress, asyncio.Server]]:
    """An engine over TCP or a Unix socket."""
    if kind == "unix":
        path = str(directory / "e.sock")
        server = await asyncio.start_unix_server(serve, path)
        address = EngineAddress(socket=path)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = EngineAddress(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield address, server


@pytest.fixture(autouse=True)
def soon_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a moment takes long."""
    monkeypatch.setattr(engine_client, "_PROMPT_S", 0.5)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_slow_answer_is_waited_for(kind: str, tmp_path: Path) -> None:
    """As long as the engine takes connections; it is asked once more for that."""
    engine = SlowEngine()
    async with (
        listening(kind, engine.serve, tmp_path) as (address, _),
        EngineClient(address) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.ping)
        await eventually_async(lambda: engine.asked == 2)
        engine.may_answer.set()
    assert engine.asked == 2


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_but_not_forever(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never answers is of no use."""
    monkeypatch.setattr(engine_client, "_PATIENCE_S", 0.1)
    engine = SlowEngine()
    async with (
        listening(kind, engine.serve, tmp_path) as (address, _),
        EngineClient(address) as client,
    ):
        with pytest.raises(EngineUnreachable, match="takes connections, but does not answer"):
            await client.ping()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_one_that_went_without_a_word_is_gone(kind: str, tmp_path: Path) -> None:
    """Whatever connection is open: it takes no other one, which is seen at once."""
    engine = SlowEngine()
    async with (
        listening(kind, engine.serve, tmp_path) as (address, server),
        EngineClient(address) as client,
    ):

        async def go() -> None:
            await eventually_async(lambda: engine.asked == 1)
            server.close()

        async with anyio.create_task_group() as group:
            group.start_soon(go)
            with pytest.raises(EngineUnreachable, match="does not answer: "):
                await client.ping()
    assert engine.asked == 1
