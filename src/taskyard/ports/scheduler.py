"""The scheduler port: what a control plane asks of the one that leads.

Everything here is about what is in the leader's memory. In the leader it is a plain call; elsewhere
it is a request, which waits :data:`ANSWERS_S` at most and then is answered without a leader.
"""

from typing import Final, Protocol

from taskyard.core.resources import Capacity
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.tasks import Task
from taskyard.ports.dispatching import WorkerRecord

ANSWERS_S: Final = 2.0
NO_LEADER: Final = Wait(
    "no_leader", "no control plane leads at the moment; it goes on as soon as one does"
)
"""Why a task waits that nobody can place."""


class Scheduler(Protocol):
    """What the leader knows, or has to know at once."""

    async def explain(self, task: Task) -> Wait:
        """Why a queued task was not chosen; :data:`NO_LEADER` if nobody could choose it."""
        ...

    async def limits_changed(self) -> None:
        """Limits or pauses were stored. The leader finds out by itself, if later."""
        ...

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """Workers here, each with what is free; elsewhere as of a moment ago."""
        ...

    def rooms(self) -> list[Room]:
        """The same as places to run."""
        ...


class NoScheduler:
    """Implements :class:`Scheduler` where nobody leads."""

    async def explain(self, task: Task) -> Wait:
        """See the protocol."""
        del task
        return NO_LEADER

    async def limits_changed(self) -> None:
        """See the protocol: whoever leads next reads them."""

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """See the protocol."""
        return []

    def rooms(self) -> list[Room]:
        """See the protocol."""
        return []
