"""What jobs need done by themselves: starts that are due, retries and messages that are owed.

Ends are heard of on the bus, and whatever was missed (a crash, a full buffer, a store in trouble)
is found again by looking through all that is unsettled. Settling is one transaction and happens
once for each execution, so that neither way can lose or double a retry or a message.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import structlog

from taskyard.core.changes import Change
from taskyard.core.errors import NotFound, Overloaded, Unavailable
from taskyard.core.ids import TaskId
from taskyard.core.instants import seconds_between
from taskyard.core.jobs import JobMoment, may_be_execution
from taskyard.core.notifications.messages import Message
from taskyard.core.states import TERMINAL
from taskyard.ports.clock import Clock
from taskyard.ports.jobs import JobStore, Owed, Reporter
from taskyard.services.leadership import TermSource, no_term
from taskyard.services.notifications.bus import Bus

AT_ONCE: Final = 100
SETTLED_AT_ONCE: Final = 16
HEARD: Final = 20_000
"""Executions heard of and not yet dealt with; more are found by looking."""
LONGEST_SLEEP_S: Final = 30.0
LOOK_EVERY_S: Final = 60.0
TROUBLE_PAUSE_S: Final = 1.0

log = structlog.get_logger(__name__)


class JobTimers:
    """A background service: two loops under one roof."""

    def __init__(
        self,
        store: JobStore,
        bus: Bus,
        clock: Clock,
        poke_sender: Callable[[], None] = lambda: None,
        term: TermSource = no_term,
    ) -> None:
        """Prepare; ``poke_sender`` is called when there are messages to send."""
        self._term = term
        self._store = store
        self._bus = bus
        self._clock = clock
        self._poke_sender = poke_sender
        self._reporters: dict[str, Reporter] = {}
        self._heard: deque[TaskId] = deque()
        self._look = True
        self._news = anyio.Event()
        self._moved = anyio.Event()
        self._stop_listening = bus.listen(self._on_changes, self.look_again)

    def report_with(self, origin: str, reporter: Reporter) -> None:
        """Let a dialect word the messages about its jobs. Before :meth:`run`."""
        self._reporters[origin] = reporter

    async def run(self) -> None:
        """Until cancelled."""
        # Everything is looked through: what was heard while this did not run is found as well.
        self._heard.clear()
        self._look = True
        async with anyio.create_task_group() as loops:
            loops.start_soon(self._starting)
            loops.start_soon(self._settling)

    def starts_changed(self) -> None:
        """A job was put that may start earlier than all others."""
        self._moved.set()

    def look_again(self) -> None:
        """Look at what is stored: changes were missed."""
        self._look = True
        self._news.set()
        self._moved.set()

    def close(self) -> None:
        """Unsubscribe from changes. Can be called twice."""
        self._stop_listening()

    async def _starting(self) -> None:
        while True:
            self._moved = anyio.Event()
            try:
                pause = await self._start_due()
            except (Unavailable, Overloaded) as error:
                log.warning("jobs_paused", reason=str(error))
                pause = TROUBLE_PAUSE_S
            if pause > 0:
                await self._rest(self._moved, pause)

    async def _start_due(self) -> float:
        changes = await self._store.start_due(self._clock.now(), AT_ONCE, self._term())
        self._bus.publish(changes)
        if changes:
            return 0.0
        next_at = await self._store.next_due()
        if next_at is None:
            return LONGEST_SLEEP_S
        return min(max(seconds_between(self._clock.now(), next_at), 0.001), LONGEST_SLEEP_S)

    async def _settling(self) -> None:
        while True:
            self._news = anyio.Event()
            try:
                if self._look:
                    self._look = False
                    await self._look_through()
                while self._heard:
                    batch = [
                        self._heard.popleft() for _ in range(min(len(self._heard), SETTLED_AT_ONCE))
                    ]
                    await self._settle_all(batch)
            except (Unavailable, Overloaded) as error:
                self._look = True
                log.warning("jobs_paused", reason=str(error))
                await self._clock.sleep(TROUBLE_PAUSE_S)
                continue
            if not await self._rest(self._news, LOOK_EVERY_S):
                self._look = True

    async def _look_through(self) -> None:
        """Do everything that is due, announced or not."""
        after = 0
        while found := await self._store.owed(after, AT_ONCE):
            after = found[-1][0]
            await self._settle_all([task_id for _, task_id in found])

    async def _settle_all(self, task_ids: Sequence[TaskId]) -> None:
        limit = anyio.Semaphore(SETTLED_AT_ONCE)
        trouble: list[Unavailable | Overloaded] = []

        async def complete(task_id: TaskId) -> None:
            async with limit:
                try:
                    await self.complete(task_id)
                except (Unavailable, Overloaded) as error:
                    trouble.append(error)
                except Exception:
                    # A defect must cost this execution what it is owed, and not all others.
                    log.exception("job_settle_failed", task_id=task_id)

        async with anyio.create_task_group() as group:
            for task_id in dict.fromkeys(task_ids):
                group.start_soon(complete, task_id)
        if trouble:
            raise trouble[0]

    async def complete(self, task_id: TaskId) -> None:
        """Send due notifications and schedule the retry; does nothing for other tasks."""
        owed = await self._store.look(task_id)
        if owed is None:
            return
        task, attempt = owed.execution.task, owed.execution.attempt
        messages: list[Message] = []
        if attempt is not None and attempt.started_at is not None:
            messages += await self._worded(owed, JobMoment.BEGAN)
        moment = JobMoment.BEGAN
        if task.state in TERMINAL:
            moment = JobMoment.ENDED
            messages += await self._worded(owed, moment)
        elif not messages:
            return
        changes, new = await self._store.complete(
            task_id, moment, messages, self._clock.now(), self._term()
        )
        self._bus.publish(changes)
        if new:
            self._poke_sender()

    async def _worded(self, owed: Owed, moment: JobMoment) -> list[Message]:
        reporter = self._reporters.get(owed.job.definition.origin)
        if reporter is None:
            return []
        try:
            return await reporter.messages(owed, moment)
        except NotFound:  # pruned meanwhile
            return []
        except (Unavailable, Overloaded):
            raise
        except Exception:
            # A defect must not cost the retry, nor all others theirs.
            log.exception("job_report_failed", job=owed.job.key.id, moment=moment.value)
            return []

    async def _rest(self, event: anyio.Event, seconds: float) -> bool:
        """Wait for an event, but not longer than this; whether it came."""
        async with anyio.create_task_group() as either:

            async def alarm() -> None:
                await self._clock.sleep(seconds)
                either.cancel_scope.cancel()

            either.start_soon(alarm)
            await event.wait()
            either.cancel_scope.cancel()
        return event.is_set()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if not may_be_execution(change.task_id):
                continue
            ended = change.state in TERMINAL and change.was is not change.state
            if not ended and change.kind != "started":
                continue
            if len(self._heard) >= HEARD:
                self._look = True
            else:
                self._heard.append(change.task_id)
            self._news.set()
