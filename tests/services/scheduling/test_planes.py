"""Several control planes: one places tasks on the workers of all, until another one leads."""

import pytest
from planes_world import Plane, Planes, worker_id

from fakes.engine import CALLER
from taskyard.core.availability import RuntimeStatus
from taskyard.core.errors import Unavailable
from taskyard.core.ids import PlaneId
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.ports.dispatching import LEASE_S
from taskyard.ports.scheduler import NO_LEADER
from taskyard.services.scheduling.fleet_watch import GRACE_S, PROMPT_S, TICK_S
from taskyard.services.scheduling.leases import LAPSE_S, SILENCE_S

pytestmark = pytest.mark.anyio


async def test_the_leader_places_on_workers_of_all_planes(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Whichever plane was asked."""
    first, second = two
    for plane in (first, second, first, second):
        await plane.submit()
    await world.advance(1)
    assert sorted(len(one.assigned) for one in world.workers.values()) == [2, 2]


async def test_a_follower_places_nothing(world: Planes) -> None:
    """What it is asked to do is stored and waits, and says why."""
    follower = world.plane("one")
    worker = await follower.worker("w1", 2)
    task = await follower.submit()
    await world.advance(20)
    assert worker.assigned == []
    assert (await world.task(task.id)).state is TaskState.QUEUED
    told = await follower.why.explain(CALLER, task.id)
    assert (told.code, told.summary) == ("no_leader", NO_LEADER.summary)


async def test_a_follower_has_the_leader_say_why(world: Planes, two: tuple[Plane, Plane]) -> None:
    """In the very words of whoever decides; and as if nobody led when it gives no answer."""
    first, second = two
    for _ in range(4):
        await first.submit()
    task = await first.submit()
    await world.advance(1)
    waiting = await second.why.explain(CALLER, task.id)
    assert waiting.code == "no_room"
    assert waiting == await first.why.explain(CALLER, task.id)
    await first.stop_leading()
    assert (await second.why.explain(CALLER, task.id)).code == "no_leader"


async def test_what_is_started_meanwhile_is_about_to_start(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The leader knows of it by now, and has nothing to explain."""
    _, second = two
    task = await second.submit()
    await world.advance(1)
    assert (await second.elsewhere.explain(task)).code == "starting"


async def test_a_follower_shows_workers_as_the_leader_sees_them(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """With what is free of them; without a leader, those whose leases hold."""
    first, second = two
    await first.submit()
    await world.advance(1)
    await second.elsewhere.look()
    shown = {record.id: free.slots for record, free in second.dispatch.workers()}
    assert shown == {record.id: free.slots for record, free in first.dispatch.workers()}
    assert sorted(shown.values()) == [1, 2]
    assert second.dispatch.rooms() == first.dispatch.rooms()
    assert second.of_workers.plane_of(world.workers[list(world.workers)[1]].id) == "two"
    await first.stop_leading()
    await second.elsewhere.look()
    assert {record.id: free.slots for record, free in second.dispatch.workers()} == shown
    assert {room.worker_id: room.free.slots for room in second.dispatch.rooms()} == shown


async def test_whoever_begins_to_lead_shows_workers_before_it_knows_them(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """As it saw them from elsewhere; or it would seem for a moment as if there were none."""
    first, second = two
    await second.elsewhere.look()
    await first.stop_leading()
    await second.dispatch.load()
    assert {record.id for record, _ in second.dispatch.workers()} == {"w1", "w2"}
    assert {room.worker_id for room in second.dispatch.rooms()} == {"w1", "w2"}
    await second.fleet.enter()
    assert {record.id for record, _ in second.dispatch.workers()} == {"w1", "w2"}
    third = world.plane("three")
    await third.elsewhere.look()
    assert {room.worker_id: room.free.slots for room in third.dispatch.rooms()} == {
        "w1": 2,
        "w2": 2,
    }


async def test_a_follower_tells_who_watches_that_workers_came_or_were_drained(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Once for each change; nothing where nothing changed."""
    _, second = two
    told = 0

    def watcher() -> None:
        nonlocal told
        told += 1

    second.dispatch.watch(watcher)
    await second.elsewhere.look()
    await second.elsewhere.look()
    assert told == 1
    await world.store.dispatch.set_draining(worker_id(world, "w1"), draining=True)
    await world.advance(1)
    await second.elsewhere.look()
    assert told == 2


async def test_limits_changed_elsewhere_are_read_at_once(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """The leader is told; where it is not, it finds out by itself."""
    _, second = two
    task = await second.submit(group="g")
    await world.advance(1)
    await second.groups.set(CALLER, task.spec.group, paused=True)
    held = await second.submit(group="g")
    await world.advance(1)
    assert (await world.task(held.id)).state is TaskState.QUEUED
    assert (await second.why.explain(CALLER, held.id)).code == "group_paused"


async def test_nobody_is_judged_soon_after_the_store_was_late(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Leases ran out then that nobody could renew; whoever does not now is given up."""
    first, _ = two
    dispatch = world.store.dispatch
    real = dispatch.leases

    async def late() -> object:
        dispatch.leases = real
        world.clock.advance(PROMPT_S + 0.5)
        return await real()

    gone = world.workers[worker_id(world, "w2")]
    gone.silent = True
    await world.advance(SILENCE_S + 1)
    dispatch.leases = late
    await world.advance(TICK_S)
    assert dispatch.leases == real
    await dispatch.renew([(gone.id, gone.incarnation)], world.clock.now(), 0.0)
    await world.advance(GRACE_S - 1)
    assert [one.state for one in await dispatch.workers()] == ["ready", "ready"]
    await world.advance(2)
    assert [one.state for one in await dispatch.workers()] == ["ready", "lost"]
    del first


async def test_a_worker_that_cannot_renew_stops_what_it_runs(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Before its lease ends; afterwards it joins again, and its tasks run once more as lost."""
    first, _ = two
    again = await first.submit()
    never = await first.submit(rerun_if_lost=False)
    await world.advance(1)
    holders = [one for one in world.workers.values() if one.assigned]
    dispatch = world.store.dispatch
    real = {name: getattr(dispatch, name) for name in ("renew", "lose", "join", "apply", "leases")}

    async def away(*_args: object, **_options: object) -> None:
        raise Unavailable("the store is away")

    for name in real:
        setattr(dispatch, name, away)
    await world.advance(LAPSE_S - 1)
    assert not any(one.abandoned for one in holders)
    await world.advance(LEASE_S - LAPSE_S)
    assert sum(len(one.abandoned) for one in holders) == 2
    await world.advance(30)
    for name, method in real.items():
        setattr(dispatch, name, method)
    await world.advance(5)
    assert [one.state for one in await dispatch.workers()] == ["ready", "ready"]
    states = [one.state for one in await world.store.tasks.attempts(again.workspace, again.id)]
    assert states == [AttemptState.LOST, AttemptState.ASSIGNED]
    failed = await world.task(never.id)
    assert (failed.state, failed.reason) == (TaskState.FAILED, Reason.WORKER_LOST)


async def test_what_workers_say_of_their_runtimes_reaches_the_leader(
    world: Planes, two: tuple[Plane, Plane]
) -> None:
    """Through the store, which is told again where that failed."""
    first, second = two
    worker = world.workers[worker_id(world, "w2")]
    real = world.store.dispatch.describe
    calls = 0

    async def describe(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.describe = describe
    worker.statuses = {"command": RuntimeStatus(), "container": RuntimeStatus()}
    await world.advance(3)
    assert calls == 2
    (shown,) = [one for one, _ in first.dispatch.workers() if one.id == "w2"]
    assert set(shown.runtimes) == {"command", "container"}
    del second


async def test_a_drained_worker_gets_nothing_new(world: Planes, two: tuple[Plane, Plane]) -> None:
    """Whichever plane was told to drain it."""
    first, _ = two
    await world.store.dispatch.set_draining(worker_id(world, "w1"), draining=True)
    await world.advance(1)
    for _ in range(3):
        await first.submit()
    await world.advance(1)
    assert world.workers[worker_id(world, "w1")].assigned == []
    await world.store.dispatch.set_draining(worker_id(world, "w1"), draining=False)
    await world.advance(1)
    assert len(world.workers[worker_id(world, "w1")].assigned) == 1


async def test_workers_name_their_plane(world: Planes, two: tuple[Plane, Plane]) -> None:
    """In the store, where all planes find them."""
    del two
    found = {one.id: one.plane_id for one in await world.store.dispatch.workers()}
    assert found == {"w1": PlaneId("one"), "w2": PlaneId("two")}
