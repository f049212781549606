"""Timers: starts what is due, fires what recurs, expires what is late; notices a changed clock."""

from collections.abc import Callable, Sequence
from typing import Final

import anyio
import structlog

from taskyard.core.changes import Change
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.instants import SECOND, seconds_between
from taskyard.core.states import TaskState
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore, TimingStore
from taskyard.services.leadership import TermSource, no_term
from taskyard.services.notifications.bus import Bus

AT_ONCE = 500
LONGEST_SLEEP_S = 30.0
"""Also the longest a jump of the wall clock can go unnoticed."""
TROUBLE_PAUSE_S = 1.0

log = structlog.get_logger(__name__)
LOOK_EVERY_S: Final = 1.0
STEP_S: Final = 1.0
"""The clock was set when it moved by more than this against the monotonic one between two looks.
What NTP does by slewing stays far below."""


class Timers:
    """Sleeps until the next moment at which something waiting changes by itself."""

    def __init__(
        self, store: DispatchStore, bus: Bus, clock: Clock, term: TermSource = no_term
    ) -> None:
        self._store = store
        self._term = term
        self._bus = bus
        self._clock = clock
        self._wake = anyio.Event()
        self._stop_listening = bus.listen(self._on_changes, self.look)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake = anyio.Event()
            try:
                pause = await self._round()
            except (Unavailable, Overloaded) as error:
                log.warning("due_paused", reason=str(error))
                pause = TROUBLE_PAUSE_S
            if pause > 0:
                await self._sleep(pause)

    async def _round(self) -> float:
        """Do what is due; answers with the seconds until there is more."""
        changes = await self._store.due(self._clock.now(), AT_ONCE, self._term())
        self._bus.publish(changes)
        if changes:
            return 0.0
        next_due = await self._store.next_due()
        if next_due is None:
            return LONGEST_SLEEP_S
        return min(max(seconds_between(self._clock.now(), next_due), 0.001), LONGEST_SLEEP_S)

    async def _sleep(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:

            async def until_woken() -> None:
                await self._wake.wait()
                group.cancel_scope.cancel()

            group.start_soon(until_woken)
            await self._clock.sleep(seconds)
            group.cancel_scope.cancel()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.state in {TaskState.SCHEDULED, TaskState.RETRYING} or (
                change.ready is not None and change.ready.expires_at is not None
            ):
                self._wake.set()
                return

    def look(self) -> None:
        """Look again at what is due: the clock may have been set."""
        self._wake.set()

    def close(self) -> None:
        """Unsubscribe from changes. Can be called twice."""
        self._stop_listening()


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
