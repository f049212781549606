"""TLS whose writing can be ended while reading goes on, as standard input needs it.

TLS ends one direction with an alert, ``close_notify`` (RFC 8446, 6.1). AnyIO 4.16 cannot send it
alone, and ending the TCP connection below it instead breaks the other direction for every peer that
uses OpenSSL: the rest of the output is lost, and engines drop input they have not passed on yet.
"""

import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import anyio
import httpcore2

from taskyard.runtimes.engine.transport import StreamWrapper

_READ_BYTES: Final = 1 << 16
END_WRITING: Final = "end_writing"
"""Under this name :meth:`get_extra_info` gives the method that ends one direction."""


class TlsStream(httpcore2.AsyncNetworkStream):
    """TLS on top of a connection. One task may read while another writes."""

    def __init__(
        self, plain: httpcore2.AsyncNetworkStream, context: ssl.SSLContext, hostname: str | None
    ) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=False, server_hostname=hostname
        )
        self._sending = anyio.Lock()
        self._read: deque[bytes] = deque()
        """Decrypted before anybody asked for it."""

    async def shake_hands(self, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore2's
        """Begin. Raises ``httpcore2.ConnectError`` or ``ConnectTimeout``."""
        try:
            with anyio.fail_after(timeout):
                while True:
                    try:
                        self._tls.do_handshake()
                    except ssl.SSLWantReadError:
                        await self._flush(None)
                        await self._fill(None)
                    else:
                        await self._flush(None)
                        return
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except (ssl.SSLError, httpcore2.NetworkError) as error:
            # What the peer is to know of it, such as that its certificate is not accepted.
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await self._say_last()
            raise httpcore2.ConnectError(str(error)) from error

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2's
        """Something; empty at the end, whether or not the peer took leave."""
        if self._read:
            first = self._read.popleft()
            if len(first) > max_bytes:
                self._read.appendleft(first[max_bytes:])
            return first[:max_bytes]
        while True:
            try:
                return self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                await self._flush(timeout)
                await self._fill(timeout)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore2's
        """Send all of it."""
        view = memoryview(buffer)
        try:
            while view:
                view = view[self._tls.write(view) :]
                await self._flush(timeout)
        except ssl.SSLError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def end_writing(self) -> None:
        """Nothing more will be written; what the peer sends is read on."""
        # What is there is read first: OpenSSL takes application data for a breach of the protocol
        # while it waits for the peer's own farewell, which Python's unwrap always does.
        try:
            while data := self._tls.read(_READ_BYTES):
                self._read.append(data)
        except ssl.SSLWantReadError:
            try:
                self._tls.unwrap()
            except ssl.SSLWantReadError:
                await self._flush(None)
        except ssl.SSLError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close the connection, without taking leave."""
        await self._plain.aclose()

    def get_extra_info(self, info: str) -> Any:
        """As httpcore2 asks for it; also the method that ends one direction."""
        if info == "ssl_object":
            return self._tls
        return self.end_writing if info == END_WRITING else self._plain.get_extra_info(info)

    async def _flush(self, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore2's
        # Two tasks may have something to send; what was encrypted first goes first.
        async with self._sending:
            if data := self._outgoing.read():
                await self._plain.write(data, timeout)

    async def _fill(self, timeout: float | None) -> None:  # noqa: ASYNC109 - httpcore2's
        if data := await self._plain.read(_READ_BYTES, timeout):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _say_last(self) -> None:
        try:
            await self._flush(None)
        except httpcore2.NetworkError:
            return  # nobody is there to hear it


class _Plain(StreamWrapper):
    """A TCP connection that becomes one of ours."""

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
    ) -> httpcore2.AsyncNetworkStream:
        made = TlsStream(self._stream, ssl_context, server_hostname)
        try:
            await made.shake_hands(timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        return made


class TlsBackend(httpcore2.AnyIOBackend):
    """Opens TCP connections whose TLS is ours."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """See httpcore2."""
        return _Plain(await super().connect_tcp(host, port, timeout, local_address, socket_options))
