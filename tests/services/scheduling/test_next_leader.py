"""The next leader: what it goes on with, sends again, kills and takes for lost."""

import anyio
import pytest
from planes_world import Plane, Planes, worker_id

from fakes.engine import CALLER
from taskyard.core.errors import NotLeading
from taskyard.core.states import AttemptState, TaskState
from taskyard.ports.dispatching import LEASE_S
from taskyard.services.scheduling.fleet_watch import QUIET_S, RECONCILE_S, TICK_S
from taskyard.services.scheduling.leases import SILENCE_S

pytestmark = pytest.mark.anyio


async def test_the_next_leader_goes_on_with_what_runs(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """It counts what runs, and gives nobody more than there is room for."""
    first, second = two
    for _ in range(6):
        await first.submit()
    await world.advance(1)
    await first.stop_leading()
    await second.lead()
    await world.advance(5)
    assert [len(one.held) for one in world.workers.values()] == [2, 2]
    for worker in world.workers.values():
        for attempt_id in list(worker.held):
            await worker.end(attempt_id)
    await world.advance(1)
    given = [one.attempt_id for worker in world.workers.values() for one in worker.assigned]
    assert len(set(given)) == 6


async def test_what_comes_while_a_leader_learns_overtakes_nothing(world: Planes) -> None:
    """It hears of that before it has read what waited already."""
    plane = world.plane("one")
    worker = await plane.worker("w1", 1)
    first = await plane.submit()
    dispatch = world.store.dispatch
    real = dispatch.running

    async def running() -> object:
        dispatch.running = real
        await plane.submit()
        return await real()

    dispatch.running = running
    await plane.lead()
    await world.advance(1)
    assert [one.task_id for one in worker.assigned] == [first.id]


async def test_a_former_leader_changes_nothing(world: Planes, two: tuple[Plane, Plane]) -> None:
    """It was stopped while another took over, and does not know it yet."""
    first, second = two
    await second.lead()
    task = await first.submit()
    with pytest.raises(NotLeading):
        await world.store.dispatch.due(world.clock.now(), 10, first.term)
    await world.advance(1)
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert attempt.state is AttemptState.ASSIGNED
    assert sum(len(one.assigned) for one in world.workers.values()) == 1


async def test_what_was_assigned_and_not_sent_is_sent_by_the_next_leader(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The leader died between the commit and the message."""
    first, second = two
    for worker in world.workers.values():
        worker.reachable = False
    await first.submit()
    await world.advance(1)
    assert not any(one.assigned for one in world.workers.values())
    await first.stop_leading()
    for worker in world.workers.values():
        worker.reachable = True
    await second.lead()
    await world.advance(1)
    assert sum(len(one.assigned) for one in world.workers.values()) == 1


async def test_an_assignment_that_was_lost_is_sent_again(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """By the leader itself, within a second or so."""
    first, _ = two
    for worker in world.workers.values():
        worker.reachable = False
    task = await first.submit()
    await world.advance(1)
    for worker in world.workers.values():
        worker.reachable = True
    await world.advance(1)
    (given,) = [one for worker in world.workers.values() for one in worker.assigned]
    assert given.task_id == task.id


async def test_an_attempt_that_the_leader_never_heard_of_is_sent(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """It finds it in the store when it compares, and counts it."""
    first, _ = two
    for worker in world.workers.values():
        worker.reachable = False
    task = await first.submit()
    await world.advance(1)
    (attempt,) = await world.store.tasks.attempts(task.workspace, task.id)
    assert first.rooms.free(attempt.id) is not None
    for worker in world.workers.values():
        worker.reachable = True
    await world.advance(RECONCILE_S + 2)
    (given,) = [one for worker in world.workers.values() for one in worker.assigned]
    assert given.task_id == task.id
    assert first.rooms.holds(attempt.id)


async def test_kills_ordered_by_a_plane_that_died_are_carried_out(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The leader finds in the store what was asked for."""
    first, second = two
    task = await second.submit()
    await world.advance(1)
    for worker in world.workers.values():
        worker.reachable = False
    await second.tasks.cancel(CALLER, [task.id])
    second.kill._pending.clear()
    for worker in world.workers.values():
        worker.reachable = True
    await world.advance(20)
    assert (await world.task(task.id)).state is TaskState.CANCELLED
    del first


async def test_a_worker_whose_plane_died_is_lost_when_its_lease_has_ended(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Not before: it may run something until then."""
    first, _ = two
    for _ in range(4):
        await first.submit()
    await world.advance(1)
    world.workers[worker_id(world, "w2")].silent = True
    await world.advance(LEASE_S - 1)
    assert len(await world.store.dispatch.running()) == 4
    world.workers[worker_id(world, "w1")].silent = False
    await world.advance(3)
    lost = [one.state for one in await world.store.dispatch.workers()]
    assert lost == ["ready", "lost"]
    assert len(await world.store.dispatch.running()) == 2
    assert [record.id for record, _ in first.dispatch.workers()] == ["w1"]


async def test_the_next_leader_places_nothing_on_a_worker_that_died_with_the_leader_before(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Long before its lease has ended; when it is heard again, it gets its share."""
    first, second = two
    gone = world.workers[worker_id(world, "w1")]
    gone.silent = True
    await world.advance(SILENCE_S + QUIET_S)
    await first.stop_leading()
    await second.lead()
    tasks = [await second.submit() for _ in range(4)]
    await world.advance(1)
    assert gone.assigned == []
    waiting = sorted([(await world.task(one.id)).state for one in tasks])
    assert waiting == [TaskState.QUEUED] * 2 + [TaskState.RUNNING] * 2
    gone.silent = False
    await world.advance(2)
    assert len(gone.assigned) == 2


async def test_the_next_leader_places_before_it_goes_through_what_runs(
    world: Planes, two: tuple[Plane, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes a question for each attempt, and a store under load may take its time."""
    first, second = two
    await first.submit()
    await world.advance(1)
    await first.stop_leading()
    waits = await second.submit()
    answered = anyio.Event()

    async def resume() -> None:
        await answered.wait()

    monkeypatch.setattr(second.fleet, "resume", resume)
    await second.lead()
    await world.advance(TICK_S)
    assert (await world.task(waits.id)).state is TaskState.RUNNING
    answered.set()


async def test_whoever_leads_again_has_forgotten_what_ended_meanwhile(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """All room is there again."""
    first, _ = two
    for _ in range(4):
        await first.submit()
    await world.advance(1)
    await first.stop_leading()
    for worker in world.workers.values():
        for attempt_id in list(worker.held):
            await worker.end(attempt_id)
    await first.lead()
    assert sorted(free.slots for _, free in first.dispatch.workers()) == [2, 2]
    assert first.rooms.held_count == 0
