"""Attempts that a worker has accepted and not yet let go of."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio

from taskyard.core.attempts import Ended
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.states import Reason
from taskyard.core.tasks import needed_runtime
from taskyard.ports.clock import Clock
from taskyard.ports.runtime import Assignment, KillOrder, Runtime
from taskyard.worker.output.directories import AttemptDirectories

_LET_GO_MOST: Final = 20_000


def unchanged(assignment: Assignment) -> Assignment:
    """An assignment that fits as it is."""
    return assignment


class Holding:
    """One of them."""

    __slots__ = ("assignment", "begun", "runtime")

    def __init__(self, assignment: Assignment, runtime: Runtime) -> None:
        self.assignment = assignment
        self.runtime = runtime
        self.begun = anyio.Event()
        """Set once the runtime has it, and can be told to kill it."""


class HeldAttempts:
    """Starts, adopts and kills attempts, each of them once.

    Args:
        runtimes: those that are open, by their tags; changes meanwhile.
        directories: where attempts have their directories.
        clock: wall time.
        never_ran: called with the end of an attempt that never reached its runtime.
        adapt: makes an assignment fit this machine; one of which it raises never runs.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        directories: AttemptDirectories,
        clock: Clock,
        never_ran: Callable[[Ended], None],
        adapt: Callable[[Assignment], Assignment] = unchanged,
    ) -> None:
        self._adapt = adapt
        self._runtimes = runtimes
        self._directories = directories
        self._clock = clock
        self._never_ran = never_ran
        self._held: dict[AttemptId, Holding] = {}
        self._let_go_of: dict[AttemptId, None] = {}
        """The latest attempts that are over: an assignment may arrive twice, and late."""

    def __contains__(self, attempt_id: AttemptId) -> bool:
        return attempt_id in self._held

    def has(self, attempt_id: AttemptId, token: LeaseToken) -> bool:
        """Whether an attempt is held under this lease."""
        holding = self._held.get(attempt_id)
        return holding is not None and holding.assignment.lease_token == token

    def all(self) -> dict[AttemptId, Holding]:
        """What is held now."""
        return dict(self._held)

    async def start(self, assignments: list[Assignment]) -> None:
        """Begin these, except for those that are held, or that were let go of lately."""
        new = [one for one in assignments if self.is_new(one)]
        holdings = [holding for one in new if (holding := self._hold(one)) is not None]
        if not await self._make_directories(holdings):
            return
        for holding in holdings:
            path = self._directories.path(holding.assignment.attempt_id)
            try:
                await holding.runtime.start(holding.assignment, path)
            except Exception as error:  # noqa: BLE001 - whatever it is, the attempt must end
                self._fail(holding.assignment, f"cannot be started: {error!r}")
            holding.begun.set()

    def refuse(self, assignment: Assignment, message: str) -> None:
        """Have a new attempt end without having begun."""
        self._fail(assignment, message)

    def is_new(self, assignment: Assignment) -> bool:
        """Whether it is neither held nor was let go of lately."""
        attempt_id = assignment.attempt_id
        return attempt_id not in self._held and attempt_id not in self._let_go_of

    async def adopt(self, assignment: Assignment, handle: dict[str, Any]) -> None:
        """Take over an attempt that an earlier incarnation has begun, or was to begin.

        Args:
            assignment: what it is.
            handle: what its runtime made known of it; empty if nothing.
        """
        holding = self._hold(assignment)
        if holding is None or not await self._make_directories([holding]):
            return
        path = self._directories.path(assignment.attempt_id)
        await holding.runtime.adopt(holding.assignment, path, handle)
        holding.begun.set()

    async def kill(self, orders: list[KillOrder]) -> None:
        """Begin these kills; those of attempts that are not held are ignored."""
        for order in orders:
            holding = self._held.get(order.attempt_id)
            if holding is not None:
                await holding.begun.wait()
                await holding.runtime.kill(order)

    async def kill_all(self) -> None:
        """Kill everything outright."""
        for holding in list(self._held.values()):
            await self._kill_outright(holding)

    async def kill_leases(self, leases: frozenset[LeaseToken]) -> None:
        """Kill those outright that are held under these leases."""
        for holding in list(self._held.values()):
            if holding.assignment.lease_token in leases:
                await self._kill_outright(holding)

    async def kill_unwanted(
        self, before: Mapping[AttemptId, Holding], wanted: frozenset[AttemptId]
    ) -> None:
        """Kill those outright that are held ever since ``before``, and are not wanted."""
        for attempt_id, holding in before.items():
            if attempt_id not in wanted and self._held.get(attempt_id) is holding:
                await self._kill_outright(holding)

    async def release(self, ended: list[Ended]) -> None:
        """Let go of attempts whose end is stored or finally refused."""
        released: dict[Runtime, list[AttemptId]] = {}
        for report in ended:
            if self.has(report.attempt_id, report.lease_token):
                runtime = self._held[report.attempt_id].runtime
                released.setdefault(runtime, []).append(report.attempt_id)
        for runtime, attempt_ids in released.items():
            await runtime.release(attempt_ids)
        for attempt_ids in released.values():
            for attempt_id in attempt_ids:
                self._held.pop(attempt_id, None)
                self._let_go_of[attempt_id] = None
        while len(self._let_go_of) > _LET_GO_MOST:
            del self._let_go_of[next(iter(self._let_go_of))]

    def clear(self) -> None:
        """Forget everything, and leave it running."""
        self._held.clear()

    def _hold(self, assignment: Assignment) -> Holding | None:
        tag = needed_runtime(assignment.work)
        runtime = self._runtimes.get(tag)
        if runtime is None:
            self._fail(assignment, f"this worker cannot run a {tag} now")
            return None
        try:
            assignment = self._adapt(assignment)
        except TaskyardError as error:
            self._fail(assignment, str(error))
            return None
        holding = self._held[assignment.attempt_id] = Holding(assignment, runtime)
        return holding

    async def _make_directories(self, holdings: list[Holding]) -> bool:
        wanted = {
            one.assignment.attempt_id: one.assignment.identity.uid
            for one in holdings
            if one.runtime.uses_directory
        }
        try:
            await self._directories.make(wanted)
        except OSError as error:
            for holding in holdings:
                self._fail(holding.assignment, f"it cannot have a directory: {error.strerror}")
                holding.begun.set()
            return False
        return True

    def _fail(self, assignment: Assignment, message: str) -> None:
        attempt_id, token = assignment.attempt_id, assignment.lease_token
        trouble = Reason.RUNTIME_TROUBLE
        self._never_ran(Ended.never_ran(attempt_id, token, self._clock.now(), trouble, message))

    async def _kill_outright(self, holding: Holding) -> None:
        await holding.begun.wait()
        assignment = holding.assignment
        await holding.runtime.kill(
            KillOrder(assignment.attempt_id, assignment.lease_token, "SIGKILL", 0.0)
        )
