"""A small real HTTP server that webhooks are sent to, and that can misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Received:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers 200, or what ``reply`` says."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    reply: Reply | None = None
    open_now: int = 0
    open_most: int = 0

    def url(self, host: str = "127.0.0.1") -> str:
        """Where it listens."""
        return f"http://{host}:{self.port}/hook?x=1"

    def answer(self, content: bytes) -> None:
        """From now on, answer with these bytes."""

        async def reply(writer: asyncio.StreamWriter) -> None:
            writer.write(content)

        self.reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                pairs = (one.split(": ", 1) for one in rest)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(line, headers, body))
                if self.reply is None:
                    writer.write(OK)
                else:
                    await self.reply(writer)
                await writer.drain()
        finally:
            self.open_now -= 1
            writer.close()
            with suppress(ConnectionError, OSError):
                await writer.wait_closed()


@asynccontextmanager
async def receiving(port: int = 0, tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on loopback, closed at the end."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
