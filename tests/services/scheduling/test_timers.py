"""The passing of time: tasks start, recur and expire when they should."""

from collections.abc import AsyncIterator

import pytest

from fakes.clock import VirtualClock
from fakes.engine import CALLER, WS, World
from fakes.memory import MemoryStore
from taskyard.core.backoff import RetryPolicy
from taskyard.core.cron import CatchUp
from taskyard.core.errors import Unavailable
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Task
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def firings(world: World, task: Task) -> list[Task]:
    """Tasks that a recurring one has made, oldest first."""
    query = TaskQuery(workspace=WS, schedule_id=task.id, oldest_first=True, limit=500)
    page = await world.store.tasks.list_tasks(query)
    return page.tasks  # type: ignore[no-any-return]


async def test_a_task_starts_at_its_moment(world: World) -> None:
    """Not before, and not a second after; the loop sleeps until then."""
    task = await world.submit(start_at=after(world.clock.now(), 100))
    await world.advance(99.5)
    assert await world.state(task.id) == "scheduled"
    await world.advance(0.5)
    assert await world.state(task.id) == "queued"


async def test_a_nearer_task_wakes_the_loop(world: World) -> None:
    """It does not sleep past what was submitted meanwhile."""
    far = await world.submit(start_at=after(world.clock.now(), 25))
    await world.advance(1)
    near = await world.submit(start_at=after(world.clock.now(), 2))
    await world.advance(2)
    assert (await world.state(far.id), await world.state(near.id)) == ("scheduled", "queued")


async def test_a_task_expires_while_it_waits(world: World) -> None:
    """Whether it is queued or not due yet."""
    soon = after(world.clock.now(), 5)
    queued = await world.submit(expires_at=soon)
    delayed = await world.submit(start_at=after(soon, 5), expires_at=soon)
    await world.advance(5)
    for task in (queued, delayed):
        ended = await world.task(task.id)
        assert (ended.state, ended.reason) == ("expired", Reason.EXPIRED)


async def test_a_failed_attempt_is_retried_after_its_back_off(world: World) -> None:
    """As often as the policy grants; then the task is dead."""
    worker = await world.worker()
    task = await world.submit(retry=RetryPolicy(3, 10.0, 100.0, 2.0, 0.0))
    for pause in (10, 20):
        await worker.end(worker.assigned[-1].attempt_id, AttemptState.FAILED, exit_code=1)
        assert await world.state(task.id) == "retrying"
        await world.advance(pause - 0.5)
        assert await world.state(task.id) == "retrying"
        await world.advance(0.5)
        assert await world.state(task.id) == "running"
    await worker.end(worker.assigned[-1].attempt_id, AttemptState.FAILED, exit_code=1)
    assert await world.state(task.id) == "dead"
    assert len(worker.assigned) == 3


async def test_a_recurring_task_fires_each_time_once(world: World) -> None:
    """And goes on until it is cancelled."""
    task = await world.submit(cron="*/10 * * * *")
    await world.advance(3600, step=20)
    fired = await firings(world, task)
    moments = [one.due_at for one in fired]
    assert len(moments) == len(set(moments)) == 6
    assert await world.state(task.id) == "scheduled"
    await world.tasks.cancel(CALLER, [task.id])
    await world.advance(3600, step=20)
    assert len(await firings(world, task)) == 6


@pytest.mark.parametrize(
    ("policy", "count"), [(CatchUp.NONE, 0), (CatchUp.ONE, 1), (CatchUp.ALL, 6)]
)
async def test_firings_missed_while_down_are_made_up_for_by_policy(
    policy: CatchUp, count: int
) -> None:
    """After an hour without a server, none twice and none too few."""
    store, clock = MemoryStore(), VirtualClock()
    world = World(store, clock=clock)
    async with world.running():
        task = await world.submit(cron="*/10 * * * *", catch_up=policy)
    clock.advance(3600)
    again = World(store, clock=clock, ids=world.ids)
    async with again.running():
        assert len(await firings(again, task)) == count
        await again.advance(600, step=20)
        assert len(await firings(again, task)) == count + 1


async def test_a_store_in_trouble_is_asked_again(world: World) -> None:
    """What was due meanwhile happens late, but it happens."""
    task = await world.submit(start_at=after(world.clock.now(), 2))
    real, calls = world.store.dispatch.due, 0

    async def due(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.due = due
    await world.advance(2)
    assert await world.state(task.id) == "scheduled"
    await world.advance(5)
    assert await world.state(task.id) == "queued"


async def test_a_rescheduled_task_starts_at_its_new_moment(world: World) -> None:
    """Earlier or later than before."""
    task = await world.submit(start_at=after(world.clock.now(), 1000))
    await world.tasks.reschedule(CALLER, task.id, after(world.clock.now(), 3))
    await world.advance(3)
    assert await world.state(task.id) == "queued"
    await world.tasks.reschedule(CALLER, task.id, after(world.clock.now(), 50))
    worker = await world.worker()
    await world.advance(49)
    assert worker.assigned == []
    await world.advance(1)
    assert [one.task_id for one in worker.assigned] == [task.id]


async def test_a_thousand_due_at_once_all_start(world: World) -> None:
    """More than one round is needed."""
    moment = after(world.clock.now(), 5)
    tasks = [await world.submit(start_at=moment) for _ in range(600)]
    await world.advance(5)
    assert {(await world.state(task.id)) for task in tasks} == {"queued"}
