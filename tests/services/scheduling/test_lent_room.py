"""Room that the leader lends to other control planes, which place tasks as they store them."""

from collections.abc import AsyncIterator

import pytest
from planes_world import Plane, Planes, planes

from fakes.engine import CALLER
from taskyard.core.errors import Conflict, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.core.scheduling.requirements import ready_task
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, NewTask, TaskSpec
from taskyard.ports.dispatching import Placement
from taskyard.services.scheduling.lent_room import LENT_S
from taskyard.services.tasks.enqueue import Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[Planes]:
    """No planes yet."""
    async with planes() as one:
        yield one


@pytest.fixture
async def two(world: Planes) -> tuple[Plane, Plane]:
    """The first leads; the second has a worker beside it with room for two."""
    first, second = world.plane("one"), world.plane("two")
    await second.worker("w2", 2)
    await first.lead()
    return first, second


def prepared(plane: Plane) -> NewTask:
    """A task that is not stored yet."""
    return plane.tasks.prepare(CALLER, TaskSpec(work=Command(argv=("true",))))


def free(plane: Plane) -> int:
    """Slots that are free in the leader's view."""
    ((_, capacity),) = plane.dispatch.workers()
    return capacity.slots


async def test_a_follower_places_as_it_stores(world: Planes, two: tuple[Plane, Plane]) -> None:
    """With one commit; and sends it by itself, whatever the leader does."""
    first, second = two
    task = await second.submit()
    events = await world.store.tasks.events(task.workspace, task.id, 0, 10)
    assert [one.kind for one in events] == ["submitted", "assigned"]
    (worker,) = world.workers.values()
    assert [one.task_id for one in worker.assigned] == [task.id]
    assert (free(first), first.lent.count) == (1, 0)
    await worker.end(worker.assigned[0].attempt_id)
    await world.advance(1)
    assert free(first) == 2


async def test_never_more_than_there_is_room(world: Planes, two: tuple[Plane, Plane]) -> None:
    """Whoever stores them."""
    first, second = two
    tasks = [await plane.submit() for plane in (second, first, second, first)]
    states = [(await world.task(one.id)).state for one in tasks]
    assert states.count(TaskState.RUNNING) == 2
    assert free(first) == 0


async def test_what_is_not_stored_is_given_back(world: Planes, two: tuple[Plane, Plane]) -> None:
    """At once where that is known."""
    first, second = two

    async def refuse(placement: Placement | None) -> Outcome:
        assert placement is not None
        assert free(first) == 1
        raise Conflict("it is there already")

    with pytest.raises(Conflict):
        await second.tasks.enqueue.store(prepared(second), refuse, lambda one: one)
    await second.complete()
    assert free(first) == 2
    del world


async def test_what_is_never_heard_of_is_settled_by_the_store(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """It may have been stored, or its plane may have died before."""
    first, second = two

    async def die(_placement: Placement | None) -> Outcome:
        raise Unavailable("nobody knows")

    with pytest.raises(Unavailable):
        await second.tasks.enqueue.store(prepared(second), die, lambda one: one)
    await second.complete()
    assert (free(first), first.lent.count) == (1, 1)
    await world.advance(LENT_S / 2)
    first.lent.settle_old()
    await world.advance(11)
    assert (free(first), first.lent.count) == (1, 1)
    await world.advance(LENT_S / 2)
    first.lent.settle_old()
    assert first.lent.count == 0
    await first.dispatch.reconcile()
    assert free(first) == 2


async def test_what_was_stored_unheard_keeps_its_room_and_is_sent(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The leader finds it in the store."""
    first, second = two
    new = prepared(second)
    placement = await second.placing.place(new)
    assert placement is not None
    await world.store.tasks.submit_placed(new, None, placement)
    second.placing.mark_uncertain(placement)
    await world.advance(LENT_S + 20)
    first.lent.settle_old()
    await first.dispatch.reconcile()
    await world.advance(1)
    assert free(first) == 1
    (worker,) = world.workers.values()
    assert {one.task_id for one in worker.assigned} == {new.id}


async def test_room_of_a_former_leader_is_worth_nothing(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The task is stored as queued; the next leader places it."""
    first, second = two
    new = prepared(second)
    placement = await second.placing.place(new)
    assert placement is not None
    await first.stop_leading()
    await world.plane("three").lead()
    stored = await world.store.tasks.submit_placed(new, None, placement)
    assert stored.attempt is None
    second.placing.stored(placement, None)
    await world.advance(1)
    assert first.lent.count == 0


async def test_without_an_answer_tasks_queue(world: Planes, two: tuple[Plane, Plane]) -> None:
    """A dead leader holds up nobody: it is not asked again for a while."""
    first, second = two
    await first.stop_leading()
    asked = 0
    real = second.messages.request

    async def request(*args: object, **more: object) -> object:
        nonlocal asked
        asked += 1
        return await real(*args, **more)  # type: ignore[arg-type]

    second.messages.request = request  # type: ignore[assignment, method-assign]
    for _ in range(3):
        task = await second.submit()
        assert (await world.task(task.id)).state is TaskState.QUEUED
    assert asked == 1


async def test_only_what_was_lent_is_given_back(world: Planes, two: tuple[Plane, Plane]) -> None:
    """A message that arrives twice, or names anything else, frees nothing."""
    first, second = two
    task = await first.submit()
    ((attempt, _, _),) = await world.store.dispatch.running()
    placement = first.lent.lend(ready_task(prepared(second), 0))
    assert placement is not None
    assert free(first) == 0
    first.lent.give_back([attempt.id, AttemptId("unknown")])
    assert free(first) == 0
    first.lent.give_back([placement.attempt_id, placement.attempt_id])
    assert free(first) == 1
    assert (await world.task(task.id)).state is TaskState.RUNNING


async def test_what_was_stored_after_all_takes_its_room_again(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Whoever gave it back was wrong, or late."""
    first, second = two
    new = prepared(second)
    placement = first.lent.lend(ready_task(new, 0))
    assert placement is not None
    first.lent.give_back([placement.attempt_id])
    await world.store.tasks.submit_placed(new, None, placement)
    assert free(first) == 2
    await first.dispatch.reconcile()
    assert free(first) == 1
