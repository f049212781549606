"""Telling what functions print of the order in which it was written."""

import asyncio
from typing import Final, Protocol

import structlog

from taskyard.runtimes.output.interleaving import LATE_S
from taskyard.runtimes.output.writes import WriteSignals

PAUSE_S: Final = 0.002
"""Who writes too often is not looked at for so long."""

_log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """Who waits for signals that are on their way."""

    def wait_no_more(self) -> None:
        """They should have come."""
        ...


class WrittenOutputs:
    """Tells the outputs of all processes of the order in which they are written to.

    Belongs to the running loop, and to the thread that runs it.
    """

    def __init__(self) -> None:
        """Ready to use; where the system cannot tell, nobody is told."""
        self.signals: WriteSignals | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._waits: dict[Waiting, asyncio.TimerHandle] = {}
        try:
            self.signals = WriteSignals()
        except OSError as error:
            _log.warning("the order of outputs is a guess", error=str(error))
        else:
            self._watch(self.signals)

    def _watch(self, signals: WriteSignals) -> None:
        asyncio.get_running_loop().add_reader(signals.fd, self._take)

    def rest(self) -> None:
        """Let writes wait a little: somebody writes in tiny pieces, and shares the loop."""
        if self._rest is None and self.signals is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.signals.fd)
            self._rest = loop.call_later(PAUSE_S, self._go_on)

    def wait_for_signals(self, output: Waiting) -> None:
        """Say when those that are on their way to it should have come."""
        if output not in self._waits:
            loop = asyncio.get_running_loop()
            self._waits[output] = loop.call_later(LATE_S, self._wait_no_more, output)

    def _wait_no_more(self, output: Waiting) -> None:
        del self._waits[output]
        output.wait_no_more()

    def _go_on(self) -> None:
        self._rest = None
        if self.signals is not None:
            self._watch(self.signals)
            self._take()

    def _take(self) -> None:
        if self.signals is not None:
            self.signals.take()
            waiting, self.signals.waiting = self.signals.waiting, {}
            for one in waiting:
                one.take_written()

    def close(self) -> None:
        """After all outputs; may be called twice."""
        for timer in (self._rest, *self._waits.values()):
            if timer is not None:
                timer.cancel()
        signals, self.signals = self.signals, None
        if signals is not None:
            asyncio.get_running_loop().remove_reader(signals.fd)
            signals.close()
