"""Which pipe was written to first: the kernel notes each write. Standard library only.

Two pipes have no common order, and whoever reads them is woken when several writes have gone into
each. But a pipe can be had to send its reader a real-time signal for each write, and these are
queued, with the number of the descriptor, in the order in which they are sent. A writer is neither
slowed down for it nor does it see anything of it.
"""

import contextlib
import fcntl
import os
import signal
import struct
import threading
from typing import Final, Protocol

from taskyard.runtimes.output.pipes import OutputPipe
from taskyard.runtimes.processes import linux

SIGNAL: Final = signal.SIGRTMIN + 1
_SIGNALS: Final = (SIGNAL, signal.SIGIO)
"""The second one comes once in place of all that the kernel has no room to queue."""
_F_SETOWN_EX: Final = 15
_F_OWNER_TID: Final = 0
_OWNER: Final = struct.Struct("ii")
_INFO: Final = struct.Struct("<IiiIIi104x")
_READ_BYTES: Final = 512 * _INFO.size
_READS: Final = 16
"""At most at a time: others have their turn."""
_LOOKS: Final = 3


class Listener(Protocol):
    """Who is told of writes to its pipes."""

    written: list[int]
    """Is appended to: which of its pipes was written to, write by write. Some of these may have
    written nothing, or something that was taken before."""
    is_unsure: bool
    """Is set when writes were missed, or may have been."""

    def take_written(self) -> None:
        """Something was added to ``written``."""
        ...


class WriteSignals:
    """The queue of writes to the pipes that this thread reads.

    Belongs to the thread that makes it. What this thread starts has the signals blocked, unless
    it sees to that.
    """

    def __init__(self) -> None:
        """Raises ``OSError`` where the system has nothing like it."""
        for number in _SIGNALS:
            # They are never handled; but what unblocks them by mistake must not be our end. Only
            # the main thread may say so.
            with contextlib.suppress(ValueError):
                signal.signal(number, lambda _number, _frame: None)
        self.fd = linux.signal_descriptor(_SIGNALS)
        """Can be read when there is something to :meth:`take`."""
        self._owner = _OWNER.pack(_F_OWNER_TID, threading.get_native_id())
        self._listeners: dict[int, tuple[Listener, int]] = {}
        self.waiting: dict[Listener, None] = {}
        """Who was told something and has not been taken out of here since."""

    def listen(self, pipe: OutputPipe, listener: Listener, index: int) -> None:
        """Tell of the writes to a pipe from now on, as those to the one of this index.

        Raises ``OSError``.
        """
        fd = pipe.reading
        fcntl.fcntl(fd, _F_SETOWN_EX, self._owner)
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGNAL)
        self._listeners[fd] = (listener, index)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def ignore(self, pipe: OutputPipe) -> None:
        """Tell nobody any more; before the pipe is closed."""
        if self._listeners.pop(pipe.reading, None) is not None:
            fcntl.fcntl(pipe.reading, fcntl.F_SETFL, os.O_NONBLOCK)

    def forget(self, pipe: OutputPipe) -> None:
        """The same for a pipe that is about to be closed."""
        self._listeners.pop(pipe.reading, None)

    def take(self) -> None:
        """Tell all listeners what was noted until now. Does not block."""
        for _ in range(_READS):
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                return
            for number, _, code, _, _, fd in _INFO.iter_unpack(data):
                if number != SIGNAL:
                    self._missed()
                elif code > 0 and (found := self._listeners.get(fd)) is not None:
                    listener, index = found
                    listener.written.append(index)
                    self.waiting[listener] = None
            if len(data) < _READ_BYTES:
                return

    def look(
        self, listener: Listener, pipes: tuple[OutputPipe, OutputPipe]
    ) -> tuple[int, tuple[int, int]]:
        """How many of a listener's writes are certain to be in its pipes, or taken; and how much is
        in these.

        There are no others as a rule: it is looked several times for a moment in which nothing is
        on its way. Raises ``OSError``.
        """
        written = listener.written
        sure = -1
        left = (0, 0)
        for _ in range(_LOOKS):
            if len(written) == sure:
                break
            sure = len(written)
            left = (pipes[0].waiting_bytes(), pipes[1].waiting_bytes())
            self.take()
        self.waiting.pop(listener, None)
        return sure, left

    def _missed(self) -> None:
        for listener, _ in self._listeners.values():
            listener.is_unsure = True
            self.waiting[listener] = None

    def close(self) -> None:
        """Let go of the queue."""
        os.close(self.fd)
