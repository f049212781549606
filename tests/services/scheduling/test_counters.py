"""The counters in memory agree with the store, whatever happens."""

import pytest

from fakes.engine import CALLER, STRANGER, World
from taskyard.core.backoff import RetryPolicy
from taskyard.core.instants import after
from taskyard.core.states import WAITING, AttemptState, TaskState

pytestmark = pytest.mark.anyio


def agrees(world: World) -> None:
    """Compare with a count of what is stored."""
    stored = dict.fromkeys(TaskState, 0)
    for task in world.store.model.tasks.values():
        stored[task.state] += 1
    counted = dict.fromkeys(TaskState, 0)
    for counts in world.counters.by_workspace().values():
        for state, count in counts.items():
            counted[state] += count
    assert counted == stored
    waiting = sum(
        task.state in WAITING and task.workspace == CALLER.workspace
        for task in world.store.model.tasks.values()
    )
    assert world.counters.waiting(CALLER.workspace) == waiting


async def test_every_change_is_counted() -> None:
    """Submits, starts, retries, losses, kills, firings, expiries, deletions, restarts."""
    world = World()
    async with world.running():
        worker = await world.worker(slots=2)
        tasks = [await world.submit(retry=RetryPolicy(2, 5, 5, 1, 0)) for _ in range(5)]
        await world.submit(STRANGER)
        agrees(world)
        await worker.end(worker.assigned[0].attempt_id, AttemptState.FAILED, exit_code=1)
        await worker.end(worker.assigned[1].attempt_id)
        await world.complete()
        agrees(world)
        await world.tasks.set_priority(CALLER, tasks[4].id, 3)
        await world.tasks.reschedule(CALLER, tasks[4].id, after(world.clock.now(), 60))
        await world.submit(cron="* * * * *")
        await world.submit(expires_at=after(world.clock.now(), 20))
        agrees(world)
        worker.silent = True
        await world.advance(70)
        agrees(world)
        await worker.join()
        await world.tasks.cancel(CALLER, [task.id for task in tasks])
        await world.advance(5)
        ended = [t.id for t in world.store.model.tasks.values() if t.finished_at is not None]
        await world.tasks.delete(CALLER, ended[:2])
        agrees(world)
    again = World(world.store, clock=world.clock, ids=world.ids)
    async with again.running():
        agrees(again)
