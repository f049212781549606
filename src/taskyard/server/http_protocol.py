"""uvicorn's HTTP protocol with limits: on headers, on slow bodies, on connections of one address.

1. What the parser reads of a head is counted as it arrives: its size, its number of headers, and
   the seconds it may take.
2. A request that offers another protocol than WebSocket is served as if it had not
   (``upgrades.py``).
3. From its head on, a body has to arrive at some rate (``body_rate.py``).
4. Whoever breaks a limit is told why, and the connection is closed.
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from taskyard.core.errors import Overloaded
from taskyard.server.body_rate import BodyRate
from taskyard.server.connection_limit import ConnectionLimit
from taskyard.server.corked import Corked
from taskyard.server.http10 import without_chunks
from taskyard.server.upgrades import head_without_upgrade, is_websocket

HEADER_BYTES: Final = 32 << 10
HEADER_COUNT: Final = 128
HEADERS_S: Final = 20.0
"""Seconds a client may take to send the headers of a request."""
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
_PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with our limits; see above."""

    connection_limit = ConnectionLimit()

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
        self._body = BodyRate(
            self.loop, self._awaits_body, lambda: self.flow.read_paused, self._body_late
        )
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
            self._who = self.connection_limit.enter(self.client[0] if self.client else None)
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
        self._body.stop()
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
            self._body.watch()
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
        self._header_bytes = self._late_bytes = 0
        self._body.reset()

    def on_body(self, body: bytes) -> None:
        """A piece of the body arrived."""
        self._body.received_bytes += len(body)
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
                raise httptools.HttpParserError("this server is not a proxy")
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
            self.connection_limit.leave(self._who)
            self._who = None

    def _awaits_body(self) -> bool:
        cycle: Any = self.cycle
        return (
            cycle is not None
            and cycle.more_body
            and not cycle.response_complete
            and not self.transport.is_closing()
        )

    def _body_late(self) -> None:
        if self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, _SLOW)

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
