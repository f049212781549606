"""Room that the leader reserves for tasks which other control planes are about to store.

A plane asks for it, stores its task with the attempt, and sends that to its worker by itself. What
came of it the leader hears as it hears of every change. A plane that stored nothing gives the room
back; what is neither heard of nor given back is settled after a while by looking into the store.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.ports.dispatching import Placement
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.dispatch import Dispatch

LENT_S: Final = 30.0
"""After so many seconds what was lent counts as stored or not by what the store says."""


class LentRoom:
    """What this plane, while it leads, has lent to others."""

    def __init__(self, dispatch: Dispatch, bus: Bus, monotonic: Callable[[], float]) -> None:
        self._dispatch = dispatch
        self._monotonic = monotonic
        self._until: dict[AttemptId, float] = {}
        """In the order in which they were lent."""
        bus.listen(self._on_changes)

    @property
    def count(self) -> int:
        """How many attempts have room and are not heard of yet."""
        return len(self._until)

    def lend(self, task: ReadyTask) -> Placement | None:
        """Reserve room; None if the task has to queue."""
        self.settle_old()
        placement = self._dispatch.reserve(task)
        if placement is not None:
            self._until[placement.attempt_id] = self._monotonic() + LENT_S
        return placement

    def give_back(self, attempt_ids: Iterable[AttemptId]) -> None:
        """These were not stored. Those that were not lent, or have been heard of, are ignored."""
        for attempt_id in attempt_ids:
            if self._until.pop(attempt_id, None) is not None:
                self._dispatch.released(attempt_id)

    def settle_old(self) -> None:
        """Leave what was lent long ago to the comparison with the store."""
        now = self._monotonic()
        while self._until:
            attempt_id = next(iter(self._until))
            if self._until[attempt_id] > now:
                return
            self._settle(attempt_id)

    def drop(self) -> None:
        """Forget everything; this plane leads no more."""
        self._until.clear()

    def _settle(self, attempt_id: AttemptId) -> None:
        del self._until[attempt_id]
        self._dispatch.confirmed(attempt_id)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if not self._until:
            return
        for change in changes:
            if change.attempt_id in self._until:
                self._settle(change.attempt_id)
