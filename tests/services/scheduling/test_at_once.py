"""A task for which there is room is stored with its attempt, in one transaction."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from fakes.engine import CALLER, World
from fakes.faults import Faults, When
from taskyard.core.errors import Unavailable
from taskyard.core.ids import GroupName
from taskyard.core.instants import after
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, TaskSpec

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


def no_placing(world: World) -> None:
    """Whoever asks the store to place a queued task fails the test."""

    async def place(*_: object) -> Any:
        raise AssertionError("placed separately")

    world.store.dispatch.place = place


async def test_it_is_placed_as_it_is_stored(world: World) -> None:
    """Its history says that it was submitted and assigned, and so is announced."""
    heard: list[tuple[str, TaskState | None, TaskState | None]] = []
    worker = await world.worker()
    no_placing(world)
    world.bus.listen(lambda changes: heard.extend((c.kind, c.was, c.state) for c in changes))
    task = await world.submit()
    assert [one.task_id for one in worker.assigned] == [task.id]
    assert heard == [
        ("submitted", None, TaskState.QUEUED),
        ("assigned", TaskState.QUEUED, TaskState.RUNNING),
    ]
    events = await world.store.tasks.events(CALLER.workspace, task.id, 0, 10)
    assert [(event.number, event.kind) for event in events] == [(1, "submitted"), (2, "assigned")]
    (attempt,) = await world.store.tasks.attempts(CALLER.workspace, task.id)
    assert (attempt.number, attempt.worker_id) == (1, worker.id)
    await worker.end(attempt.id)
    assert await world.state(task.id) == "succeeded"
    assert world.rooms.held_count == 0


async def test_who_waits_goes_first(world: World) -> None:
    """Room that is free in the moment of a submit belongs to those who came before."""
    worker = await world.worker(slots=1)
    first, second = await world.submit(), await world.submit()
    real = world.store.dispatch.place
    gate = anyio.Event()

    async def place(*args: Any) -> Any:
        await gate.wait()
        return await real(*args)

    world.store.dispatch.place = place
    await worker.end(worker.assigned[0].attempt_id)
    third = await world.submit(group="other")
    assert [one.task_id for one in worker.assigned] == [first.id]
    gate.set()
    await world.complete()
    await worker.end(worker.assigned[1].attempt_id)
    await world.complete()
    assert [one.task_id for one in worker.assigned] == [first.id, second.id, third.id]


async def test_limits_and_pauses_hold(world: World) -> None:
    """However much room there is."""
    worker = await world.worker()
    mail, post = GroupName("mail"), GroupName("post")
    await world.groups.set(CALLER, mail, concurrency_limit=1)
    await world.groups.set(CALLER, post, paused=True)
    first, _, _ = [await world.submit(group=name) for name in (mail, mail, post)]
    assert [one.task_id for one in worker.assigned] == [first.id]


async def test_a_known_key_takes_no_room(world: World) -> None:
    """The earlier task is returned, and nothing is placed."""
    worker = await world.worker(slots=2)
    first = await world.submit(idempotency_key="k")
    again = await world.submit(idempotency_key="k")
    assert again.id == first.id
    assert len(worker.assigned) == world.rooms.held_count == 1


async def test_what_starts_later_or_has_expired_is_not_placed(world: World) -> None:
    """As if it had waited."""
    worker = await world.worker()
    now = world.clock.now()
    await world.submit(start_at=after(now, 60))
    assert worker.assigned == []
    assert world.rooms.held_count == 0


async def test_a_worker_that_is_another_by_then_is_not_given_it(world: World) -> None:
    """The task is stored all the same, and waits."""
    worker = await world.worker()
    model = world.store.model
    model.workers[worker.id] = replace(model.workers[worker.id], state="lost")
    task = await world.submit()
    assert await world.state(task.id) == "queued"
    assert worker.assigned == []


@pytest.mark.parametrize("when", When)
async def test_a_failing_store_leaves_nothing_behind(world: World, when: When) -> None:
    """Whether or not the task was stored with its attempt, room is given back and it is run."""
    worker = await world.worker(slots=1)
    world.tasks._store = Faults(0, when).wrap(world.store.tasks)
    with pytest.raises(Unavailable):
        await world.submit(idempotency_key="k")
    await world.complete()
    task = await world.submit(idempotency_key="k")
    await world.advance(15)
    assert [one.task_id for one in worker.assigned] == [task.id]
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert await world.state(task.id) == "succeeded"
    assert world.rooms.held_count == 0


async def test_a_caller_who_goes_away_in_the_middle_leaves_nothing_behind(world: World) -> None:
    """Its task was stored and nobody announced it; it runs, once."""
    worker = await world.worker(slots=1)
    real = world.store.tasks.submit_placed

    async def submit_placed(*args: Any) -> Any:
        stored = await real(*args)
        await anyio.sleep_forever()
        return stored

    world.store.tasks.submit_placed = submit_placed
    async with anyio.create_task_group() as group:
        spec = TaskSpec(work=Command(argv=("true",)))
        group.start_soon(world.tasks.submit, CALLER, spec)
        await world.complete()
        group.cancel_scope.cancel()
    await world.advance(15)
    assert len(worker.assigned) == 1
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert world.rooms.held_count == 0
    assert world.store.model.running() == []
