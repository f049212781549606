"""Looks after the output of everything that runs, as long as anything does."""

import time
from collections.abc import Mapping
from typing import Final

from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.supervised_process import SupervisedProcess
from taskyard.runtimes.command.timers import Timers

_EVERY_S: Final = 0.25
_IN_NEED_S: Final = 0.05
"""The same while the disk is nearly full."""


class OutputWatch:
    """Looks at every output four times a second.

    Args:
        timers: of the supervisor.
        supervised: what runs, by attempts; changes meanwhile.
    """

    def __init__(self, timers: Timers, supervised: Mapping[str, SupervisedProcess]) -> None:
        self._timers = timers
        self._supervised = supervised
        self._looks = False

    def begin(self) -> None:
        """Something runs from now on."""
        if not self._looks:
            self._looks = True
            self._timers.at(time.monotonic() + _EVERY_S, self._look)

    def _look(self) -> None:
        every_s = _EVERY_S
        for one in self._supervised.values():
            try:
                if one.output.look():
                    every_s = _IN_NEED_S
            except OSError as error:
                log_error(f"attempt {one.attempt_id}: its output cannot be looked after: {error}")
        self._looks = bool(self._supervised)
        if self._looks:
            self._timers.at(time.monotonic() + every_s, self._look)
