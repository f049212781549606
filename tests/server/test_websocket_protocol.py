"""WebSockets of peers that do not read, seen from the transport."""

import asyncio
import socket
from collections.abc import AsyncIterator

import anyio
import pytest
from litestar.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from taskyard.server import websocket_protocol
from taskyard.server.listeners import Listener, bind_tcp, started

pytestmark = pytest.mark.anyio
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Firehose:
    """Sends to every WebSocket as much as it takes."""

    def __init__(self) -> None:
        self.left = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Serve one connection."""
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        try:
            while True:
                await send({"type": "websocket.send", "text": "x" * 65536, "bytes": None})
        except OSError:
            self.left.set()


@pytest.fixture
async def hose(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Firehose, int]]:
    """A firehose that drops who takes nothing for a moment, and its port."""
    monkeypatch.setattr(websocket_protocol.BoundedWebSocketProtocol, "stall_s", 0.3)
    app = Firehose()
    listener = Listener(bind_tcp("127.0.0.1", 0), app, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        await started([listener])
        yield app, listener.socket.getsockname()[1]
        listener.stop()


async def test_a_peer_that_takes_nothing_is_dropped(hose: tuple[Firehose, int]) -> None:
    """Its connection ends, and whoever was sending to it is told."""
    app, port = hose
    peer = socket.create_connection(("127.0.0.1", port))
    try:
        peer.sendall(HANDSHAKE)
        with anyio.fail_after(20):
            await app.left.wait()
    finally:
        peer.close()


async def test_a_peer_that_is_slow_is_not(hose: tuple[Firehose, int]) -> None:
    """Whoever takes a little now and then keeps its connection."""
    _, port = hose
    async with connect(f"ws://127.0.0.1:{port}", compression=None) as peer:
        deadline = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < deadline:
            assert await peer.recv() == "x" * 65536
            await anyio.sleep(0.02)
        peer.transport.abort()  # it need not read on to a polite end
