"""Unix sockets for httpx whose reads may be cancelled at any moment.

AnyIO 4.16 on asyncio: the read of a Unix socket that is cancelled in the very turn of the event
loop in which something arrives leaves an ``InvalidStateError`` behind, for it sets a future that is
cancelled already. Attachments and logs are read until nobody needs them any more, often while
containers talk. So reads wait with AnyIO's ``wait_readable``, which is free of that, and read only
what is there.
"""

import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.abc
import httpcore
import httpx


async def arrival(stream: anyio.abc.ByteStream) -> None:
    """Return once something, or the end, can be read from a Unix socket.

    Raises ``anyio.ClosedResourceError`` if it is closed meanwhile.
    """
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    await anyio.wait_readable(raw)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        if self._closed:
            raise httpcore.ReadError("closed")
        try:
            with anyio.fail_after(timeout):
                await anyio.wait_readable(self._socket)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except anyio.ClosedResourceError as error:
            raise httpcore.ReadError("closed") from error
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._socket)
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.AnyIOBackend):
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await super().connect_unix_socket(path, timeout, socket_options))


class UnixTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a Unix socket, without TLS."""

    def __init__(self, path: str, limits: httpx.Limits) -> None:
        super().__init__(uds=path, verify=False, limits=limits)
        self._pool = httpcore.AsyncConnectionPool(
            uds=path,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(),
        )
