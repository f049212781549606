"""What jobs are owed comes about once, whichever call to the store fails and whatever is not heard.

A job whose executions all fail is retried within its budget, a delayed one is started, each
execution is reported. That is run again and again; each time another call fails, before or after
it did what was asked, or the service begins again without having heard of anything.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.faults import Faults, When
from fakes.specs import NOW, WS
from fakes.stores import FAST, opened
from taskyard.core.attempts import Ended, Report, Started
from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId, GroupName, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import Instant, after
from taskyard.core.jobs import Job, JobDefinition, JobKey, JobMoment, execution_id, retry_at
from taskyard.core.notifications.messages import DeliveryKind, Message
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import Container, Task, TaskSpec, WebhookEvent
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.jobs import Owed, Start
from taskyard.services.jobs.job_timers import JobTimers
from taskyard.services.notifications.bus import Bus
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio

RETRIES = 2
GROUP = GroupName("mail")
WORKER = WorkerRecord(
    WorkerId("w1"), IncarnationId("i1"), "h", "1", Capacity(9, 9, 9), ("container",), NOW, NOW
)
FAILING = JobKey(WS, GROUP, "11111111-1111-4111-8111-111111111111")
DELAYED = JobKey(WS, GROUP, "22222222-2222-4222-8222-222222222222")
SPEC = TaskSpec(work=Container(image="x"), group=GROUP)


class HurriedClock:
    """Time that runs when it is told to, and waits that are over at once."""

    def __init__(self) -> None:
        self._now = NOW

    def now(self) -> Instant:
        """The time as it was set last."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Turn time forward."""
        self._now = after(self._now, seconds)

    async def sleep(self, seconds: float) -> None:
        """Hardly."""
        await anyio.sleep(min(seconds, 0.001))


class OneMessage:
    """Reports each moment with one message."""

    async def messages(self, owed: Owed, moment: JobMoment) -> list[Message]:
        """See ``Reporter``."""
        event = WebhookEvent.STARTED if moment is JobMoment.BEGAN else WebhookEvent.FINISHED
        body = owed.execution.task.id.encode()
        return [Message(DeliveryKind.PLAIN, event, 0, "http://127.0.0.1:1/", body)]


class Day:
    """A store, the service in front of it, and a worker at whom everything fails."""

    def __init__(self, store: SqliteStore, faults: Faults) -> None:
        self.store = store
        self.bus = Bus()
        self.clock = HurriedClock()
        self.keeping = JobTimers(faults.wrap(store.jobs), self.bus, self.clock)
        self.keeping.report_with("test", OneMessage())
        self.names = 0

    async def begin(self) -> None:
        """One job that fails, and one that starts later."""
        await self.store.dispatch.join(WORKER)
        definition = JobDefinition(SPEC, retries=RETRIES, origin="test")
        for key, start in ((FAILING, None), (DELAYED, after(NOW, 50))):
            mine = definition if start is None else JobDefinition(SPEC, origin="test")
            await self.store.jobs.put(key, mine, Start(start), "t", (), NOW, "me")

    async def round(self, *, announced: bool) -> None:
        """Let a while pass: what is due becomes ready, what is ready runs and fails."""
        self.clock.advance(20)
        changes: list[Change] = await self.store.dispatch.due(self.clock.now(), 100)
        for ready in await self.store.dispatch.ready(WS, GROUP, None, 10):
            self.names += 1
            name = AttemptId(f"a{self.names}")
            token = LeaseToken(f"l{self.names}")
            now = self.clock.now()
            placement = Placement(
                ready.id, ready.seq, name, token, now, WORKER.id, WORKER.incarnation
            )
            _, placed = await self.store.dispatch.place([placement], now)
            failed = (AttemptState.FAILED, now, Reason.EXIT_CODE, "no", 1)
            state, at, reason, said, code = failed
            reports: list[Report] = [
                Started(name, token, now),
                Ended(name, token, now, state, at, reason, said, code),
            ]
            ended, _ = await self.store.dispatch.apply(reports, now, [0.5, 0.5])
            changes += [*placed, *ended]
        if announced:
            self.bus.publish(changes)

    async def is_over(self) -> bool:
        """Whether everything ended and nothing is owed."""
        failing = await self.store.jobs.job(FAILING)
        delayed = await self.store.jobs.job(DELAYED)
        if failing.execution_count < RETRIES + 1 or delayed.execution_count < 1:
            return False
        found = [
            *await self.store.jobs.executions(failing, 99),
            *await self.store.jobs.executions(delayed, 99),
        ]
        ended = all(one.task.finished_at is not None for one in found)
        return ended and not await self.store.jobs.owed(0, 10)

    async def check(self) -> None:
        """Each retry once, each message once."""
        failing = await self.store.jobs.job(FAILING)
        assert (failing.execution_count, failing.retry_count) == (RETRIES + 1, RETRIES)
        assert (await self.store.jobs.job(DELAYED)).execution_count == 1
        hooks = self.store.webhooks
        sent = await hooks.deliveries(WS, None, None, 99)
        assert len(sent) == 2 * (RETRIES + 2)
        assert len({(one.task_id, one.event) for one in sent}) == len(sent)


@asynccontextmanager
async def day(faults: Faults) -> AsyncIterator[Day]:
    """A day about to begin."""
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        store = await opened(Path(directory))
        try:
            found = Day(store, faults)
            await found.begin()
            yield found
        finally:
            await store.close()


async def see_through(one: Day, *, announced: bool) -> None:
    """Until it is over."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as loops:
            loops.start_soon(one.keeping.run)
            while not await one.is_over():
                await one.round(announced=announced)
                await anyio.sleep(0.002)
            loops.cancel_scope.cancel()


@pytest.mark.parametrize("when", list(When))
async def test_one_failing_call_loses_and_doubles_nothing(when: When) -> None:
    """Whichever call it is."""
    for number in range(200):
        faults = Faults(number, when)
        async with day(faults) as one:
            await see_through(one, announced=True)
            await one.check()
        # Looking on costs calls too, so that the count alone is no end.
        if number > 24:
            return


async def test_ends_nobody_heard_of_are_found() -> None:
    """As after a restart: the look through the store suffices."""
    async with day(Faults()) as one:
        await see_through(one, announced=False)
        await one.check()


async def test_a_service_that_begins_anew_goes_on_where_the_last_one_was() -> None:
    """Killed after every round, wherever it was."""
    async with day(Faults()) as one:
        for turn in range(60):
            async with anyio.create_task_group() as loops:
                keeping = JobTimers(one.store.jobs, Bus(), one.clock)
                keeping.report_with("test", OneMessage())
                loops.start_soon(keeping.run)
                await one.round(announced=False)
                await anyio.sleep(0.001 * (turn % 7))
                loops.cancel_scope.cancel()
            if await one.is_over():
                break
        await one.check()


async def test_settling_twice_at_once_counts_once() -> None:
    """Every retry has one cause."""
    async with day(Faults()) as one:
        while not await one.is_over():
            await one.round(announced=False)
            await one.store.jobs.start_due(one.clock.now(), 10)
            for _, task_id in await one.store.jobs.owed(0, 10):
                async with anyio.create_task_group() as both:
                    for _ in range(3):
                        both.start_soon(one.keeping.complete, task_id)
        await one.check()


@given(
    retries=st.integers(-1, 1000),
    count=st.integers(0, 2000),
    factor=st.floats(0, 1000),
    least=st.floats(0, 86_400),
)
def test_back_off_is_bounded_and_within_the_budget(
    retries: int, count: int, factor: float, least: float
) -> None:
    """No numbers lead out of range, and none beyond the budget to a retry."""
    definition = JobDefinition(SPEC, retries=retries, backoff_min_s=least, backoff_factor=factor)
    job = Job(1, FAILING, definition, NOW, NOW, retry_count=count)
    task = Task(
        1, execution_id(FAILING, 1), WS, SPEC, TaskState.FAILED, NOW, reason=Reason.EXIT_CODE
    )
    found = retry_at(job, task, NOW)
    assert (found is None) == (count >= retries)
    if found is not None:
        assert NOW <= found <= after(NOW, 366 * 86_400)
