"""The transport between httpx2 and connections of our own, by public parts of both libraries alone.

httpx2's own transport does not say which network backend its connections come from, so requests go
to a pool of httpcore2 here, and its errors come back as those of httpx2 with the same name.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2


class StreamWrapper(httpcore2.AsyncNetworkStream):
    """A connection that behaves as the one it wraps; subclasses replace what differs."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2's
        """As the wrapped one."""
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore2's
        """As the wrapped one."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """As the wrapped one."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
    ) -> httpcore2.AsyncNetworkStream:
        """As the wrapped one."""
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        """As the wrapped one."""
        return self._stream.get_extra_info(info)


class PoolTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an httpx2 client through a pool of connections of one backend.

    Args:
        backend: opens the connections.
        limits: of the pool.
        socket_path: the Unix socket all requests go to; None: the host of each request.
        tls: for ``https``; None: there is none.
        socket_options: of TCP connections.
    """

    def __init__(
        self,
        backend: httpcore2.AsyncNetworkBackend,
        limits: httpx2.Limits,
        *,
        socket_path: str | None = None,
        tls: ssl.SSLContext | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            uds=socket_path,
            socket_options=socket_options,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises ``httpx2.TransportError``."""
        target = request.url
        with _translated():
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(
                        scheme=target.raw_scheme,
                        host=target.raw_host,
                        port=target.port,
                        target=target.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        assert isinstance(response.stream, AsyncIterable)  # noqa: S101 - that of an asynchronous pool
        self._response = response
        self._pieces = response.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in self._pieces:
                yield piece

    async def aclose(self) -> None:
        with _translated():
            await self._response.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        kind: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__)
        raise kind(str(error)) from error
