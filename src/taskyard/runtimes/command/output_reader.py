"""Telling the outputs of all attempts that something was written. Standard library only."""

import selectors
import time
from typing import Final

from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.timers import Timer, Timers
from taskyard.runtimes.output.writes import Listener, WriteSignals

PAUSE_S: Final = 0.002
"""Who writes too often is not looked at for so long."""


class OutputReader:
    """What reads the outputs of all attempts."""

    def __init__(self, selector: selectors.BaseSelector, timers: Timers) -> None:
        """Both are told what to call: ``selector`` when there is output, ``timers`` soon after."""
        self.selector = selector
        self.timers = timers
        self._again: Timer | None = None
        self._rest: Timer | None = None
        self.signals: WriteSignals | None = None
        """None where the system has none."""
        try:
            self.signals = WriteSignals()
        except OSError as error:
            log_error(f"the order of outputs is a guess: {error}")
        else:
            self._watch(self.signals)

    def _watch(self, signals: WriteSignals) -> None:
        self.selector.register(signals.fd, selectors.EVENT_READ, lambda _events: self.take())

    def rest(self) -> None:
        """Let writes wait a little: somebody writes in tiny pieces, or without end."""
        if self._rest is None and self.signals is not None:
            self.selector.unregister(self.signals.fd)
            self._rest = self.timers.at(time.monotonic() + PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        if self.signals is not None:
            self._watch(self.signals)
            self.take()

    def take(self) -> None:
        """Let those take what they were told of."""
        signals = self.signals
        if signals is None:
            return
        signals.take()
        waiting, signals.waiting = signals.waiting, {}
        for one in waiting:
            one.take_written()
        if signals.waiting:
            self._take_soon()

    def take_soon(self, output: Listener) -> None:
        """There is something for it of which no signal will tell; others have their turn first."""
        if self.signals is not None:
            self.signals.waiting[output] = None
            self._take_soon()

    def remind(self) -> None:
        """Let others take what was noted for them while one looked at its own."""
        if self.signals is not None and self.signals.waiting:
            self._take_soon()

    def _take_soon(self) -> None:
        if self._again is None:
            self._again = self.timers.at(time.monotonic(), self._take_again)

    def _take_again(self) -> None:
        self._again = None
        self.take()

    def close(self) -> None:
        """Let go of the queue."""
        if self.signals is not None:
            if self._rest is None:
                self.selector.unregister(self.signals.fd)
            self.signals.close()
            self.signals = None
