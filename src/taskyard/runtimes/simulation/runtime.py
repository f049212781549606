"""Pretends to run work: a timer each, no process, no file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Simulation
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder, Listener

METHOD: Final = "timer"
"""How a simulation is killed: there is nothing but its timer."""


class _Held:
    """A simulation until it is released."""

    __slots__ = ("assignment", "timer")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.timer: asyncio.TimerHandle | None = None


class SimulationRuntime:
    """Implements the runtime port.

    When a simulation ends follows from when it was placed: a restart in the middle does not move
    it, and one whose time passed meanwhile ends at once, at that time.
    """

    uses_directory = False

    def __init__(self, clock: Clock) -> None:
        """``clock`` tells the wall time that placements were made by."""
        self._clock = clock
        self._listener: Listener | None = None
        self._held: dict[AttemptId, _Held] = {}

    async def open(self, listener: Listener) -> None:
        """See the port."""
        self._listener = listener

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """See the port."""
        await self.adopt(assignment, directory, {})

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """See the port. Nothing has to be found again: the assignment says it all."""
        del directory
        work = assignment.work
        if not isinstance(work, Simulation):
            raise TypeError(f"not a simulation: {type(work).__name__}")
        known = self._held.get(assignment.attempt_id)
        if known is not None and known.timer is not None:
            known.timer.cancel()
        held = self._held[assignment.attempt_id] = _Held(assignment)
        if not handle:
            begun = Started(
                attempt_id=assignment.attempt_id,
                lease_token=assignment.lease_token,
                at=assignment.assigned_at,
                handle={"simulation": True},
            )
            self._listening.started(begun)
        limit_s = assignment.timeout_s
        late = limit_s is not None and limit_s < work.duration_s
        ends_at = after(assignment.assigned_at, limit_s if late and limit_s else work.duration_s)
        left_s = max(0.0, seconds_between(self._clock.now(), ends_at))
        held.timer = asyncio.get_running_loop().call_later(left_s, self._over, held, ends_at, late)

    async def kill(self, order: KillOrder) -> None:
        """See the port. It is dead at once, whatever the grace."""
        held = self._held.get(order.attempt_id)
        if held is None or held.timer is None:
            return
        now = self._clock.now()
        report = KillReport(
            requested_at=now,
            done_at=now,
            signal=order.signal,
            forced=False,
            method=METHOD,
            killed_count=0,
            survivors=(),
        )
        self._end(held, now, AttemptState.KILLED, Reason.KILLED, "killed", report)

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """See the port."""
        for attempt_id in attempt_ids:
            self._held.pop(attempt_id, None)

    async def close(self) -> None:
        """See the port. What is under way is taken up by whoever adopts it."""
        for held in self._held.values():
            if held.timer is not None:
                held.timer.cancel()
        self._held.clear()

    @property
    def _listening(self) -> Listener:
        if self._listener is None:
            raise RuntimeUnavailable("the simulation runtime is not open")
        return self._listener

    def _over(self, held: _Held, ends_at: Instant, late: bool) -> None:
        if late:
            seconds = held.assignment.timeout_s
            text = f"ran over its time limit of {seconds:g} s"
            self._end(held, ends_at, AttemptState.FAILED, Reason.TIMEOUT, text)
        else:
            self._end(held, ends_at, AttemptState.SUCCEEDED)

    def _end(
        self,
        held: _Held,
        at: Instant,
        state: AttemptState,
        reason: Reason | None = None,
        message: str | None = None,
        kill_report: KillReport | None = None,
    ) -> None:
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None
        assignment = held.assignment
        ended = Ended(
            attempt_id=assignment.attempt_id,
            lease_token=assignment.lease_token,
            at=at,
            state=state,
            started_at=assignment.assigned_at,
            reason=reason,
            message=message,
            exit_code=0 if state is AttemptState.SUCCEEDED else None,
            kill_report=kill_report,
            output_complete=True,
        )
        self._listening.ended(ended)
