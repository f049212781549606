"""Many watchers of GX workspaces at once: plain sockets that read frames and note the time.

A change is a create whose task is named by the moment it was asked for, so each frame tells how
old the newest change in it is.
"""

import asyncio
import base64
import os
import resource
import struct
import time

from benchmarks.api import FigureFailed

NAME_MARK = b'"name":"at '
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Watcher(asyncio.Protocol):
    """One stream: reads frames, or never reads at all."""

    def __init__(self, path: str, delays_ms: list[float], *, reads: bool = True) -> None:
        self.path = path
        self.frames = 0
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._delays_ms = delays_ms
        self._reads = reads
        self._rest = b""
        self._newest = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream
        """Ask for the upgrade."""
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(HANDSHAKE.format(path=self.path, key=key).encode())

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        data = self._rest + data
        if not self.is_open:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            if b" 101 " not in head:
                self.upgraded.set_exception(FigureFailed(head.decode(errors="replace")[:200]))
                self.transport.abort()
                return
            self.is_open = True
            self.upgraded.set_result(None)
            if not self._reads:
                self.transport.pause_reading()
                return
        while (frame := _frame(data)) is not None:
            opcode, payload, data = frame
            if opcode == 9:
                self.transport.write(b"\x8a\x80\0\0\0\0" if not payload else _pong(payload))
            elif opcode == 1:
                self._take(payload)
        self._rest = data

    def connection_lost(self, exc: Exception | None) -> None:
        """The server dropped it, or the measurement is over."""
        del exc
        self.is_open = False

    def _take(self, payload: bytes) -> None:
        self.frames += 1
        at = payload.rfind(NAME_MARK)
        if at < 0:
            return
        moment = payload[at + len(NAME_MARK) : payload.index(b'"', at + len(NAME_MARK))]
        if moment != self._newest:
            self._newest = moment
            self._delays_ms.append((time.time_ns() - int(moment)) / 1e6)


def _frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Opcode, payload and rest of a server's frame; None if it is not complete."""
    if len(data) < 2:
        return None
    size, begin = data[1], 2
    if size == 126:
        begin = 4
        size = struct.unpack("!H", data[2:4])[0] if len(data) >= 4 else 1 << 62
    elif size == 127:
        begin = 10
        size = struct.unpack("!Q", data[2:10])[0] if len(data) >= 10 else 1 << 62
    end = begin + size
    return (data[0] & 15, data[begin:end], data[end:]) if len(data) >= end else None


def _pong(payload: bytes) -> bytes:
    return bytes((0x8A, 0x80 | len(payload))) + bytes(4) + payload  # masked with zeros


def many_sockets(count: int) -> None:
    """Let this process have so many. Raises ``FigureFailed``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise FigureFailed(f"this process may have {hard} open files, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def opened(
    port: int, paths: list[str], delays_ms: list[float], *, reads: bool = True
) -> list[Watcher]:
    """A watcher for each path, connected, a few at a time."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(50)

    async def one(path: str) -> Watcher:
        async with gate:
            _, watcher = await loop.create_connection(
                lambda: Watcher(path, delays_ms, reads=reads), "127.0.0.1", port
            )
            await asyncio.wait_for(watcher.upgraded, 30)
            return watcher

    return await asyncio.gather(*(one(path) for path in paths))
