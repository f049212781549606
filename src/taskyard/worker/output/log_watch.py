"""One watcher shared by all that wait for output to grow.

Growth is found by looking: a ``stat`` costs one or two microseconds, needs no descriptor and works
on every file system, while change notification by the kernel would have to be told of each file
and would wake us for each write. As long as nobody waits, nothing is looked at.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from taskyard.worker.output.attempt_log import AttemptOutput

IDLE_AFTER_S: Final = 3.0
"""An attempt that has written nothing for so long is looked at less often."""
_LARGEST_SHARE: Final = 0.25
"""Share of the loop's time that looking may take; with very many waiters it slows down instead."""


class _Watched:
    """One attempt with waiters."""

    __slots__ = ("due_at", "event", "known", "output", "since", "waiters")

    def __init__(self, output: AttemptOutput, now: float) -> None:
        self.output = output
        self.known = output.grown()
        self.event = anyio.Event()
        self.waiters = 0
        self.since = now
        self.due_at = now

    def changed(self) -> bool:
        try:
            return self.output.grown() != self.known
        except OSError:
            return True  # whoever waits will meet the error when reading


class LogWatch:
    """Polls the outputs that are waited for. Belongs to one event loop."""

    def __init__(self, interval_s: float, idle_interval_s: float) -> None:
        self._interval_s = interval_s
        self._idle_interval_s = idle_interval_s
        self._watched: dict[Path, _Watched] = {}
        self._timer: asyncio.Handle | None = None
        self._look_at = 0.0
        """When the timer goes off, by the loop's clock. A timer cannot always tell: uvloop makes a
        plain handle of one that is to go off within half a millisecond."""

    @contextmanager
    def waiting(self, output: AttemptOutput) -> Iterator[anyio.Event]:
        """Have the output watched inside the block; the event is set when it has changed.

        The state that counts as known is that at the time of the call, or a little before if
        others wait already.
        """
        watched = self._watched.get(output.directory)
        if watched is None:
            watched = _Watched(output, time.monotonic())
            self._watched[output.directory] = watched
        watched.waiters += 1
        self._schedule(self._interval_s)
        try:
            yield watched.event
        finally:
            watched.waiters -= 1
            if not watched.waiters and self._watched.get(output.directory) is watched:
                del self._watched[output.directory]
            if not self._watched and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def touch(self, directory: Path) -> None:
        """Wake the waiters of an attempt without looking."""
        watched = self._watched.pop(directory, None)
        if watched is not None:
            watched.event.set()

    @property
    def polling(self) -> bool:
        """Whether there are waiters."""
        return self._timer is not None

    def _schedule(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + delay_s
        if self._timer is not None:
            if self._look_at <= when:
                return
            self._timer.cancel()
        self._look_at = when
        self._timer = loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        began = time.monotonic()
        next_at = began + self._idle_interval_s
        for directory, watched in list(self._watched.items()):
            if watched.due_at <= began:
                if watched.changed():
                    # The next one to wait starts afresh.
                    del self._watched[directory]
                    watched.event.set()
                    continue
                idle = began - watched.since > IDLE_AFTER_S
                watched.due_at = began + (self._idle_interval_s if idle else self._interval_s)
            next_at = min(next_at, watched.due_at)
        if self._watched:
            now = time.monotonic()
            self._schedule(max(next_at - now, (now - began) / _LARGEST_SHARE))
