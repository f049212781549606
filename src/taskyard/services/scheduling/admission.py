"""Admission: how much may wait, and when to come back once it is too much."""

from collections import deque
from collections.abc import Callable
from typing import Final

from taskyard.core.errors import Overloaded
from taskyard.core.ids import WorkspaceName

WINDOW: Final = 64
LONGEST_WAIT_S: Final = 3600.0


class Admission:
    """Refuses submits past a limit of waiting tasks, with a time computed from the drain rate."""

    def __init__(
        self,
        limit: int,
        waiting: Callable[[WorkspaceName], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Begin with nothing measured.

        Args:
            limit: waiting tasks a workspace may have.
            waiting: how many it has now.
            monotonic: seconds of a clock that never goes back.
        """
        self._limit = limit
        self._waiting = waiting
        self._monotonic = monotonic
        self._endings: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def drained(self, count: int) -> None:
        """So many tasks left the queue just now."""
        self._endings.append((self._monotonic(), count))

    @property
    def drain_rate(self) -> float:
        """Tasks that leave the queue each second, over the last measured while; 0 if unknown."""
        if len(self._endings) < 2:
            return 0.0
        seconds = self._monotonic() - self._endings[0][0]
        return sum(count for _, count in self._endings) / max(seconds, 0.001)

    def admit(self, workspace: WorkspaceName, count: int) -> None:
        """Raise ``Overloaded`` unless so many more tasks may wait in this workspace."""
        waiting = self._waiting(workspace)
        surplus = waiting + count - self._limit
        if surplus <= 0:
            return
        rate = self.drain_rate
        delay = surplus / rate if rate > 0 else 60.0
        raise Overloaded(
            f"{waiting} tasks are waiting in this workspace, which may have {self._limit}; "
            "submit again later, or ask the operator to raise the limit",
            retry_after_s=min(max(1.0, delay), LONGEST_WAIT_S),
        )
