"""Notices when the wall clock is set, so that waits do not grow by as much."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.instants import SECOND
from taskyard.ports.clock import Clock
from taskyard.ports.timing import TimingStore

LOOK_EVERY_S: Final = 1.0
STEP_S: Final = 1.0
"""The clock was set when it moved by more than this against the monotonic one between two looks.
What NTP does by slewing stays far below."""

log = structlog.get_logger(__name__)


class ClockWatch:
    """A loop that compares the wall clock with the monotonic one."""

    def __init__(
        self,
        store: TimingStore,
        clock: Clock,
        monotonic: Callable[[], float],
        wake: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Prepare; each of ``wake`` makes a loop look again at what is due."""
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._wake = wake

    async def run(self) -> None:
        """Until cancelled."""
        known = self._offset_s()
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            offset = self._offset_s()
            moved_s = offset - known
            if abs(moved_s) <= STEP_S:
                known = offset
                continue
            try:
                if moved_s < 0:
                    await self._store.went_back(-moved_s, self._clock.now())
            except (Unavailable, Overloaded) as error:
                log.warning("clock_step_not_stored", seconds=moved_s, reason=str(error))
                continue  # Known is as before: the next look tries again.
            log.warning("clock_set", seconds=round(moved_s, 3))
            known = offset
            for wake in self._wake:
                wake()

    def _offset_s(self) -> float:
        return self._clock.now() / SECOND - self._monotonic()
