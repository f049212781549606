"""The worker: joins the engine, takes over what was left, accepts assignments, heartbeats."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import anyio
import structlog

from taskyard.core.attempts import Attempt, Ended, Report
from taskyard.core.availability import RuntimeStatus, available
from taskyard.core.circuit_breaker import CircuitRule
from taskyard.core.errors import NotAllowed, NotAuthenticated, StaleLease, Unavailable
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.tasks import needed_runtime
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.runtime import Assignment, KillOrder, Runtime
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, Transport
from taskyard.worker.held_attempts import HeldAttempts, Holding, unchanged
from taskyard.worker.machine import Machine
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.reporting import OutputKeeper, Reporting
from taskyard.worker.runtimes import Runtimes
from taskyard.worker.staying import Staying

_log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 1.0
_BEAT_TIMEOUT_S: Final = 5.0
_FLUSH_TIMEOUT_S: Final = 5.0
_HURRY_TIMEOUT_S: Final = 1.0
"""Seconds for reports of which the output could not be stored in time."""
_MEASURE_TIMEOUT_S: Final = 5.0
_RESTART_S: Final = 1.0
_LOOK_S: Final = 0.2
_QUIET_LOOKS: Final = 5
_UNHEARD_LOOKS: Final = 25
"""How often it has to be found idle before it leaves, and at least if nobody hears its beats."""


@runtime_checkable
class Sweeping(Protocol):
    """A runtime that may find leftover work of earlier incarnations."""

    async def keep_only(self, attempt_ids: frozenset[AttemptId]) -> None:
        """Kill everything but these."""
        ...


class Worker:
    """One worker. :meth:`start` returns when it is ready, :meth:`stop` when it is done.

    Args:
        worker_id: Stable name.
        hostname: For people.
        version: Of Taskyard, for people.
        capacity: What it offers, see :func:`taskyard.worker.machine.capacity`.
        runtimes: By the ``runtime`` tag of the work they execute. Those that are not available on
            this machine are left out with a warning; those that are ``Checkable`` may come later.
        transport: How to reach the engine.
        clock: Wall time.
        ids: Names its incarnations: one for each time it joins.
        directories: Where attempts have their directories.
        keeper: Looks after output. Its background work is started and stopped by its owner.
        circuit: When an engine that fails is left alone, and for how long.
        measure: Finds out what it offers whenever a runtime was opened, in place of ``capacity``;
            None from it leaves that as it is.
        place: What placement policies can ask for, and the cores it has to give.
        adapt: Makes an assignment fit this machine: as whom it runs here, and how isolated.
        staying: How long it stays, which it tells the engine.
    """

    def __init__(
        self,
        worker_id: WorkerId,
        *,
        hostname: str,
        version: str,
        capacity: Capacity,
        runtimes: Mapping[str, Runtime],
        transport: Transport,
        clock: Clock,
        ids: Ids,
        directories: AttemptDirectories,
        keeper: OutputKeeper,
        circuit: CircuitRule = CircuitRule(),  # noqa: B008 - frozen
        measure: Callable[[], Awaitable[Capacity | None]] | None = None,
        place: Machine = Machine(),  # noqa: B008 - frozen
        adapt: Callable[[Assignment], Assignment] = unchanged,
        staying: Staying | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.capacity = capacity
        self._hostname = hostname
        self._version = version
        self._measure = measure
        self._place = place
        self._staying = staying or Staying()
        self._runtimes = Runtimes(runtimes, clock, circuit, self._opened)
        self._awaiting: list[Attempt] = []
        """Attempts to take over once their runtime can be opened."""
        self._before_join: dict[AttemptId, Holding] = {}
        self._joining = anyio.Lock()
        self._transport = transport
        self._clock = clock
        self._ids = ids
        self._directories = directories
        self._keeper = keeper
        self._reporting = Reporting(keeper, self._deliver, self._kill_refused, self._let_go)
        self._held = HeldAttempts(
            self._runtimes.open, directories, clock, self._reporting.ended, adapt
        )
        self._engine: EngineEnd | None = None
        self._incarnation = IncarnationId("")
        self._running: asyncio.Task[None] | None = None
        self._accepts = False
        self._draining: str | None = None
        self._drain_is_told = False

    @property
    def incarnation(self) -> IncarnationId:
        """The present incarnation; empty before the first :meth:`start`."""
        return self._incarnation

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither stopped nor broken down."""
        return self._running is not None and not self._running.done()

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Tags of the runtimes that are available."""
        return available(self._runtimes.statuses)

    @property
    def is_idle(self) -> bool:
        """Whether it runs nothing, and everything it had to report is stored."""
        return not (self._held.all() or self._awaiting) and self._reporting.is_idle

    def drain(self, reason: str) -> None:
        """Have it get nothing new from its next heartbeat on, for a reason that is for people."""
        self._draining = reason

    async def give_up(self) -> None:
        """Kill everything: it runs elsewhere, and nobody takes this worker's reports."""
        self._accepts = False
        await self._held.kill_all()

    async def until_leaving(self) -> str:
        """Return once it is to leave of itself; answers why. It may run something then."""
        while (reason := self._staying.why_leaving(is_idle=self.is_idle)) is None:
            await self._clock.sleep(_LOOK_S)
        return reason

    async def drained(self) -> None:
        """Return once it is idle, and stayed so after it was heard that it gets nothing new.

        What was on its way until then would be lost if it left. If nobody hears it, it waits 5 s.
        """
        looks = quiet = 0
        while quiet < _QUIET_LOOKS:
            await self._clock.sleep(_LOOK_S)
            looks += 1
            is_told = self._drain_is_told or looks >= _UNHEARD_LOOKS
            quiet = quiet + 1 if is_told and self.is_idle else 0

    def _statuses(self) -> dict[str, RuntimeStatus]:
        """Its runtimes as the engine is to see them."""
        statuses = dict(self._runtimes.statuses)
        if self._draining is None:
            return statuses
        return dict.fromkeys(statuses, RuntimeStatus(available=False, reason=self._draining))

    def holds(self, attempt_id: AttemptId) -> bool:
        """Whether a report on this attempt is still to come or to be stored."""
        return attempt_id in self._held or any(one.id == attempt_id for one in self._awaiting)

    async def start(self) -> None:
        """Open the runtimes, join the engine, take over what earlier incarnations left.

        Raises ``RuntimeUnavailable`` if no runtime can be opened, ``OSError`` if there is no
        place for directories, and whatever joining raises.
        """
        if self._running is not None:
            return
        try:
            await self._directories.open()
            await self._runtimes.open_all(self._reporting)
            self._engine = await self._transport.connect(self.worker_id, self)
            self._accepts = True
            attempts = await self._join()
        except BaseException:
            self._accepts = False
            with anyio.CancelScope(shield=True):
                await self._runtimes.close()
            raise
        ready = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(attempts, ready), name="worker")
        await ready

    async def stop(self) -> None:
        """Accept nothing more, deliver pending reports, leave running work alone."""
        running, self._running = self._running, None
        if running is None:
            return
        self._accepts = False
        with anyio.move_on_after(_FLUSH_TIMEOUT_S):
            await self._reporting.flushed()
        self._reporting.hurry()
        with anyio.move_on_after(_HURRY_TIMEOUT_S):
            await self._reporting.flushed()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await self._runtimes.close()
        self._held.clear()
        self._awaiting.clear()

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take these on, each of them once. Raises ``Unavailable`` when stopping."""
        if not self._accepts:
            raise Unavailable("the worker is stopping")
        taken = []
        for one in filter(self._held.is_new, assignments):
            reason = self._staying.take(one.timeout_s)
            if reason is None:
                taken.append(one)
            else:
                self._held.refuse(one, reason)
        if self._staying.is_last:
            self.drain("it takes one attempt only")
        await self._held.start(taken)

    async def kill(self, orders: list[KillOrder]) -> None:
        """Begin these kills."""
        await self._held.kill(orders)

    async def _join(self) -> list[Attempt]:
        self._incarnation = self._ids.incarnation()
        # What is assigned from here on is this incarnation's, or refused when it is reported: the
        # answer may have been made before it, and says nothing about it.
        self._before_join = self._held.all()
        hello = Hello(
            worker_id=self.worker_id,
            incarnation=self._incarnation,
            hostname=self._hostname,
            version=self._version,
            capacity=self.capacity,
            runtimes=available(self._statuses()),
            statuses=self._statuses(),
            topology=self._place.topology_of(self.capacity),
            tags=self._place.tags,
            metadata=self._place.metadata,
            stays_s=self._staying.left_s,
        )
        return await self._present_engine.joined(hello)

    @property
    def _present_engine(self) -> EngineEnd:
        if self._engine is None:
            raise Unavailable("the worker is not connected")
        return self._engine

    async def _run(self, attempts: list[Attempt], ready: asyncio.Future[None]) -> None:
        """Work until cancelled; restarts after a failure, with what is held."""
        try:
            await self._work(attempts, ready)
        except Exception as error:  # noqa: BLE001 - told to start(), or begun again
            if not ready.done():
                ready.set_exception(error)
                return
            _log.exception("worker failed; restarting")
        while True:
            await self._clock.sleep(_RESTART_S)
            try:
                await self._work(await self._join_surely(), ready)
            except Exception:  # noqa: BLE001 - top of the loop: nobody else would begin it again
                _log.exception("worker failed; restarting")

    async def _join_surely(self) -> list[Attempt]:
        try:
            return await self._join()
        except StaleLease:
            await self._held.kill_all()
            return await self._join()

    async def _work(self, attempts: list[Attempt], ready: asyncio.Future[None]) -> None:
        async with anyio.create_task_group() as group:
            await group.start(self._reporting.run)
            async with self._joining:
                await self._take_over(attempts)
            if not ready.done():
                ready.set_result(None)
            group.start_soon(self._runtimes.run)
            await self._beat()

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_S)
            statuses, drains = self._statuses(), self._draining is not None
            beat = Heartbeat(self.worker_id, self._incarnation, self._clock.now(), statuses)
            try:
                await self._beat_once(beat)
                self._drain_is_told |= drains
            except Exception as error:  # noqa: BLE001 - top of the loop: the next beat tries again
                _log.warning("heartbeat failed", error=repr(error))

    async def _beat_once(self, beat: Heartbeat) -> None:
        try:
            with anyio.fail_after(_BEAT_TIMEOUT_S):
                holds = await self._present_engine.beat(beat)
            if not holds:
                _log.warning("fenced; joining again", incarnation=self._incarnation)
                await self._join_again()
        except StaleLease:
            await self._abandon()
        except (NotAuthenticated, NotAllowed):
            # It was given up, and may not join again.
            await self._held.kill_all()
            raise

    async def _abandon(self) -> None:
        """Kill everything, as it may soon run elsewhere, and join again."""
        _log.error("lease lapsed; killing what runs", incarnation=self._incarnation)
        await self._held.kill_all()
        await self._join_again()

    async def _join_again(self) -> None:
        async with self._joining:
            await self._take_over(await self._join())

    async def _opened(self, tag: str) -> None:
        """A runtime has been opened: learn what it offers, take over what waited for it."""
        offered = None
        if self._measure is not None:
            with anyio.move_on_after(_MEASURE_TIMEOUT_S):
                offered = await self._measure()
        grown = offered is not None and offered != self.capacity
        if offered is not None:
            self.capacity = offered
        if self._running is None:
            return  # What follows is done when it joins.
        if grown:
            await self._join_again()
            return
        async with self._joining:
            waited, self._awaiting = self._awaiting, []
            for attempt in waited:
                await self._try_adopt(attempt)
            await self._sweep(self._runtimes.open[tag])

    async def _take_over(self, attempts: list[Attempt]) -> None:
        """Hold exactly what the engine says this worker holds."""
        before, self._before_join = self._before_join, {}
        await self._held.kill_unwanted(before, frozenset(attempt.id for attempt in attempts))
        self._awaiting.clear()
        for attempt in attempts:
            await self._try_adopt(attempt)
        for runtime in list(self._runtimes.open.values()):
            await self._sweep(runtime)

    async def _sweep(self, runtime: Runtime) -> None:
        if isinstance(runtime, Sweeping):
            await runtime.keep_only(frozenset(self._held.all()))

    async def _try_adopt(self, attempt: Attempt) -> None:
        try:
            await self._adopt(attempt)
        except Exception:  # noqa: BLE001 - one attempt must not keep the others waiting
            _log.exception("taking over failed", attempt_id=attempt.id)

    async def _adopt(self, attempt: Attempt) -> None:
        if self._held.has(attempt.id, attempt.lease_token):
            return
        assignment = await self._present_engine.resolve(attempt)
        if assignment is None:
            return
        self._staying.resume()
        if self._runtimes.is_awaited(needed_runtime(assignment.work)):
            self._awaiting.append(attempt)
            return
        await self._held.adopt(assignment, attempt.handle)

    async def _deliver(self, reports: list[Report]) -> list[LeaseToken]:
        return await self._present_engine.report(reports)

    async def _kill_refused(self, leases: frozenset[LeaseToken]) -> None:
        await self._held.kill_leases(leases)

    async def _let_go(self, ended: list[tuple[Ended, bool]]) -> None:
        """Release attempts whose end is stored or finally refused."""
        without_output = {report.attempt_id for report, _ in ended if report.output_complete}
        await self._held.release([report for report, _ in ended])
        for report, is_stored in ended:
            if is_stored and report.attempt_id not in without_output:
                await self._keeper.stored(report)
