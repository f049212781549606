"""Placing tasks as they are stored, on one of several control planes.

The leader's scheduler says where to; see ``lent_room.py``. In the leader itself it is a plain call.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.core.scheduling.requirements import ReadyTask, ready_task
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import PlacedAttempt, Placement
from taskyard.services.scheduling.assignment_sender import AssignmentSender
from taskyard.services.scheduling.dispatch import Dispatch

TROUBLE_PAUSE_S: Final = 0.5

log = structlog.get_logger(__name__)


class Lender(Protocol):
    """Whoever leads, as another plane asks it for room."""

    async def lend(self, task: ReadyTask) -> Placement | None:
        """Room for a task; None if it has to queue, or nobody answers in time."""
        ...

    async def give_back(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Room that was not used. Nothing is raised: the leader finds out by itself."""
        ...


class PlanePlacing:
    """Gets room where it is, and sends what was stored with it to its worker."""

    def __init__(
        self, dispatch: Dispatch, lender: Lender, sender: AssignmentSender, clock: Clock
    ) -> None:
        """Prepare; ``sender`` is used by nobody else."""
        self._dispatch = dispatch
        self._lender = lender
        self._sender = sender
        self._clock = clock
        self._borrowed: set[AttemptId] = set()
        self._placed: list[PlacedAttempt] = []
        self._unused: list[AttemptId] = []
        self._news = anyio.Event()

    async def place(self, task: NewTask) -> Placement | None:
        """Reserve room for a task about to be stored; None if it has to queue."""
        if self._dispatch.is_active:
            return self._dispatch.try_place(task)
        if task.state is not TaskState.QUEUED:
            return None
        placement = await self._lender.lend(ready_task(task, 0))
        if placement is not None:
            self._borrowed.add(placement.attempt_id)
        return placement

    def stored(self, placement: Placement, placed: PlacedAttempt | None) -> None:
        """A task was stored with its placement; None: without it."""
        if placement.attempt_id not in self._borrowed:
            self._dispatch.stored(placement, placed)
            return
        self._borrowed.discard(placement.attempt_id)
        if placed is None:
            self._unused.append(placement.attempt_id)
        else:
            self._placed.append(placed)
        self._news.set()

    def mark_uncertain(self, placement: Placement) -> None:
        """It is unknown whether a task was stored with its placement.

        If it was, the leader hears of it, and sends it.
        """
        if placement.attempt_id in self._borrowed:
            self._borrowed.discard(placement.attempt_id)
        else:
            self._dispatch.mark_uncertain(placement)

    async def run(self) -> None:
        """Send what was placed, and give back what was not used, until cancelled."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            unused, self._unused = self._unused, []
            placed, self._placed = self._placed, []
            try:
                await self._sender.send(placed)
            except (Unavailable, Overloaded) as error:
                log.warning("assignments_wait", reason=str(error))
                self._placed += self._sender.take_waiting()
                await self._clock.sleep(TROUBLE_PAUSE_S)
                self._news.set()
            if unused:
                await self._lender.give_back(unused)
