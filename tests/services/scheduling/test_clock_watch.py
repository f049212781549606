"""A wall clock that is set back makes no wait longer, and no rule silent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.clock import VirtualClock, settled
from fakes.specs import NOW, WS, new_task
from fakes.stores import opened
from taskyard.core.attempts import Ended
from taskyard.core.backoff import RetryPolicy
from taskyard.core.circuit_breaker import Circuit, CircuitRule, CircuitState
from taskyard.core.errors import Unavailable
from taskyard.core.functions.functions import FunctionId
from taskyard.core.functions.resources import Schedule
from taskyard.core.ids import AttemptId, GroupName, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.core.jobs import JobDefinition, JobKey
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.jobs import Start
from taskyard.services.scheduling.timers import ClockWatch
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio

HOUR_S = 3600.0
BACK = after(NOW, -HOUR_S)
"""What the clock says after it was set back by an hour. At NOW it is 22:13:20 UTC."""
W1 = WorkerRecord(
    WorkerId("w1"), IncarnationId("i1"), "h", "1", Capacity(9, 9, 9), ("command",), NOW, NOW
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open, empty store."""
    store = await opened(tmp_path)
    yield store
    await store.close()


async def start_of(store: SqliteStore, task: NewTask) -> Instant | None:
    """When a task starts, or fires next."""
    return (await store.tasks.task(WS, task.id)).start_at


async def test_waits_stay_as_long_as_they_were(store: SqliteStore) -> None:
    """Delays do; a moment that was named does not move; what is over is ready at once."""
    delayed = new_task(start_at=after(NOW, 600), starts_after_wait=True)
    shown = new_task(start_at=after(NOW, 600))
    await store.tasks.submit([delayed, shown], None)
    await store.timing.went_back(HOUR_S, BACK)
    assert await start_of(store, delayed) == after(BACK, 600)
    assert await start_of(store, shown) == after(NOW, 600)
    await store.timing.went_back(HOUR_S, after(BACK, 1000))
    assert await start_of(store, delayed) == after(BACK, 600)


async def test_a_back_off_stays_as_long_as_it_was(store: SqliteStore) -> None:
    """It is a wait, whatever the clock says."""
    task = new_task(retry=RetryPolicy(max_attempts=3, backoff_min_s=60))
    await store.tasks.submit([task], None)
    await store.dispatch.join(W1)
    (ready,) = await store.dispatch.ready(WS, GroupName("default"), None, 10)
    name, token = AttemptId("a"), LeaseToken("l")
    placement = Placement(task.id, ready.seq, name, token, NOW, W1.id, W1.incarnation)
    await store.dispatch.place([placement], NOW)
    failed = Ended(name, token, NOW, AttemptState.FAILED, NOW, Reason.EXIT_CODE, "no", 1)
    await store.dispatch.apply([failed], NOW, [0.5])
    start_at = await start_of(store, task)
    assert start_at is not None
    await store.timing.went_back(HOUR_S, BACK)
    now_at = await start_of(store, task)
    assert now_at is not None
    assert seconds_between(BACK, now_at) == seconds_between(NOW, start_at)


async def test_rules_fire_by_the_clock_as_it_is(store: SqliteStore) -> None:
    """The next time that the wall shows, which the wrong clock had passed; unreadable ones stay."""
    hourly = new_task(cron="0 * * * *", start_at=after(NOW, 46 * 60 + 40))
    daily = new_task(cron="0 9 * * *", start_at=after(NOW, 10 * HOUR_S + 46 * 60 + 40))
    lost = new_task(cron="0 * * * *", timezone="Gone/Away", start_at=after(NOW, 2800))
    await store.tasks.submit([hourly, daily, lost], None)
    entry = Schedule("s", WS, NOW, FunctionId("f"), "0 * * * *", "UTC")
    await store.function_resources.add(entry, after(NOW, 2800))
    before = await start_of(store, daily)
    await store.timing.went_back(HOUR_S, BACK)
    assert await start_of(store, hourly) == after(BACK, 46 * 60 + 40)
    assert await start_of(store, daily) == before
    assert await start_of(store, lost) == after(NOW, 2800)
    assert await store.function_resources.next_due() == after(BACK, 2800)


@pytest.mark.parametrize("waits", [True, False])
async def test_jobs_that_start_later_do_so(store: SqliteStore, waits: bool) -> None:
    """After a while, or at their moment."""
    key = JobKey(WS, GroupName("mail"), "11111111-1111-4111-8111-111111111111")
    definition = JobDefinition(new_task(starts_after_wait=waits).spec)
    await store.jobs.put(key, definition, Start(after(NOW, 50)), "t", (), NOW, "me")
    await store.timing.went_back(HOUR_S, BACK)
    assert await store.jobs.next_due() == after(BACK if waits else NOW, 50)


async def test_recurring_jobs_fire_by_the_clock_as_it_is(store: SqliteStore) -> None:
    """Like tasks that recur."""
    key = JobKey(WS, GroupName("mail"), "11111111-1111-4111-8111-111111111111")
    definition = JobDefinition(new_task().spec, cron="0 * * * *")
    await store.jobs.put(key, definition, Start(after(NOW, 2800)), "t", (), NOW, "me")
    await store.timing.went_back(HOUR_S, BACK)
    assert await store.jobs.next_due() == after(BACK, 2800)


class Told:
    """Remembers what it was told; fails at first if it is to."""

    def __init__(self, failures: int = 0) -> None:
        self.steps: list[float] = []
        self.failures = failures

    async def went_back(self, by_s: float, now: Instant) -> None:
        """See the port."""
        del now
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.steps.append(round(by_s))


async def watched(told: Told, steps: list[float]) -> int:
    """Set the clock by each of these, a few seconds apart; how often loops were woken."""
    clock, woken = VirtualClock(), 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    async with anyio.create_task_group() as loops:
        loops.start_soon(ClockWatch(told, clock, clock.monotonic, [wake]).run)
        await settled()
        for step in steps:
            clock.set(step)
            for _ in range(4):
                clock.advance(1)
                await settled()
        loops.cancel_scope.cancel()
    return woken


@pytest.mark.parametrize(
    ("steps", "told", "woken"),
    [
        ([-3600.0], [3600], 1),
        ([-3600.0, -60.0, 0.0], [3600, 60], 2),
        ([3600.0], [], 1),
        ([-0.4] * 20, [], 0),
        ([-7200.0, 7200.0], [7200], 2),
    ],
)
async def test_a_clock_that_is_set_is_noticed(
    steps: list[float], told: list[float], woken: int
) -> None:
    """Back by how much; forward only wakes; what NTP does by little and little is no step."""
    store = Told()
    assert (await watched(store, steps), store.steps) == (woken, told)


async def test_a_step_that_could_not_be_stored_is_stored_later() -> None:
    """The next look finds it again."""
    store = Told(failures=2)
    assert (await watched(store, [-3600.0]), store.steps) == (1, [3600])


def test_a_circuit_is_open_no_longer() -> None:
    """Than its reset time, whatever the clock was set to."""
    circuit: Any = Circuit(CircuitRule(1, 60.0)).failed(NOW)
    assert circuit.at(after(NOW, 59)).state is CircuitState.OPEN
    assert circuit.at(BACK).state is CircuitState.HALF_OPEN
