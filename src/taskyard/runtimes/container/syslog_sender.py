"""Takes messages to log servers, without anybody waiting for it.

Each server has a queue with an end: what does not fit is dropped and counted. A server that cannot
be reached is tried again and again, as long as there is something new for it.
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import anyio
import structlog
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint

from taskyard.core.backoff import Backoff
from taskyard.core.notifications.addresses import parse_address, refusal
from taskyard.core.syslog import Protocol, SyslogServer

QUEUE_BYTES: Final = 1 << 20
"""For one server."""
ALL_BYTES: Final = 16 << 20
"""For all of them."""
_SERVERS: Final = 256
_CONNECT_S: Final = 5.0
_SEND_S: Final = 10.0
_BATCH_BYTES: Final = 64 << 10
_IDLE_S: Final = 30.0
"""A connection without anything to say is closed, and a server that cannot be reached given up."""
_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 10.0
_FULL_S: Final = 0.005
_FLUSH_S: Final = 2.0
"""For what is still waiting when everything stops."""

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to addresses as text; raises ``OSError``."""

_log = structlog.get_logger(__name__)


async def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class ServerRefused(Exception):
    """The server is at an address that nothing may be sent to."""


class _Queue:
    """What waits for one server."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.size = 0
        self.sent = 0
        self.dropped = 0
        self.news = anyio.Event()
        self.last_at = time.monotonic()
        """When something was put in."""


class SyslogSender:
    """All log servers of a runtime. Belongs to one event loop."""

    def __init__(self, *, allow_private: bool, resolver: Resolver = resolve) -> None:
        """Prepare.

        Args:
            allow_private: send to any address whatever.
            resolver: how names are looked up.
        """
        self._allow_private = allow_private
        self._resolve = resolver
        self._queues: dict[SyslogServer, _Queue] = {}
        self._held = 0
        self._group: TaskGroup | None = None

    def begin(self, group: TaskGroup) -> None:
        """Work in this group, until it is cancelled."""
        self._group = group

    def hand(self, server: SyslogServer, message: bytes) -> bool:
        """A message for a server. Never waits; drops it if there is no room.

        False if nothing is taken any more, because everything stops.
        """
        if self._group is None:
            return False
        queue = self._queues.get(server)
        if queue is None:
            if len(self._queues) >= _SERVERS:
                _log.warning("message dropped: too many log servers", server=str(server))
                return True
            queue = self._queues[server] = _Queue()
            self._group.start_soon(self._serve, server, queue)
        queue.last_at = time.monotonic()
        size = len(message)
        if queue.size + size > QUEUE_BYTES or self._held + size > ALL_BYTES:
            queue.dropped += 1
            return True
        queue.messages.append(message)
        queue.size += size
        self._held += size
        queue.news.set()
        return True

    async def flush(self) -> None:
        """Take nothing more, and give what is waiting a short while to leave."""
        self._group = None
        with anyio.move_on_after(_FLUSH_S):
            while self._held:  # noqa: ASYNC110 - whoever is last
                await anyio.sleep(0.01)

    async def _serve(self, server: SyslogServer, queue: _Queue) -> None:
        backoff = Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S)
        send = self._by_datagrams if server.protocol is Protocol.UDP else self._by_stream
        try:
            while True:
                sent = queue.sent
                try:
                    await send(server, queue)
                except OSError as error:  # TimeoutError is one
                    said = str(error) or type(error).__name__
                    _log.info("log server not reached", server=str(server), why=said)
                if queue.sent > sent:
                    backoff.reset()
                if not await self._more(queue) or time.monotonic() - queue.last_at >= _IDLE_S:
                    return
                await anyio.sleep(backoff.delay_s())
        except ServerRefused as error:
            _log.warning("log server refused", server=str(server), why=str(error))
            # Whatever comes within a while would be refused too.
            await anyio.sleep(_IDLE_S)
        finally:
            queue.dropped += len(queue.messages)
            self._held -= queue.size
            del self._queues[server]
            self._tell_dropped(server, queue)

    async def _by_stream(self, server: SyslogServer, queue: _Queue) -> None:
        trouble: OSError | None = None
        async with self._connected(server) as stream, anyio.create_task_group() as group:
            group.start_soon(_until_closed, stream, group)
            try:
                while await self._more(queue):
                    messages = _batch(queue)
                    with anyio.fail_after(_SEND_S):
                        await stream.send(b"".join(one + b"\n" for one in messages))
                    self._done(server, queue, messages)
            except OSError as error:
                trouble = error
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                trouble = OSError(str(error) or "the connection broke")
            group.cancel_scope.cancel()
        if trouble is not None:
            raise trouble

    async def _by_datagrams(self, server: SyslogServer, queue: _Queue) -> None:
        address = (await self._addresses(server))[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as datagrams:
            datagrams.connect((address, server.port))
            while await self._more(queue):
                messages = _batch(queue)
                for message in messages:
                    await _send_datagram(datagrams, message)
                self._done(server, queue, messages)
                await checkpoint()

    @contextlib.asynccontextmanager
    async def _connected(self, server: SyslogServer) -> AsyncIterator[ByteStream]:
        last: OSError = OSError("has no address")
        for address in await self._addresses(server):
            try:
                with anyio.fail_after(_CONNECT_S):
                    stream = await anyio.connect_tcp(address, server.port)
            except OSError as error:
                last = error
                continue
            try:
                yield stream
            finally:
                await anyio.aclose_forcefully(stream)
            return
        raise last

    async def _addresses(self, server: SyslogServer) -> list[str]:
        """Where a server is. Raises ``OSError``, :class:`ServerRefused`."""
        with anyio.fail_after(_CONNECT_S):
            try:
                found = await self._resolve(server.host, server.port)
                addresses = [parse_address(text) for text in found]
            except ValueError as error:
                raise OSError(f"cannot be resolved: {error}") from error
        if not addresses:
            raise OSError("has no address")
        for address in addresses:
            kind = None if self._allow_private else refusal(address)
            if kind is not None:
                raise ServerRefused(f"is at a {kind} address, which is not allowed here")
        return [str(address) for address in addresses]

    async def _more(self, queue: _Queue) -> bool:
        """Wait until something is there; False if nothing has come for a while."""
        if not queue.messages:
            queue.news = anyio.Event()
            with anyio.move_on_after(_IDLE_S):
                await queue.news.wait()
        return bool(queue.messages)

    def _done(self, server: SyslogServer, queue: _Queue, messages: list[bytes]) -> None:
        for message in messages:
            queue.messages.popleft()
            queue.size -= len(message)
            self._held -= len(message)
        queue.sent += len(messages)
        self._tell_dropped(server, queue)

    def _tell_dropped(self, server: SyslogServer, queue: _Queue) -> None:
        if queue.dropped:
            _log.warning("messages dropped", server=str(server), count=queue.dropped)
            queue.dropped = 0


def _batch(queue: _Queue) -> list[bytes]:
    size = 0
    messages: list[bytes] = []
    for message in queue.messages:
        size += len(message)
        if messages and size > _BATCH_BYTES:
            break
        messages.append(message)
    return messages


async def _until_closed(stream: ByteStream, group: TaskGroup) -> None:
    """Log servers say nothing; one that ends the connection has to be connected to again."""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, OSError):
        while True:
            await stream.receive()
    group.cancel_scope.cancel()


async def _send_datagram(datagrams: socket.socket, message: bytes) -> None:
    """Once; whether it arrives nobody knows, and that nobody listens is no reason to stop."""
    while True:
        try:
            datagrams.send(message)
        except BlockingIOError:
            await anyio.sleep(_FULL_S)
        except OSError as error:
            _log.debug("datagram not sent", why=str(error))
            return
        else:
            return
