"""Listeners: bound sockets, each served by a uvicorn server of its own."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httptools
import structlog
import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.dialects.http.requests import LOCAL_KEY
from taskyard.runtimes.processes.peers import Peer, handle_of, peer_of
from taskyard.server.controlpeers import is_task
from taskyard.server.corked import Corked
from taskyard.server.doors import MOST_CONNECTIONS, Doors
from taskyard.server.http10 import without_chunks
from taskyard.server.sockets import MESSAGE_BYTES, PING_S, STALL_S, DroppingProtocol
from taskyard.server.upgrades import head_without_upgrade, is_websocket

HEADER_BYTES: Final = 32 << 10
HEADER_COUNT: Final = 128
HEADERS_S: Final = 20.0
"""Seconds a client may take to send the headers of a request."""
BODY_GRACE_S: Final = 30.0
"""Seconds before a body has to have arrived at any rate, and between two looks at that."""
BODY_BYTES_PER_S: Final = 16 << 10
"""How fast bodies have to arrive from then on, on average."""
KEEP_ALIVE_S: Final = 75
BACKLOG: Final = 2048
TOO_MANY_S: Final = 2.0
"""Seconds that a connection too many gets to say what it wants, and be told."""
_DEL: Final = b"DEL "
_DELETE: Final = b"DELETE "
_TOO_LARGE: Final = (
    b'{"type":"about:blank#headers-too-large","title":"Request headers too large","status":431,'
    b'"detail":"request headers have at most 32768 bytes and 128 lines"}'
)
_NOT_HTTP: Final = (
    b'{"type":"about:blank#malformed-body","title":"Malformed request","status":400,'
    b'"detail":"this is not a valid HTTP request"}'
)
_LATE: Final = (
    b'{"type":"about:blank#request-timeout","title":"Request timeout","status":408,'
    b'"detail":"the request headers did not arrive in time"}'
)
_SLOW: Final = (
    b'{"type":"about:blank#request-timeout","title":"Request timeout","status":408,'
    b'"detail":"the request body arrives too slowly; send at least 16 KiB a second"}'
)
_TOO_MANY: Final = (
    b'{"type":"about:blank#overloaded","title":"Overloaded","status":429,'
    b'"detail":"your address has as many connections here as one may have; close some of them"}'
)
_NOT_OURS: Final = (
    b'{"type":"about:blank#not-allowed","title":"Not allowed","status":403,'
    b'"detail":"the control socket is for the user that runs the server, and not for tasks;'
    b' use the HTTP address and a token"}'
)

log = structlog.get_logger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on headers: their size, their number, their time.

    And on bodies that hardly arrive, and on the connections of one address.
    """

    doors = Doors()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Decided by uvicorn from the handlers of the whole process; costs a µs for each request.
        self.access_log = False
        self._in_headers = False
        self._began_now = False
        self._late_bytes = 0
        self._header_bytes = 0
        self._too_large = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._body_began = 0.0
        self._cork: Corked | None = None
        self._who: str | None = None
        """Whose connection it is, if that is counted."""
        self._is_one_too_many = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Give a client that says nothing no longer than one between two requests."""
        self._cork = Corked(transport, self.loop)
        super().connection_made(self._cork)  # type: ignore[arg-type]  # in all but name
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        try:
            self._who = self.doors.enter(self.client[0] if self.client else None)
        except Overloaded:
            self._is_one_too_many = True
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                TOO_MANY_S, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._unset_keepalive_if_required()
        self._stop_timer()
        self._stop_body_timer()
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a header that grows without an end is noticed before it is complete."""
        if self._is_one_too_many:
            # An answer before the request would be lost.
            self._refuse(429, _TOO_MANY)
            return
        self._began_now = False
        # uvicorn declares no None here, and begins with one.
        cycle: Any = self.cycle
        is_between = cycle is None or cycle.response_complete
        if is_between and not self._in_headers and data.startswith(_DEL):
            # A method of the fastlane dialect that the parser does not know; it means DELETE.
            data = _DELETE + data[len(_DEL) :]
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self.send_400_response(str(error))
        if self.transport.is_closing():
            return
        if not self._in_headers:
            if self._body_timer is None and self._awaits_body():
                self._body_began = self.loop.time()
                self._body_timer = self.loop.call_later(BODY_GRACE_S, self._look_at_body)
            return
        # The parser shows a header only once it is whole, so unfinished ones are counted here.
        if not self._began_now:
            self._late_bytes += len(data)
            if self._late_bytes > HEADER_BYTES:
                self._refuse(431, _TOO_LARGE)
                return
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADERS_S, self._headers_late)

    def _parse(self, data: bytes) -> None:
        """Parse on behind each offer of another protocol. Raises ``HttpParserError``."""
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                rest = rest[offer.args[0] :]
                self._begin_without_upgrade()
            else:
                return

    def _begin_without_upgrade(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = head_without_upgrade(method, self.url, version, self.headers)
        # Another one: behind "Connection: close" the old one takes nothing more.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)

    def _should_upgrade(self) -> bool:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        return is_websocket(method, version, self.headers)

    def _is_ignored(self) -> bool:
        """Whether these are headers with an offer, which come again without it."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = self._began_now = True
        self._header_bytes = self._late_bytes = self._body_bytes = 0
        self._stop_body_timer()

    def on_body(self, body: bytes) -> None:
        """A piece of the body arrived."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_url(self, url: bytes) -> None:
        """A part of the target arrived."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header arrived."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """All headers are here."""
        self._in_headers = False
        self._stop_timer()
        if self._is_ignored():
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("this is no proxy")
            return
        if self.url[:1] != b"/":
            self._take_host_of_target()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole, if the request is one."""
        if not self._is_ignored():
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Run the application for a request."""
        if cycle.scope["http_version"] == "1.0":
            app = without_chunks(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _take_host_of_target(self) -> None:
        """A target such as ``http://host/path`` names the host, whatever the header says (RFC 9112,
        3.2.2); of other forms, only ``*`` is known here.
        """
        if self.url == b"*":
            return
        scheme, mark, rest = self.url.partition(b"://")
        authority, slash, _ = rest.partition(b"/")
        if not mark or not slash or scheme.lower() not in {b"http", b"https"}:
            raise httptools.HttpParserError("unknown form of target")
        self.headers[:] = [pair for pair in self.headers if pair[0] != b"host"]
        self.headers.append((b"host", authority.rpartition(b"@")[2]))

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket protocol, which has to feel its peer fall behind
        with the very write that is too much. From then on it counts as a stream.
        """
        self._leave()
        if self._cork is not None:
            self.transport = self._cork.uncorked()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what was too much."""
        del msg
        if self._too_large:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, _NOT_HTTP)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES or len(self.headers) > HEADER_COUNT:
            self._too_large = True
            raise httptools.HttpParserError("headers too large")

    def _headers_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self._refuse(408, _LATE)

    def _leave(self) -> None:
        if self._who is not None:
            self.doors.leave(self._who)
            self._who = None

    def _awaits_body(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def _look_at_body(self) -> None:
        """Give up on a client that keeps a body going with a byte now and then."""
        self._body_timer = None
        if self.transport.is_closing() or not self._awaits_body():
            return
        now = self.loop.time()
        if self.flow.read_paused:
            self._body_began = now  # What has arrived waits for us, and not we for the client.
        elif self._body_bytes < (now - self._body_began - BODY_GRACE_S) * BODY_BYTES_PER_S or (
            not self._body_bytes
        ):
            if self.cycle.response_started:
                self.transport.close()
            else:
                self._refuse(408, _SLOW)
            return
        self._body_timer = self.loop.call_later(BODY_GRACE_S, self._look_at_body)

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _refuse(self, status: int, body: bytes) -> None:
        self._stop_timer()
        head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\n".encode()
        head += b"content-type: application/problem+json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


_PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


def _is_task(sock: socket.socket, peer: Peer) -> bool:
    try:
        handle = handle_of(sock, peer)
    except ProcessLookupError:
        return True  # Whoever it was, somebody else would get the answer.
    try:
        return is_task(peer, handle)
    finally:
        if handle is not None:
            os.close(handle)


class ControlProtocol(BoundedProtocol):
    """HTTP for those who own the server: its own user, and no task that it runs as that user."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Ask the system who is there."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        peer = peer_of(sock)
        # Where the system does not tell, the mode of the socket has to do.
        self._refused = peer is not None and (peer.uid != os.geteuid() or _is_task(sock, peer))
        if peer is not None and self._refused:
            log.warning("control_socket_refused", pid=peer.pid, uid=peer.uid)

    def data_received(self, data: bytes) -> None:
        """Tell whoever may not be here so; an answer before the request would be lost."""
        if self._refused:
            self._refuse(403, _NOT_OURS)
        else:
            super().data_received(data)


def _counting(protocol: type[BoundedProtocol], own: Doors) -> type[BoundedProtocol]:
    """The protocol of one listener, which counts its own connections."""

    class Counting(protocol):  # type: ignore[valid-type,misc]  # one of two, known when it is made
        doors = own

    return Counting


class Listener:
    """One bound socket and the server that accepts on it."""

    def __init__(
        self,
        sock: socket.socket,
        app: ASGIApp,
        shutdown_s: float,
        *,
        control: bool = False,
        doors: Doors | None = None,
    ) -> None:
        """Prepare to serve ``app`` on a bound socket; ``control`` for the control socket.

        ``doors`` are of this listener alone.
        """
        self.socket = sock
        config = uvicorn.Config(
            app,
            http=_counting(ControlProtocol if control else BoundedProtocol, doors or Doors()),
            ws=DroppingProtocol,
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


def bind_unix(path: Path) -> socket.socket | None:
    """A listening Unix socket that its owner alone can reach; None if the path is too long.

    Replaces what is there: call it only while holding the lock of the directory.
    """
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        if "too long" in str(error):
            return None
        raise
    finally:
        os.umask(before)
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound


def local_admin(app: ASGIApp) -> ASGIApp:
    """The application for a socket whose every caller owns the data directory."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][LOCAL_KEY] = True
        await app(scope, receive, send)

    return serve


async def started(listeners: list[Listener], timeout_s: float = 10.0) -> None:
    """Wait until all of them accept connections. Raises ``Unavailable`` after ``timeout_s``."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not all(one.started for one in listeners):
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("the listeners did not start in time")
        await asyncio.sleep(0.005)
