"""Getting reports to the engine: gathered, in order, until they are stored."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import structlog
from anyio.abc import TaskStatus

from taskyard.core.attempts import Ended, Progress, Report, Started
from taskyard.core.backoff import Backoff
from taskyard.core.ids import AttemptId, LeaseToken

_log = structlog.get_logger(__name__)

_BATCH_MAX: Final = 512
_GATHER_S: Final = 0.003
_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_UNSETTLED_BATCHES_MAX: Final = 16


class OutputKeeper(Protocol):
    """Who looks after the output of attempts that have ended."""

    async def finish(self, attempt_id: AttemptId, ended: Ended) -> Ended:
        """Complete a report with what is known of the output, and the output itself if small."""
        ...

    def is_to_ship(self, ended: Ended) -> bool:
        """Whether output has to be stored elsewhere before this report, as completed, goes out."""
        ...

    async def ship(self, ended: Ended) -> None:
        """Store that output, which may take long. May be repeated."""
        ...

    async def stored(self, ended: Ended) -> None:
        """The engine has stored this report."""
        ...


class Reporting:
    """The listener of a worker's runtimes.

    Three stages work at the same time, each on what the one before has gathered meanwhile:
    completing reports with their output, delivering them, and letting go of what was stored.
    A report whose output has to be stored first is set aside meanwhile: no other one waits for it.
    At most two reports come from each attempt held, so what waits here is bounded by those.

    Args:
        keeper: Completes reports.
        deliver: Hands reports to the engine; answers with leases that do not hold any more.
        refused: Told which leases those are.
        release: Lets go of ended attempts; gets for each whether its report was stored (True) or
            refused.
    """

    def __init__(
        self,
        keeper: OutputKeeper,
        deliver: Callable[[list[Report]], Awaitable[list[LeaseToken]]],
        refused: Callable[[frozenset[LeaseToken]], Awaitable[None]],
        release: Callable[[list[tuple[Ended, bool]]], Awaitable[None]],
    ) -> None:
        self._keeper = keeper
        self._deliver = deliver
        self._refused = refused
        self._release = release
        self._raw: list[Report] = []
        self._ready: list[Report] = []
        self._shipping: dict[int, anyio.CancelScope] = {}
        """What ends storing output too early, by the identity of the report as it was taken in."""
        self._set_aside: list[Ended] = []
        """As they were taken in; their output is being stored."""
        self._delivering = False
        self._finishing = False
        self._unsettled = 0
        self._has_raw = anyio.Event()
        self._has_ready = anyio.Event()
        self._idle = anyio.Event()

    def started(self, event: Started) -> None:
        """Take in a report."""
        self._take(event)

    def progress(self, event: Progress) -> None:
        """Take in a report."""
        self._take(event)

    def ended(self, event: Ended) -> None:
        """Take in a report."""
        self._take(event)

    def _take(self, report: Report) -> None:
        self._raw.append(report)
        self._has_raw.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything taken in was delivered, and let go of."""
        waiting = self._raw or self._ready or self._unsettled or self._set_aside
        return not (waiting or self._finishing or self._delivering)

    def hurry(self) -> None:
        """Have reports go out although their output is not stored yet; that is made good later."""
        for scope in self._shipping.values():
            scope.cancel()

    async def flushed(self) -> None:
        """Return once everything taken in so far was delivered, and let go of."""
        while not self.is_idle:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. Can be called again then: what was not delivered waits."""
        self._delivering = self._finishing = False
        self._unsettled = 0
        self._raw[:0], self._set_aside = self._set_aside, []
        if self._raw:
            self._has_raw.set()
        if self._ready:
            self._has_ready.set()
        send, receive = anyio.create_memory_object_stream[list[tuple[Ended, bool]]](
            _UNSETTLED_BATCHES_MAX
        )
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(self._finish_all)
            group.start_soon(self._deliver_all, send.send)
            task_status.started()
            async for batch in receive:
                try:
                    await self._release(batch)
                except Exception:  # noqa: BLE001 - top of the loop: one attempt must not stop all
                    _log.exception("letting go of ended attempts failed")
                self._unsettled -= 1
                self._tell_if_idle()

    async def _finish_all(self) -> None:
        async with anyio.create_task_group() as shipping:
            while True:
                await self._has_raw.wait()
                self._has_raw = anyio.Event()
                batch, self._raw = self._raw, []
                self._finishing = True
                for at, report in enumerate(batch):
                    try:
                        done = await self._finish(report) if isinstance(report, Ended) else report
                    except BaseException:
                        self._raw[:0] = batch[at:]
                        raise
                    if (
                        isinstance(report, Ended)
                        and isinstance(done, Ended)
                        and self._keeper.is_to_ship(done)
                    ):
                        self._set_aside.append(report)
                        shipping.start_soon(self._ship, report, done)
                    else:
                        self._take_finished(done)
                self._finishing = False

    async def _ship(self, report: Ended, done: Ended) -> None:
        with anyio.CancelScope() as scope:
            self._shipping[id(report)] = scope
            try:
                await self._keeper.ship(done)
            except Exception:  # noqa: BLE001 - top of the loop: the end itself must be reported
                _log.exception("storing the output failed", attempt_id=report.attempt_id)
            finally:
                del self._shipping[id(report)]
        self._set_aside.remove(report)
        self._take_finished(done)

    def _take_finished(self, done: Report) -> None:
        self._ready.append(done)
        self._has_ready.set()

    async def _finish(self, ended: Ended) -> Ended:
        if ended.output_complete:
            return ended
        try:
            return await self._keeper.finish(ended.attempt_id, ended)
        except Exception:  # noqa: BLE001 - top of the loop: the end itself must be reported
            _log.exception("looking at the output failed", attempt_id=ended.attempt_id)
            return ended

    async def _deliver_all(
        self, settle: Callable[[list[tuple[Ended, bool]]], Awaitable[None]]
    ) -> None:
        while True:
            await self._has_ready.wait()
            self._delivering = True
            if not any(isinstance(report, Ended) for report in self._ready):
                # A short command is over in a moment; start and end then share a commit.
                await anyio.sleep(_GATHER_S)
            batch, self._ready = self._ready[:_BATCH_MAX], self._ready[_BATCH_MAX:]
            if not self._ready:
                self._has_ready = anyio.Event()
            try:
                stale = await self._deliver_surely(batch)
            except BaseException:
                self._ready[:0] = batch
                raise
            if stale:
                await self._tell_refused(stale)
            ended = [
                (report, report.lease_token not in stale)
                for report in batch
                if isinstance(report, Ended)
            ]
            if ended:
                self._unsettled += 1
                await settle(ended)
            self._delivering = False
            self._tell_if_idle()

    async def _tell_refused(self, stale: frozenset[LeaseToken]) -> None:
        try:
            await self._refused(stale)
        except Exception:  # noqa: BLE001 - top of the loop: others have to be reported
            _log.exception("giving up refused attempts failed")

    def _tell_if_idle(self) -> None:
        if self.is_idle:
            self._idle.set()

    async def _deliver_surely(self, batch: list[Report]) -> frozenset[LeaseToken]:
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        while True:
            try:
                return frozenset(await self._deliver(batch))
            except Exception as error:  # noqa: BLE001 - whatever it is, a report must not be lost
                _log.warning("reporting failed", error=repr(error), retry_in_s=backoff.next_s)
            await anyio.sleep(backoff.delay_s())
