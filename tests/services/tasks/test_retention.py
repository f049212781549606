"""Retention: what is too old or too much goes, with its logs, a little at a time."""

from collections.abc import AsyncIterator

import anyio
import pytest

from fakes.engine import CALLER, STRANGER, World
from taskyard.core.errors import Unavailable
from taskyard.core.ids import TaskId
from taskyard.services.tasks import retention as prune_module

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Ended tasks are kept for an hour, and ten of them."""
    world = World(keep_s=3600.0, keep_count=10)
    async with world.running():
        yield world


async def ended(world: World, count: int) -> list[TaskId]:
    """So many tasks that are cancelled, one a second."""
    ids = []
    for _ in range(count):
        task = await world.submit()
        await world.tasks.cancel(CALLER, [task.id])
        await world.advance(1)
        ids.append(task.id)
    return ids


async def test_the_oldest_beyond_the_count_go(world: World) -> None:
    """Each workspace has its own count; what has not ended does not count."""
    ids = await ended(world, 13)
    waiting = await world.submit()
    other = await world.submit(STRANGER)
    await world.tasks.cancel(STRANGER, [other.id])
    assert await world.prune.once()
    assert not await world.prune.once()
    left = {task.id for task in world.store.model.tasks.values()}
    assert left == {*ids[3:], waiting.id, other.id}


async def test_what_is_too_old_goes_with_its_logs(world: World) -> None:
    """An hour after its end, and not before."""
    worker = await world.worker()
    task = await world.submit()
    attempt_id = worker.assigned[0].attempt_id
    await worker.end(attempt_id)
    await world.advance(3600, step=1)
    assert not await world.prune.once()
    await world.advance(1)
    assert await world.prune.once()
    assert world.logs.deleted == [attempt_id]
    assert task.id not in {one.id for one in world.store.model.tasks.values()}


async def test_the_loop_goes_on_after_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And removes in parts, so that nobody waits for long."""
    monkeypatch.setattr(prune_module, "AT_ONCE", 2)
    await ended(world, 17)
    real, calls = world.store.dispatch.prune, 0

    async def prune(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.prune = prune
    async with anyio.create_task_group() as group:
        group.start_soon(world.prune.run)
        await world.complete()
        assert len(world.store.model.tasks) == 17
        await world.advance(35)
        assert len(world.store.model.tasks) == 10
        group.cancel_scope.cancel()
    assert calls >= 5
