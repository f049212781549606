"""A member that is a container, and the socket it connects to."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from taskyard.runtimes.function.member import Answer, Member, Owner
from taskyard.runtimes.image.request import SOCKET
from taskyard.runtimes.image.vessel import Vessel

_SOCKETS = "sockets"


class ImageMember(Member):
    """A program in a container that answers calls."""

    def __init__(
        self,
        owner: Owner,
        number: int,
        directory: Path,
        vessel: Vessel,
        heard: Callable[[Member, Answer, bytes], None],
        hung_up: Callable[[Member], None],
        result_bytes: int,
    ) -> None:
        super().__init__(owner, number, directory, vessel, heard, hung_up, result_bytes)
        self.vessel = vessel
        self._server: asyncio.Server | None = None
        self._is_connected = False

    @property
    def sockets(self) -> Path:
        """The directory that its container gets to see."""
        return self.directory / _SOCKETS

    async def listen(self) -> None:
        """Wait for its program to connect. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._protocol, sock=_bound(self.directory))

    def _protocol(self) -> asyncio.BaseProtocol:
        if self._is_connected:
            return _Refusal()
        self._is_connected = True
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self.stop_listening()
        if self.retired:
            self.hang_up()

    def stop_listening(self) -> None:
        """Nobody may connect any more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def give(self, header: Answer, body: bytes) -> None:
        """See the base. Output files are ours: the program is not told of them."""
        header.pop("fresh", None)
        super().give(header, body)

    def hang_up(self) -> None:
        """See the base."""
        self.stop_listening()
        if self._is_connected:
            super().hang_up()
        elif not self.hung_up:
            self.connection_lost(None)


class _Refusal(asyncio.Protocol):
    """Ends a connection: a member has one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def prepare(directory: Path) -> None:
    """Make a member's directories. Raises ``OSError``.

    Whoever is to use the socket is known to the image only, so anybody may; but nobody gets
    through the directory around it, other than by the mount inside the container.
    """
    directory.mkdir(mode=0o700, parents=True)
    inner = directory / _SOCKETS
    inner.mkdir()
    inner.chmod(0o755)


def _bound(directory: Path) -> socket.socket:
    """The listening socket, however long the path to it is."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        descriptor = os.open(directory / _SOCKETS, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{descriptor}/{SOCKET}"
            sock.bind(path)
            # Behind a directory that lets nobody else through.
            os.chmod(path, 0o666)  # noqa: PTH101, S103
        finally:
            os.close(descriptor)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
