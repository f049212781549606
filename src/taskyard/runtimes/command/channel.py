"""The supervisor's end of its socket: lines of JSON from clients, and to them."""

import contextlib
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from taskyard.runtimes.command.lines import line
from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.protocol import MAX_LINE_BYTES, SOCKET
from taskyard.runtimes.processes.peers import is_ours
from taskyard.runtimes.processes.proc import Json

_READ_BYTES: Final = 64 * 1024
"""Less than what the allocator has the system map again each time."""
_WAITING_MAX: Final = 256
"""Requests taken in and not yet handled, after which a client's socket is left to fill."""
_UNSENT_MAX_BYTES: Final = 64 * 1024 * 1024


class Connection:
    """One connection."""

    __slots__ = ("_in", "_out", "closed", "listens", "requests", "sock", "waits_for_room")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.requests: deque[bytes] = deque()
        self.listens = False
        """Whether it wants to hear what happens to attempts."""
        self.closed = False
        self.waits_for_room = False
        """Whether the selector watches for room to send."""
        self._in = b""
        self._out = bytearray()

    def read(self) -> bool:
        """Take in what has arrived; False when the connection is over."""
        try:
            try:
                data = self.sock.recv(_READ_BYTES)
            except ConnectionResetError:
                # Told once, when the client went without reading all; what it sent is still there.
                data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        *lines, self._in = (self._in + data).split(b"\n") if self._in else data.split(b"\n")
        self.requests.extend(lines)
        return len(self._in) <= MAX_LINE_BYTES

    def put(self, message: bytes) -> None:
        """Send a line with the next flush."""
        self._out += message

    def flush(self) -> bool:
        """Send what can be sent; False when the client is hopelessly behind."""
        if self._out:
            try:
                sent = self.sock.send(self._out)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The client is gone, but may have said something before, which is still unread.
                sent = len(self._out)
            del self._out[:sent]
        return len(self._out) <= _UNSENT_MAX_BYTES

    @property
    def is_behind(self) -> bool:
        """Whether something waits for room in the socket."""
        return bool(self._out)


class Channel:
    """Listens on ``socket`` in the present directory and keeps the clients."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.clients: list[Connection] = []
        self._has_refused = False
        self._dirty: set[Connection] = set()
        self._left: deque[tuple[Connection, bytes]] = deque()
        """Requests of clients that are gone. They asked, so it happens."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)  # noqa: PTH108 - no pathlib in the supervisor
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A relative name, because the path of a Unix socket may have no more than 107 bytes.
        mask = os.umask(0o177)
        try:
            self._listener.bind(SOCKET)
        finally:
            os.umask(mask)
        self._listener.listen(16)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if not is_ours(sock):
            if not self._has_refused:
                log_error("connections from work are refused")
            self._has_refused = True
            sock.close()
            return
        sock.setblocking(False)
        client = Connection(sock)
        self.clients.append(client)
        self._selector.register(sock, selectors.EVENT_READ, self._reader(client))

    def _reader(self, client: Connection) -> Callable[[int], None]:
        def ready(events: int) -> None:
            if events & selectors.EVENT_WRITE:
                self._dirty.add(client)
            if (
                events & selectors.EVENT_READ
                and len(client.requests) < _WAITING_MAX
                and not client.read()
            ):
                self.drop(client)

        return ready

    @property
    def has_requests(self) -> bool:
        """Whether :meth:`take` would find any."""
        return bool(self._left) or any(client.requests for client in self.clients)

    def take(self, limit: int) -> list[tuple[Connection, bytes]]:
        """Up to so many requests, in turn from all clients."""
        taken: list[tuple[Connection, bytes]] = []
        while self._left and len(taken) < limit:
            taken.append(self._left.popleft())
        found = True
        while found and len(taken) < limit:
            found = False
            for client in self.clients:
                if client.requests:
                    taken.append((client, client.requests.popleft()))
                    found = True
        return taken

    def tell(self, client: Connection, message: Json) -> None:
        """Send an answer to one client with the next flush."""
        if not client.closed:
            client.put(line(message))
            self._dirty.add(client)

    def announce(self, message: bytes) -> None:
        """Send a line to everybody who listens, with the next flush."""
        for client in self.clients:
            if client.listens:
                client.put(message)
                self._dirty.add(client)

    def flush(self) -> None:
        """Send what waits."""
        for client in list(self._dirty):
            if not client.flush():
                self.drop(client)
            elif client.is_behind != client.waits_for_room:
                client.waits_for_room = client.is_behind
                events = selectors.EVENT_READ
                if client.waits_for_room:
                    events |= selectors.EVENT_WRITE
                self._selector.modify(client.sock, events, self._reader(client))
        self._dirty.clear()

    def drop(self, client: Connection) -> None:
        """End a connection."""
        if not client.closed:
            client.closed = True
            self._selector.unregister(client.sock)
            client.sock.close()
            self.clients.remove(client)
            self._left.extend((client, line) for line in client.requests)
            self._dirty.discard(client)

    def close(self) -> None:
        """End all connections and remove the socket."""
        for client in list(self.clients):
            self.drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)  # noqa: PTH108 - no pathlib in the supervisor
