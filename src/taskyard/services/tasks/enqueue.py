"""One way to store a new task: with its attempt, if a worker has room for it at once (ADR 17).

Whatever stores tasks one at a time comes through here: submits, lists, jobs, calls of functions. A
task that is placed as it is stored costs one commit instead of two.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from taskyard.core.changes import Change
from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import PlacedAttempt, Placement
from taskyard.ports.store import Submitted
from taskyard.services.notifications.bus import Bus

T = TypeVar("T")


class Outcome(NamedTuple):
    """What storing a task led to."""

    changes: Sequence[Change] = ()
    """What to announce."""
    placed: PlacedAttempt | None = None
    """The attempt that it was stored with."""


def outcome_of(new: NewTask, stored: Submitted) -> Outcome:
    """The same of one task; nothing if it was known before."""
    if not stored.created:
        return Outcome()
    change = stored.change(new)
    if stored.attempt is None:
        return Outcome((change,))
    placed = PlacedAttempt(stored.attempt, Task.placed(new, stored.seq, stored.attempt))
    return Outcome((change, placed.change), placed)


class Placing(Protocol):
    """Finds room for tasks that are about to be stored."""

    async def place(self, task: NewTask) -> Placement | None:
        """Reserve room; None if the task has to queue."""
        ...

    def stored(self, placement: Placement, placed: PlacedAttempt | None) -> None:
        """The task was stored with its placement; None: without it."""
        ...

    def mark_uncertain(self, placement: Placement) -> None:
        """It is unknown whether the task was stored with its placement."""
        ...


class Enqueue:
    """Stores tasks, announces them, and has those sent to their workers that were placed."""

    def __init__(self, placing: Placing, bus: Bus) -> None:
        self._placing = placing
        self._bus = bus

    async def store(
        self,
        new: NewTask,
        put: Callable[[Placement | None], Awaitable[T]],
        told: Callable[[T], Outcome],
    ) -> T:
        """Store a task.

        Args:
            new: the task, as far as it is known before.
            put: stores it, with an attempt if it is given a placement.
            told: what its answer means.

        Raises:
            whatever ``put`` raises.
        """
        placement = await self._placing.place(new)
        try:
            answer = await put(placement)
        except BaseException as error:
            if placement is not None:
                self._failed(placement, error)
            raise
        outcome = told(answer)
        self._bus.publish(outcome.changes)
        if placement is not None:
            self._placing.stored(placement, outcome.placed)
        return answer

    def _failed(self, placement: Placement, error: BaseException) -> None:
        is_refused = isinstance(error, TaskyardError) and not isinstance(
            error, Unavailable | Overloaded
        )
        if is_refused:
            self._placing.stored(placement, None)
        else:
            self._placing.mark_uncertain(placement)
