"""Rescue: silent workers are fenced, and what they ran goes on elsewhere."""

from collections.abc import AsyncIterator

import pytest

from fakes.clock import VirtualClock
from fakes.engine import World
from fakes.faults import Stall
from fakes.memory import MemoryStore
from taskyard.core.errors import Unavailable
from taskyard.core.states import AttemptState, Reason
from taskyard.services.scheduling.rescue import RETURN_S, SILENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def test_a_silent_worker_is_lost_within_three_seconds(world: World) -> None:
    """Its attempt is fenced, its task queued again and run by another worker."""
    worker, other = await world.worker("w1", 1), await world.worker("w2", 1)
    task = await world.submit()
    holder, spare = (worker, other) if worker.assigned else (other, worker)
    holder.silent = True
    before = world.clock.now()
    while not spare.assigned:
        await world.advance(0.5)
    assert world.clock.now() - before <= 3_000_000
    assert spare.assigned[0].task_id == task.id
    assert [a.state for a in await world.store.tasks.attempts(task.workspace, task.id)] == [
        AttemptState.LOST,
        AttemptState.ASSIGNED,
    ]


async def test_a_beating_worker_is_left_alone(world: World) -> None:
    """However long it goes on."""
    worker = await world.worker()
    task = await world.submit()
    await world.advance(60)
    assert await world.state(task.id) == "running"
    assert len(worker.assigned) == 1


async def test_late_reports_are_refused_and_kept_as_evidence(world: World) -> None:
    """The worker is told to kill what it still runs; the history says so."""
    worker = await world.worker()
    task = await world.submit()
    (assignment,) = worker.assigned
    worker.silent = True
    await world.advance(SILENCE_S + 1)
    assert await worker.report_for(assignment, AttemptState.SUCCEEDED) == [assignment.lease_token]
    events = await world.store.tasks.events(task.workspace, task.id, 0, 100)
    assert events[-1].kind == "refused"
    assert await world.state(task.id) == "queued"


async def test_a_task_that_must_not_run_twice_fails(world: World) -> None:
    """Whoever opted out of reruns is told that the worker was lost."""
    worker = await world.worker()
    task = await world.submit(rerun_if_lost=False)
    worker.silent = True
    await world.advance(SILENCE_S + 1)
    ended = await world.task(task.id)
    assert (ended.state, ended.reason) == ("failed", Reason.WORKER_LOST)


async def test_a_task_that_keeps_losing_its_worker_is_given_up(world: World) -> None:
    """It is suspected of being the cause."""
    worker = await world.worker(slots=1)
    task = await world.submit()
    for _ in range(11):
        worker.silent = True
        await world.advance(SILENCE_S + 1)
        worker.held.clear()
        await worker.join()
    assert len(worker.assigned) == 11
    assert await world.state(task.id) == "failed"


async def test_an_engine_that_was_held_up_accuses_nobody(world: World) -> None:
    """A long pause of its own says nothing about workers."""
    worker = await world.worker()
    task = await world.submit()
    world.clock.advance(20)
    await world.complete()
    for _ in range(4):
        await worker.beat()
        world.clock.advance(0.5)
        await world.complete()
    assert await world.state(task.id) == "running"
    assert len(worker.assigned) == 1


@pytest.mark.parametrize("stalled_s", [1.5, 5, 30, 300])
@pytest.mark.parametrize("heard", [True, False])
async def test_a_store_that_stands_still_costs_nobody_his_work(
    world: World, stalled_s: float, heard: bool
) -> None:
    """Nobody is judged meanwhile, and then everybody gets the time to be heard again."""
    workers = [await world.worker(name, slots=2) for name in ("w1", "w2")]
    tasks = [await world.submit(rerun_if_lost=number % 2 == 0) for number in range(4)]
    stall = Stall()
    world.store.dispatch.renew = stall.wrap(world.store.dispatch).renew
    world.store.dispatch.lose = stall.wrap(world.store.dispatch).lose
    stall.begin()
    for worker in workers:
        worker.silent = not heard
    await world.advance(stalled_s)
    stall.end()
    for worker in workers:
        worker.silent = False
    await world.advance(30)
    assert [await world.state(task.id) for task in tasks] == ["running"] * 4
    assert sum(len(worker.assigned) for worker in workers) == 4


async def test_a_store_that_is_away_costs_nobody_his_work(world: World) -> None:
    """While nothing could be stored of a loss, silence does not count."""
    worker = await world.worker()
    task = await world.submit()
    real = world.store.dispatch.renew

    async def renew(*_args: object) -> object:
        raise Unavailable("away")

    world.store.dispatch.renew = renew
    worker.silent = True
    await world.advance(20)
    world.store.dispatch.renew = real
    worker.silent = False
    await world.advance(10)
    assert await world.state(task.id) == "running"
    assert len(worker.assigned) == 1


async def test_a_worker_of_this_process_cannot_be_silent(world: World) -> None:
    """It shares the loop of whoever judges: what holds it up holds up both."""
    worker, other = await world.worker("w1", 1), await world.worker("w2", 1)
    world.rescue.is_inside = lambda worker_id: worker_id == worker.id
    worker.silent = other.silent = True
    await world.advance(SILENCE_S + 2)
    assert [record.id for record, _ in world.rooms.workers()] == [worker.id]


async def test_a_loss_that_could_not_be_stored_is_stored_later(world: World) -> None:
    """The store being away for a moment does not leave attempts behind forever."""
    worker = await world.worker()
    task = await world.submit()
    real, calls = world.store.dispatch.lose, 0

    async def lose(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.lose = lose
    worker.silent = True
    await world.advance(SILENCE_S + 1)
    assert await world.state(task.id) == "running"
    await world.advance(3)
    assert await world.state(task.id) == "queued"


@pytest.mark.parametrize("returns", [True, False])
async def test_workers_may_return_after_a_restart(returns: bool) -> None:
    """For a while their attempts are left to them, then they are lost."""
    store, clock = MemoryStore(), VirtualClock()
    world = World(store, clock=clock)
    async with world.running():
        worker = await world.worker()
        task = await world.submit()
    again = World(store, clock=clock, ids=world.ids)
    async with again.running():
        await again.advance(RETURN_S - 1)
        assert await again.state(task.id) == "running"
        if returns:
            worker = await again.worker()
            assert [one.task_id for one in worker.held.values()] == [task.id]
        await again.advance(3)
        assert await again.state(task.id) == ("running" if returns else "queued")
