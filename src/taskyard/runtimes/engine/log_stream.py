"""The body of a container's log, by a quicker way than other answers of an engine.

Engines send every line of a log as a chunk of its own, so that 100 MB of short lines are millions
of chunks. httpx2 spends 8 µs on each, in the event loop; httptools, which the server's own
listeners use, spends a small part of that.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import anyio
import httptools
from anyio.abc import ByteStream

from taskyard.runtimes.engine.address import EngineAddress
from taskyard.runtimes.engine.connection_errors import told
from taskyard.runtimes.engine.errors import EngineUnreachable
from taskyard.runtimes.engine.unix_sockets import arrival

_CONNECT_S: Final = 5.0
_READ_BYTES: Final = 1 << 16
"""Also what is worked on before others get their turn: some milliseconds for the shortest lines."""
_ERROR_BYTES: Final = 1 << 16


class Answer:
    """The answer to one request, on a connection of its own."""

    def __init__(self, address: EngineAddress, stream: ByteStream) -> None:
        self._address = address
        self._stream = stream
        self._parts: list[bytes] = []
        self._has_headers = False
        self._is_whole = False
        self._parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        """For the parser."""
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        """For the parser."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """For the parser."""
        self._is_whole = True

    @property
    def status(self) -> int:
        """Its HTTP status."""
        found: int = self._parser.get_status_code()
        return found

    async def begin(self, target: str) -> None:
        """Ask, and read until the status is known. Raises :class:`EngineUnreachable`."""
        host = urlsplit(self._address.url or "").netloc or "engine"
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        try:
            await self._stream.send(request.encode("ascii"))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise self._broken(error) from error
        while not self._has_headers:
            await self._more()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its body to the end. Raises :class:`EngineUnreachable` if that does not come."""
        while True:
            if self._parts:
                parts, self._parts = self._parts, []
                yield b"".join(parts)
            if self._is_whole:
                return
            await self._more()

    async def error(self) -> bytes:
        """What it says, if it is short. Raises :class:`EngineUnreachable`."""
        said = b""
        async for piece in self.pieces():
            said += piece
            if len(said) > _ERROR_BYTES:
                break
        return said[:_ERROR_BYTES]

    async def _more(self) -> None:
        try:
            if self._address.socket is not None:
                await arrival(self._stream)
            self._parser.feed_data(await self._stream.receive(_READ_BYTES))
        except anyio.EndOfStream as error:
            raise EngineUnreachable(f"{self._address} broke off in the middle of a log") from error
        except httptools.HttpParserError as error:
            raise EngineUnreachable(f"{self._address} does not make sense: {error}") from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> EngineUnreachable:
        return EngineUnreachable(
            f"{self._address} broke off: {told(error, secure=self._address.is_secure)}"
        )


@asynccontextmanager
async def answered(
    address: EngineAddress, tls: ssl.SSLContext | None, target: str
) -> AsyncIterator[Answer]:
    """The answer to ``GET target``, whatever its status. Raises :class:`EngineUnreachable`."""
    try:
        with anyio.fail_after(_CONNECT_S):
            stream = await _connected(address, tls)
    except (OSError, anyio.BrokenResourceError) as error:  # TimeoutError is one
        said = told(error, secure=address.is_secure)
        raise EngineUnreachable(f"{address} does not answer: {said}") from error
    try:
        answer = Answer(address, stream)
        await answer.begin(target)
        yield answer
    finally:
        # No farewell: nothing is left to say, and an engine that is gone would not hear it.
        await anyio.aclose_forcefully(stream)


async def _connected(address: EngineAddress, tls: ssl.SSLContext | None) -> ByteStream:
    if address.socket is not None:
        return await anyio.connect_unix(address.socket)
    parts = urlsplit(address.url or "")
    host, port = parts.hostname or "", parts.port or 0
    if not address.is_secure:
        return await anyio.connect_tcp(host, port)
    return await anyio.connect_tcp(
        host, port, tls=True, ssl_context=tls, tls_standard_compatible=False
    )
