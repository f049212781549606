"""Kills: ordered once, repeated until proven, and never forgotten."""

from collections.abc import AsyncIterator

import pytest

from fakes.clock import VirtualClock
from fakes.engine import CALLER, READER, STRANGER, World
from fakes.memory import MemoryStore
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.states import AttemptState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def test_a_running_task_is_killed_with_proof(world: World) -> None:
    """The order has the task's own signal and grace; the report ends the task."""
    worker = await world.worker()
    task = await world.submit(kill_signal="SIGINT", kill_grace_s=3.0)
    (outcome,) = await world.tasks.cancel(CALLER, [task.id])
    assert outcome.outcome == "killing"
    (order,) = worker.orders
    assert (order.signal, order.grace_s) == ("SIGINT", 3.0)
    assert await world.state(task.id) == "cancelled"
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert attempt.kill_report is not None
    assert attempt.kill_report.survivors == ()
    assert world.kill.pending_count == 0


async def test_the_caller_may_choose_signal_and_grace(world: World) -> None:
    """In place of what the task says."""
    worker = await world.worker()
    task = await world.submit()
    await world.tasks.cancel(CALLER, [task.id], "SIGKILL", 0.0)
    assert (worker.orders[0].signal, worker.orders[0].grace_s) == ("SIGKILL", 0.0)


async def test_an_order_is_repeated_until_the_attempt_has_ended(world: World) -> None:
    """A lost order delays a kill by half a second, no more."""
    worker = await world.worker()
    worker.kills = False
    task = await world.submit()
    worker.reachable = False
    await world.tasks.cancel(CALLER, [task.id])
    assert worker.orders == []
    worker.reachable = True
    await world.advance(2)
    assert len(worker.orders) >= 2
    await worker.end(worker.assigned[0].attempt_id, AttemptState.KILLED)
    before = len(worker.orders)
    await world.advance(2)
    assert len(worker.orders) == before
    assert await world.state(task.id) == "cancelled"


async def test_a_kill_goes_on_after_a_restart() -> None:
    """Once the worker that runs the attempt has joined."""
    store, clock = MemoryStore(), VirtualClock()
    world = World(store, clock=clock)
    async with world.running():
        worker = await world.worker()
        worker.kills = False
        task = await world.submit()
        await world.tasks.cancel(CALLER, [task.id])
    again = World(store, clock=clock, ids=world.ids)
    async with again.running():
        returned = await again.worker()
        await again.advance(1)
        assert returned.orders[0].attempt_id == worker.assigned[0].attempt_id
        assert await again.state(task.id) == "cancelled"


async def test_what_waits_or_has_ended_needs_no_kill(world: World) -> None:
    """One outcome for each id, in order; somebody else's id is an unknown one."""
    waiting = await world.submit()
    mine = await world.submit(STRANGER)
    ids = [waiting.id, waiting.id, mine.id, TaskId("nonsense")]
    outcomes = await world.tasks.cancel(CALLER, ids)
    assert [one.outcome for one in outcomes] == ["cancelled", "ended", "unknown", "unknown"]
    assert [one.task_id for one in outcomes] == ids


async def test_a_whole_group_is_cancelled(world: World) -> None:
    """Whatever runs or waits in it, and nothing else."""
    worker = await world.worker(slots=3)
    tasks = [await world.submit(group="mail") for _ in range(5)]
    other = await world.submit()
    outcomes = await world.tasks.cancel_group(CALLER, GroupName("mail"))
    assert len(outcomes) == 5
    await world.advance(1)
    assert {await world.state(task.id) for task in tasks} == {"cancelled"}
    assert await world.state(other.id) == "running"
    assert len(worker.orders) == 3


async def test_readers_may_not_cancel(world: World) -> None:
    """Nothing happens to the task."""
    task = await world.submit()
    with pytest.raises(NotAllowed):
        await world.tasks.cancel(READER, [task.id])
    assert await world.state(task.id) == "queued"


async def test_success_beats_a_kill_that_came_too_late(world: World) -> None:
    """The work was done; a task that succeeded is not called cancelled."""
    worker = await world.worker()
    worker.kills = False
    task = await world.submit()
    await world.tasks.cancel(CALLER, [task.id])
    await worker.end(worker.assigned[0].attempt_id, AttemptState.SUCCEEDED, exit_code=0)
    assert await world.state(task.id) == "succeeded"


async def test_a_killed_task_is_not_retried_when_its_worker_is_lost(world: World) -> None:
    """Somebody wanted it gone."""
    worker = await world.worker()
    worker.kills = False
    task = await world.submit()
    await world.tasks.cancel(CALLER, [task.id])
    worker.silent = True
    await world.advance(4)
    assert await world.state(task.id) == "cancelled"
    assert world.kill.pending_count == 0
