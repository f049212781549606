"""Enqueue: whatever becomes of storing a task, the room it was given is used or given back."""

from collections.abc import AsyncIterator

import pytest

from fakes.engine import CALLER, World
from taskyard.core.errors import Conflict, Overloaded, TaskyardError, Unavailable
from taskyard.core.tasks import Command, NewTask, TaskSpec
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import Submitted
from taskyard.services.tasks.enqueue import Outcome, outcome_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services with a worker that has room for one."""
    world = World()
    async with world.running():
        await world.worker("w1", 1)
        yield world


def prepared(world: World) -> NewTask:
    """A task that is not stored yet."""
    return world.tasks.prepare(CALLER, TaskSpec(work=Command(argv=("true",))))


def free(world: World) -> int:
    """Slots that are free."""
    ((_, capacity),) = world.dispatch.workers()
    return capacity.slots


async def test_it_is_given_room_before_it_is_stored(world: World) -> None:
    """And is sent to its worker without another commit."""
    new = prepared(world)
    given: list[Placement | None] = []

    async def put(placement: Placement | None) -> Submitted:
        given.append(placement)
        assert placement is not None
        assert free(world) == 0
        found: Submitted = await world.store.tasks.submit_placed(new, "me", placement)
        return found

    stored = await world.tasks.enqueue.store(new, put, lambda one: outcome_of(new, one))
    assert stored.attempt is not None
    await world.complete()
    (worker,) = world.transport.workers.values()
    assert [one.task_id for one in worker.assigned] == [new.id]


async def test_without_room_it_waits(world: World) -> None:
    """It is stored like any other."""
    await world.submit()
    new = prepared(world)

    async def put(placement: Placement | None) -> Submitted:
        assert placement is None
        found: list[Submitted] = await world.store.tasks.submit([new], "me")
        return found[0]

    stored = await world.tasks.enqueue.store(new, put, lambda one: outcome_of(new, one))
    assert stored.attempt is None
    assert await world.state(new.id) == "queued"


async def test_what_is_refused_gives_its_room_back_at_once(world: World) -> None:
    """Nothing was stored, and everybody knows."""

    async def put(_placement: Placement | None) -> Outcome:
        raise Conflict("it is there already")

    with pytest.raises(Conflict):
        await world.tasks.enqueue.store(prepared(world), put, lambda one: one)
    assert free(world) == 1


@pytest.mark.parametrize("error", [Unavailable("away"), Overloaded("busy", 1.0)])
async def test_what_may_have_been_stored_keeps_its_room_until_that_is_known(
    world: World, error: TaskyardError
) -> None:
    """Then it is given back."""

    async def put(_placement: Placement | None) -> Outcome:
        raise error

    with pytest.raises(type(error)):
        await world.tasks.enqueue.store(prepared(world), put, lambda one: one)
    assert free(world) == 0
    await world.complete()
    assert free(world) == 1


async def test_what_was_stored_without_its_attempt_gives_its_room_back(world: World) -> None:
    """Such as a job whose first execution comes later."""

    async def put(_placement: Placement | None) -> Outcome:
        return Outcome()

    await world.tasks.enqueue.store(prepared(world), put, lambda one: one)
    assert free(world) == 1
