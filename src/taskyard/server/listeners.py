"""Listeners: bound sockets, each served by a uvicorn server of its own."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from litestar.types import ASGIApp

from taskyard.core.errors import Unavailable
from taskyard.server.connection_limit import MOST_CONNECTIONS, ConnectionLimit
from taskyard.server.control_socket import BACKLOG, ControlProtocol
from taskyard.server.http_protocol import BoundedProtocol
from taskyard.server.websocket_protocol import (
    MESSAGE_BYTES,
    PING_S,
    STALL_S,
    BoundedWebSocketProtocol,
)

KEEP_ALIVE_S: Final = 75


def _limited(protocol: type[BoundedProtocol], own: ConnectionLimit) -> type[BoundedProtocol]:
    """The protocol of one listener, which limits its own connections."""

    class Limited(protocol):  # type: ignore[valid-type,misc]  # one of two, known when it is made
        connection_limit = own

    return Limited


class Listener:
    """One bound socket and the server that accepts on it."""

    def __init__(
        self,
        sock: socket.socket,
        app: ASGIApp,
        shutdown_s: float,
        *,
        control: bool = False,
        connection_limit: ConnectionLimit | None = None,
    ) -> None:
        """Prepare to serve ``app`` on a bound socket; ``control`` for the control socket.

        ``connection_limit`` belongs to this listener alone.
        """
        self.socket = sock
        config = uvicorn.Config(
            app,
            http=_limited(
                ControlProtocol if control else BoundedProtocol,
                connection_limit or ConnectionLimit(),
            ),
            ws=BoundedWebSocketProtocol,
            ws_max_size=MESSAGE_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=STALL_S,
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(shutdown_s)),
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Accept until :meth:`stop`; returns when connections are closed."""
        await self._server.serve([self.socket])

    def stop(self) -> None:
        """Accept no more, let requests under way end. May be called twice."""
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        """Whether connections are accepted."""
        return self._server.started


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to whoever runs several of them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening address. Raises ``OSError`` that names the address and what is wrong with it."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except socket.gaierror as error:
        raise OSError(error.errno, f"cannot listen on {host!r}: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Now, and not once the store is open: a second server must fail before it touches a thing.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        known = {errno.EADDRINUSE: "the address is in use"}
        said = known.get(error.errno or 0, error.strerror)
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {said}") from error
    bound.setblocking(False)
    return bound


async def started(listeners: list[Listener], timeout_s: float = 10.0) -> None:
    """Wait until all of them accept connections. Raises ``Unavailable`` after ``timeout_s``."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not all(one.started for one in listeners):
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("the listeners did not start in time")
        await asyncio.sleep(0.005)
