"""Log servers that keep what they are told."""

import socket
import threading
from types import TracebackType
from typing import Self


class Receiver:
    """A log server on loopback, over UDP or TCP; keeps whole messages, without their header."""

    def __init__(self, protocol: str, port: int = 0) -> None:
        self.protocol = protocol
        self.messages: list[bytes] = []
        self.connections = 0
        self._kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        self._port = port
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._socket = socket.socket(socket.AF_INET, self._kind)

    @property
    def server(self) -> str:
        """Where it is, as tasks are told."""
        return f"{self.protocol}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        found: int = self._socket.getsockname()[1]
        return found

    @property
    def texts(self) -> list[bytes]:
        """What lines said, in order."""
        return [one.split(b": ", 1)[1] for one in self.messages]

    def __enter__(self) -> Self:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", self._port))
        self._socket.settimeout(0.05)
        if self._kind == socket.SOCK_STREAM:
            self._socket.listen()
        self._start(self._accept if self._kind == socket.SOCK_STREAM else self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def _start(self, target: object, *given: object) -> None:
        thread = threading.Thread(target=target, args=given, daemon=True)  # type: ignore[arg-type]  # bound methods
        self._threads.append(thread)
        thread.start()

    def _receive(self) -> None:
        while not self._stopping.is_set():
            try:
                self.messages.append(self._socket.recv(65536))
            except TimeoutError:
                continue

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            self._start(self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        with connection:
            connection.settimeout(0.05)
            while not self._stopping.is_set():
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                self.messages += lines
