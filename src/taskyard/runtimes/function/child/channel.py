"""An instance's channel to the runtime: whole frames, of the running call, from this process."""

import contextlib
import os
import socket
import threading
from typing import Final

from taskyard.runtimes.function.child.frames import Json, read_frame, write_frame


class Channel:
    """The socket of an instance, which any thread of it may write to.

    Forked children are shut out: what a handler forks shares the socket, and must never answer.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._call: object = None
        self.pid: Final = os.getpid()
        os.register_at_fork(after_in_child=self._shut_out)

    def read(self) -> tuple[Json, bytes]:
        """The next call, which frames belong to from now on. Raises ``Closed``, ``OSError``."""
        header, body = read_frame(self._sock)
        self._call = header.get("call")
        return header, body

    def ready(self) -> None:
        """Say that calls can come. Raises ``OSError``."""
        write_frame(self._sock, {"ready": True})

    def note(self, call: object, said: Json) -> None:
        """Say something about a call that runs; left out if it is over, or another frame is sent.

        Never waits: it may be called by a signal handler in the middle of a frame.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if call == self._call and os.getpid() == self.pid:
                write_frame(self._sock, {**said, "call": call})
        finally:
            self._lock.release()

    def answer(self, said: Json, *payload: bytes) -> None:
        """End the call that runs. Raises ``OSError``."""
        with self._lock:
            said["call"], self._call = self._call, None
            write_frame(self._sock, said, *payload)

    def _shut_out(self) -> None:
        # Another thread may have held it in the parent.
        self._lock = threading.Lock()
        self._call = None
        with contextlib.suppress(OSError):
            self._sock.close()
