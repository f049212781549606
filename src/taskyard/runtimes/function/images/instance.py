"""An instance that is a container, and the socket it connects to."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from taskyard.runtimes.function.images.instance_container import InstanceContainer
from taskyard.runtimes.function.images.request import SOCKET
from taskyard.runtimes.function.instance import Answer, Instance, Owner

_SOCKETS = "sockets"


class ImageInstance(Instance):
    """A program in a container that answers calls."""

    def __init__(
        self,
        owner: Owner,
        number: int,
        directory: Path,
        container: InstanceContainer,
        heard: Callable[[Instance, Answer, bytes], None],
        hung_up: Callable[[Instance], None],
        result_bytes: int,
        spawn: Callable[..., object],
    ) -> None:
        super().__init__(owner, number, directory, container, heard, hung_up, result_bytes)
        self.container = container
        self._spawn = spawn
        self._listener: socket.socket | None = None
        self._is_connected = False

    @property
    def sockets(self) -> Path:
        """The directory that its container gets to see."""
        return self.directory / _SOCKETS

    def listen(self) -> None:
        """Wait for its program to connect. Raises ``OSError``."""
        self._listener = listener = _bound(self.directory)
        # Not a server of asyncio: that loses whoever connects while it is being closed.
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It hung up already, and may try again.
            return
        self.stop_listening()
        if self.retired:
            connection.close()
            return
        connection.setblocking(False)
        self._is_connected = True
        self._spawn(self._connect, connection)

    async def _connect(self, connection: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self, connection)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        if self.retired:
            self.hang_up()

    def stop_listening(self) -> None:
        """Nobody may connect any more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()

    def hang_up(self) -> None:
        """See the base."""
        self.stop_listening()
        if self._is_connected:
            super().hang_up()
        elif not self.hung_up:
            self.connection_lost(None)


def prepare(directory: Path) -> None:
    """Make an instance's directories. Raises ``OSError``.

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
        sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock
