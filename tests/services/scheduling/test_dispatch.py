"""Dispatch: ready tasks go to workers with room, and nothing is lost when something fails."""

from collections.abc import AsyncIterator

import pytest

from fakes.clock import VirtualClock, settled
from fakes.engine import CALLER, WS, World
from fakes.faults import Faults, When
from fakes.memory import MemoryStore
from fakes.worker import GIB
from taskyard.core.access.principals import Caller, Role
from taskyard.core.changes import Change
from taskyard.core.errors import Unavailable
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.policies import RuleBased
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Command, FunctionCall, SecretRef, environment_of

pytestmark = pytest.mark.anyio
MAIL = GroupName("mail")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def test_a_task_goes_to_a_worker_with_room(world: World) -> None:
    """It is placed, sent, reported and ended."""
    worker = await world.worker()
    task = await world.submit()
    (assignment,) = worker.assigned
    assert assignment.task_id == task.id
    assert await world.state(task.id) == "running"
    await worker.start(assignment.attempt_id)
    await worker.end(assignment.attempt_id)
    assert await world.state(task.id) == "succeeded"
    assert world.rooms.held_count == 0


async def test_tasks_wait_for_a_worker(world: World) -> None:
    """They go when one joins, in order, and no more than it has room for."""
    tasks = [await world.submit(priority=priority) for priority in (0, 0, 5)]
    worker = await world.worker(slots=2)
    assert [one.task_id for one in worker.assigned] == [tasks[2].id, tasks[0].id]
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert worker.assigned[-1].task_id == tasks[1].id


async def test_room_is_kept(world: World) -> None:
    """Memory and cores are counted, and given back when an attempt ends."""
    worker = await world.worker(capacity=Capacity(10, 1000, 2 * GIB))
    large = Resources(memory_bytes=2 * GIB)
    first, second = await world.submit(resources=large), await world.submit(resources=large)
    small = await world.submit(group="other", resources=Resources(cpu_millis=1000))
    assert {one.task_id for one in worker.assigned} == {first.id, small.id}
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert worker.assigned[-1].task_id == second.id


async def test_limits_hold_and_lifting_them_lets_tasks_go(world: World) -> None:
    """Of groups, of workspaces, and pauses."""
    worker = await world.worker(slots=10)
    await world.groups.set(CALLER, MAIL, concurrency_limit=1)
    for _ in range(3):
        await world.submit(group="mail")
    assert len(worker.assigned) == 1
    await world.groups.set(CALLER, MAIL, concurrency_limit=2)
    await world.complete()
    assert len(worker.assigned) == 2
    await world.groups.set(CALLER, MAIL, paused=True, clear_limit=True)
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert len(worker.assigned) == 2
    await world.groups.set_workspace_limit(CALLER, 1)
    await world.groups.set(CALLER, MAIL, paused=False)
    await world.complete()
    assert len(worker.assigned) == 2
    await world.groups.set_workspace_limit(CALLER, None)
    await world.complete()
    assert len(worker.assigned) == 3


async def test_workspaces_share_fairly(world: World) -> None:
    """Whoever comes with many tasks does not keep others waiting."""
    other = Caller("user x", WorkspaceName("other"), Role.WRITE)
    for _ in range(10):
        await world.submit()
    await world.submit(other)
    worker = await world.worker(slots=2)
    assert {one.workspace for one in worker.assigned} == {"default", "other"}


async def test_more_than_a_window_of_tasks_all_run(world: World) -> None:
    """What does not fit in memory is read as it is needed."""
    tasks = [await world.submit() for _ in range(300)]
    worker = await world.worker(slots=7)
    while len(worker.assigned) < 300:
        before = len(worker.assigned)
        for attempt_id in list(worker.held):
            await worker.end(attempt_id)
        await world.complete()
        assert len(worker.assigned) > before
    assert [one.task_id for one in worker.assigned] == [task.id for task in tasks]


async def test_a_cancelled_task_is_not_placed(world: World) -> None:
    """Nor is room kept for it."""
    task, other = await world.submit(), await world.submit()
    await world.tasks.cancel(CALLER, [task.id])
    worker = await world.worker()
    assert [one.task_id for one in worker.assigned] == [other.id]


async def test_an_expired_task_is_not_placed(world: World) -> None:
    """Time ran out before there was room."""
    task = await world.submit(expires_at=after(world.clock.now(), 5))
    await world.advance(6)
    worker = await world.worker()
    assert worker.assigned == []
    assert await world.state(task.id) == "expired"


async def test_a_new_priority_changes_the_order(world: World) -> None:
    """Also of tasks that are in the window already."""
    first, second = await world.submit(), await world.submit()
    await world.tasks.set_priority(CALLER, second.id, 7)
    worker = await world.worker(slots=1)
    assert [one.task_id for one in worker.assigned] == [second.id]
    await worker.end(worker.assigned[0].attempt_id)
    await world.complete()
    assert [one.task_id for one in worker.assigned] == [second.id, first.id]


async def test_secrets_are_resolved_for_the_worker_only(world: World) -> None:
    """The assignment has the value, the stored task the reference."""
    world.secrets.values["db"] = "hunter2"
    worker = await world.worker()
    work = Command(argv=("true",), env={"P": SecretRef("db"), "Q": "plain"})
    task = await world.submit(work=work)
    assert environment_of(worker.assigned[0].work) == {"P": "hunter2", "Q": "plain"}
    assert environment_of((await world.task(task.id)).spec.work)["P"] == SecretRef("db")


async def test_a_missing_secret_ends_the_attempt(world: World) -> None:
    """It says which one, and others are not held up."""
    worker = await world.worker()
    work = Command(argv=("true",), env={"P": SecretRef("nope")})
    task, other = await world.submit(work=work), await world.submit()
    ended = await world.task(task.id)
    assert (ended.state, ended.reason) == ("failed", Reason.SECRET_MISSING)
    assert "nope" in (ended.message or "")
    assert [one.task_id for one in worker.assigned] == [other.id]
    assert world.rooms.held_count == 1


async def test_a_call_of_nothing_ends_the_attempt(world: World) -> None:
    """A function without a live version ends its calls for good, and holds up nobody."""
    worker = await world.worker(runtimes=("command", "function"))
    work = FunctionCall(FunctionId("f" * 24), "gone")
    task, other = await world.submit(work=work), await world.submit()
    ended = await world.task(task.id)
    assert (ended.state, ended.reason) == ("failed", Reason.START_FAILED)
    assert "gone" in (ended.message or "")
    assert [one.task_id for one in worker.assigned] == [other.id]
    assert world.rooms.held_count == 1


async def test_trouble_with_secrets_holds_up_its_own_task_only(world: World) -> None:
    """It is tried again later, without counting against its retries."""
    worker = await world.worker()
    world.secrets.trouble = Unavailable("the key is missing")
    world.secrets.values["db"] = "x"
    task = await world.submit(work=Command(argv=("true",), env={"P": SecretRef("db")}))
    other = await world.submit()
    assert [one.task_id for one in worker.assigned] == [other.id]
    assert await world.state(task.id) == "retrying"
    world.secrets.trouble = None
    await world.advance(6)
    assert worker.assigned[-1].task_id == task.id


async def test_what_could_not_be_sent_for_want_of_a_store_is_sent_later(world: World) -> None:
    """Placed, its secret unreadable, and the store away before that could be written down."""
    worker = await world.worker()
    world.secrets.trouble = Unavailable("the key is missing")
    world.secrets.values["db"] = "x"
    real, calls = world.store.dispatch.apply, 0

    async def apply(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("away")
        return await real(*args)

    world.store.dispatch.apply = apply
    task = await world.submit(work=Command(argv=("true",), env={"P": SecretRef("db")}))
    assert await world.state(task.id) == "running"
    assert worker.assigned == []
    world.secrets.trouble = None
    await world.advance(2)
    assert [one.task_id for one in worker.assigned] == [task.id]
    assert environment_of(worker.assigned[0].work) == {"P": "x"}


async def test_an_unreachable_worker_gets_its_attempts_when_it_joins_again(world: World) -> None:
    """Nothing is placed twice."""
    worker = await world.worker()
    worker.reachable = False
    task = await world.submit()
    assert worker.assigned == []
    worker.reachable = True
    attempts = await worker.join()
    assert [attempt.task_id for attempt in attempts] == [task.id]
    await worker.end(attempts[0].id)
    assert await world.state(task.id) == "succeeded"


async def test_a_placement_on_a_worker_that_is_gone_is_given_back(world: World) -> None:
    """The store refuses it, and the task goes to another one."""
    worker = await world.worker("w1")
    record = world.store.model.workers[worker.id]
    await world.store.dispatch.lose(record.id, record.incarnation, world.clock.now())
    task = await world.submit()
    assert worker.assigned == []
    world.dispatch.left(worker.id)
    second = await world.worker("w2")
    assert [one.task_id for one in second.assigned] == [task.id]
    assert world.rooms.held_count == 1


async def test_after_a_restart_what_runs_holds_its_room() -> None:
    """Nothing is placed on top of it, and what waits goes when it ends."""
    store, clock = MemoryStore(), VirtualClock()
    world = World(store, clock=clock)
    async with world.running():
        worker = await world.worker(slots=1)
        first, second = await world.submit(), await world.submit()
    again = World(store, clock=clock, ids=world.ids)
    async with again.running():
        returned = await again.worker(slots=1)
        assert [one.task_id for one in returned.held.values()] == [first.id]
        assert returned.assigned == []
        await returned.end(next(iter(returned.held)))
        await again.complete()
        assert [one.task_id for one in returned.assigned] == [second.id]
    assert worker.assigned[0].attempt_id not in returned.held


@pytest.mark.parametrize("when", When)
async def test_a_store_that_fails_while_placing_is_asked_again(when: When) -> None:
    """Whether or not the placement came about, the task runs once and its room is counted once."""
    store = MemoryStore()
    world = World(store)
    async with world.running():
        calls = 0
        real = store.dispatch.place

        async def place(*args: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 1 and when is When.BEFORE:
                raise Unavailable("before")
            result = await real(*args)
            if calls == 1:
                raise Unavailable("after")
            return result

        store.dispatch.place = place
        task, other = await world.submit(), await world.submit()
        worker = await world.worker(slots=1)
        assert worker.assigned == []
        await world.advance(10)
        assert len(worker.assigned) == 1
        await worker.end(worker.assigned[0].attempt_id)
        await world.advance(10)
        await worker.end(worker.assigned[1].attempt_id)
        assert {await world.state(one.id) for one in (task, other)} == {"succeeded"}
        assert world.rooms.held_count == 0


async def test_announcements_that_never_came_are_made_up_for() -> None:
    """What was committed while its caller was cancelled is found by looking at the store."""
    world = World()
    async with world.running():
        worker = await world.worker(slots=1)
        faults = Faults(0, When.AFTER)
        failing = faults.wrap(world.store.tasks)
        world.tasks._store = failing
        with pytest.raises(Unavailable):
            await world.submit()
        assert worker.assigned == []
        await world.advance(15)
        assert len(worker.assigned) == 1
        world.gateway._store = Faults(0, When.AFTER).wrap(world.store.dispatch)
        await worker.end(worker.assigned[0].attempt_id)
        await world.advance(15)
        assert world.rooms.held_count == 0
        await world.submit()
        assert len(worker.assigned) == 2


async def test_a_lost_worker_is_not_overcommitted_when_it_returns(world: World) -> None:
    """Its room is what the store says it holds."""
    worker = await world.worker(slots=1)
    task = await world.submit()
    worker.silent = True
    await world.advance(4)
    assert await world.state(task.id) == "queued"
    await worker.join()
    assert [one.task_id for one in worker.assigned] == [task.id, task.id]
    assert world.rooms.held_count == 1
    old, new = worker.assigned
    assert await worker.report_for(old, AttemptState.SUCCEEDED) == [old.lease_token]
    assert await world.state(task.id) == "running"
    assert await worker.report_for(new, AttemptState.SUCCEEDED) == []
    assert (await world.task(task.id)).workspace == WS


async def test_policies_that_take_long_to_evaluate_wait_by_themselves() -> None:
    """They say so, everybody else goes on, and in the end each has its answer."""
    world = World(steps_per_s=1000)
    costly = " and ".join(["size('') == 0"] * 30)
    async with world.running():
        worker = await world.worker(slots=20)
        waiting = [
            await world.submit(group=f"g{n}", placement=RuleBased(f"{costly} and worker == 'x{n}'"))
            for n in range(5)
        ]
        last = await world.submit(group="last", placement=RuleBased(f"{costly} and worker == 'w1'"))
        assert (await world.dispatch.explain(last)).code == "evaluating"
        plain = await world.submit(group="g9")
        assert await world.state(plain.id) == "running"
        assert await world.state(last.id) == "queued"
        await world.advance(30)
        assert await world.state(last.id) == "running"
        assert {(await world.dispatch.explain(task)).code for task in waiting} == {"placement"}
        assert len(worker.assigned) == 2


async def test_room_that_is_given_back_here_is_used_before_the_feed_tells(world: World) -> None:
    """Where a feed announces: what it tells later gives nothing back once more."""
    worker = await world.worker(capacity=Capacity(1, 1000, GIB))
    tasks = [await world.submit() for _ in range(3)]
    await settled()
    world.bus.fed = True
    told: list[Change] = []
    world.bus.hear_own(told.extend)
    await worker.end(worker.assigned[0].attempt_id)
    await settled()
    assert [one.task_id for one in worker.assigned] == [one.id for one in tasks[:2]]
    world.bus.announce(told)
    await settled()
    assert len(worker.assigned) == 2
