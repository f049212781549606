"""A channel of JSON datagrams, some with a descriptor, to the fork server or to a zygote."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

_DATAGRAM_MAX: Final = 128 << 10
_WAITING_MAX: Final = 4096
_AT_ONCE: Final = 64
"""Messages heard in one turn of the loop: who sends without end holds up nobody else."""


class Attached(Protocol):
    """A socket, or an open file."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Channel:
    """One end of a ``SOCK_SEQPACKET`` pair, in the event loop.

    Args:
        sock: is closed with the channel.
        heard: called with each message.
        hung_up: called once when the other end is gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        heard: Callable[[dict[str, Any]], None],
        hung_up: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._heard = heard
        self._hung_up = hung_up
        self._waiting: deque[tuple[bytes, tuple[Attached, ...]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: dict[str, Any], *attached: Attached) -> None:
        """Send soon, and in order; what is attached is closed here once it is on its way."""
        if self._closed or len(self._waiting) >= _WAITING_MAX:
            _close(attached)
            return
        self._waiting.append((msgspec.json.encode(message), attached))
        self._flush()

    def close(self) -> None:
        """Hang up. May be called twice; ``hung_up`` is not called by this."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, attached in self._waiting:
            _close(attached)
        self._waiting.clear()

    def _flush(self) -> None:
        while self._waiting and not self._closed:
            data, attached = self._waiting[0]
            try:
                if attached:
                    socket.send_fds(self._sock, [data], [one.fileno() for one in attached])
                else:
                    self._sock.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except OSError:
                self._end()
                return
            self._waiting.popleft()
            _close(attached)
        if not self._closed:
            self._loop.remove_writer(self._sock.fileno())

    def catch_up(self) -> None:
        """Hear what has arrived already. Whether the other end is gone shows later."""
        self._read(may_end=False)

    def _read(self, *, may_end: bool = True) -> None:
        for _ in range(_AT_ONCE):
            if self._closed:
                return
            try:
                data = self._sock.recv(_DATAGRAM_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                if may_end:
                    self._end()
                return
            try:
                message = msgspec.json.decode(data, type=dict[str, Any])
            except msgspec.DecodeError:
                # A zygote runs other people's code, which may have found the socket.
                self._end()
                return
            self._heard(message)

    def _end(self) -> None:
        if not self._closed:
            self.close()
            self._hung_up()


def _close(attached: Iterable[Attached]) -> None:
    for one in attached:
        one.close()


def datagrams() -> tuple[socket.socket, socket.socket]:
    """A pair for a channel: our end, the other end."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
