"""Notices the ends of processes that are not our children."""

import os
import selectors
import time
from collections.abc import Callable
from typing import Final

from taskyard.runtimes.command.timers import Timers
from taskyard.runtimes.processes import proc

_LOOK_EVERY_S: Final = 0.05


class ExitWatch:
    """Watches them by their descriptors, or by looking where the kernel has none."""

    def __init__(self, selector: selectors.BaseSelector, timers: Timers) -> None:
        self._selector = selector
        self._timers = timers

    def watch(self, pid: int, start_ticks: int, ended: Callable[[], None]) -> None:
        """Call ``ended`` once, when the process has ended.

        Args:
            pid: of the process.
            start_ticks: when it started: the pid may be another one's by now.
            ended: may be called at once.
        """
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            # It is gone, or the kernel is older than 5.3.
            self._look(pid, start_ticks, ended)
            return

        def gone(_events: int) -> None:
            self._selector.unregister(fd)
            os.close(fd)
            ended()

        self._selector.register(fd, selectors.EVENT_READ, gone)

    def _look(self, pid: int, start_ticks: int, ended: Callable[[], None]) -> None:
        main = proc.process(pid)
        if main is not None and main.alive and main.start_ticks == start_ticks:
            when = time.monotonic() + _LOOK_EVERY_S
            self._timers.at(when, lambda: self._look(pid, start_ticks, ended))
        else:
            ended()
