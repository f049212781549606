"""Unix sockets whose reads may be cancelled at any moment.

AnyIO 4.16 on asyncio: the read of a Unix socket that is cancelled in the very turn of the event
loop in which something arrives leaves an ``InvalidStateError`` behind, for it sets a future that is
cancelled already. Attachments and logs are read until nobody needs them any more, often while
containers talk. So reads wait with AnyIO's ``wait_readable``, which is free of that, and read only
what is there.
"""

import socket
from collections.abc import Iterable

import anyio
import anyio.abc
import httpcore2

from taskyard.runtimes.engine.transport import StreamWrapper


async def arrival(stream: anyio.abc.ByteStream) -> None:
    """Return once something, or the end, can be read from a Unix socket.

    Raises ``anyio.ClosedResourceError`` if it is closed meanwhile.
    """
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    await anyio.wait_readable(raw)


class _Stream(StreamWrapper):
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        super().__init__(stream)
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2's
        if self._closed:
            raise httpcore2.ReadError("closed")
        try:
            with anyio.fail_after(timeout):
                await anyio.wait_readable(self._socket)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout from error
        except anyio.ClosedResourceError as error:
            raise httpcore2.ReadError("closed") from error
        return await super().read(max_bytes, timeout)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._socket)
        await super().aclose()


class UnixBackend(httpcore2.AnyIOBackend):
    """Opens Unix sockets whose reads may be cancelled."""

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """See httpcore2."""
        return _Stream(await super().connect_unix_socket(path, timeout, socket_options))
