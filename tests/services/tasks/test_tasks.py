"""Tasks as callers use them: rules, roles, walls between workspaces, waiting."""

from collections.abc import AsyncIterator

import anyio
import pytest
from msgspec.structs import replace

from fakes.engine import CALLER, READER, STRANGER, WS, World
from taskyard.core.changes import Change
from taskyard.core.cron import CatchUp
from taskyard.core.errors import (
    Conflict,
    IllegalTransition,
    InvalidInput,
    NotAllowed,
    NotFound,
    Overloaded,
)
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.scheduling.policies import RuleBased
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import Command, TaskSpec
from taskyard.ports.store import TaskQuery
from taskyard.services.scheduling.rule_budget import PolicyPace, RuleBudgetSource
from taskyard.services.tasks import tasks as tasks_module

pytestmark = pytest.mark.anyio
SPEC = TaskSpec(work=Command(argv=("true",)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World(max_queued=50)
    async with world.running():
        yield world


async def test_a_submitted_task_is_answered_as_it_is_stored(world: World) -> None:
    """The answer is what a look at it shows."""
    for spec in (SPEC, replace(SPEC, start_at=after(world.clock.now(), 5))):
        task, created = await world.tasks.submit(CALLER, spec)
        assert created
        assert await world.tasks.get(CALLER, task.id) == task
    recurring = replace(SPEC, cron="0 0 * * *", timezone="Europe/Berlin")
    task, _ = await world.tasks.submit(CALLER, recurring)
    assert await world.tasks.get(CALLER, task.id) == task
    assert task.state is TaskState.SCHEDULED


async def test_a_start_in_the_past_is_now(world: World) -> None:
    """It is queued at once."""
    task = await world.submit(start_at=after(world.clock.now(), -5))
    assert task.state is TaskState.QUEUED
    assert task.start_at is None


async def test_a_known_key_answers_with_the_earlier_task(world: World) -> None:
    """Nothing is stored or announced a second time; other workspaces have keys of their own."""
    spec = replace(SPEC, idempotency_key="report")
    task, _ = await world.tasks.submit(CALLER, spec)
    changes: list[Change] = []
    world.bus.listen(changes.extend)
    again, created = await world.tasks.submit(CALLER, replace(spec, name="other"))
    assert (again.id, created) == (task.id, False)
    assert changes == []
    _, created = await world.tasks.submit(STRANGER, spec)
    assert created


async def test_many_are_stored_or_none(world: World) -> None:
    """One that breaks a rule is named by its place."""
    good = await world.tasks.submit_many(CALLER, [SPEC] * 3)
    assert [one.created for one in good] == [True] * 3
    bad = replace(SPEC, kill_signal="SIGNONSENSE")
    with pytest.raises(InvalidInput) as caught:
        await world.tasks.submit_many(CALLER, [SPEC, bad, SPEC])
    assert caught.value.field == "tasks.1.kill.signal"
    assert await world.tasks.counts(CALLER) == {"queued": 3}


async def test_too_many_waiting_are_refused_with_a_time(world: World) -> None:
    """All of a batch or none of it; another workspace is not concerned."""
    await world.tasks.submit_many(CALLER, [SPEC] * 49)
    with pytest.raises(Overloaded) as caught:
        await world.tasks.submit_many(CALLER, [SPEC] * 2)
    assert caught.value.retry_after_s >= 1
    await world.submit()
    with pytest.raises(Overloaded):
        await world.submit()
    await world.submit(STRANGER)


async def test_readers_only_look(world: World) -> None:
    """Every write needs a role that may write."""
    task = await world.submit()
    writes = [
        world.tasks.submit(READER, SPEC),
        world.tasks.submit_many(READER, [SPEC]),
        world.tasks.cancel_group(READER, GroupName("default")),
        world.tasks.retry(READER, task.id),
        world.tasks.set_priority(READER, task.id, 1),
        world.tasks.reschedule(READER, task.id, world.clock.now()),
        world.tasks.delete(READER, [task.id]),
    ]
    for write in writes:
        with pytest.raises(NotAllowed):
            await write
    assert (await world.tasks.get(READER, task.id)) == task


async def test_somebody_elses_task_is_an_unknown_one(world: World) -> None:
    """Same error, same words, for every call."""
    mine, unknown = (await world.submit()).id, TaskId("00000000-0000-7000-8000-999999999999")
    for task_id in (mine, unknown):
        calls = [
            world.tasks.get(STRANGER, task_id),
            world.tasks.attempts(STRANGER, task_id),
            world.tasks.events(STRANGER, task_id),
            world.tasks.retry(STRANGER, task_id),
            world.tasks.set_priority(STRANGER, task_id, 1),
            world.tasks.reschedule(STRANGER, task_id, world.clock.now()),
            world.tasks.delete(STRANGER, [task_id]),
            world.tasks.wait(STRANGER, task_id, 1),
            world.why.explain(STRANGER, task_id),
        ]
        for call in calls:
            with pytest.raises(NotFound) as caught:
                await call
            assert str(caught.value) == f"no task {task_id!r} in this workspace"


async def test_a_retry_is_a_new_task(world: World) -> None:
    """The old one stays as it ended; key, schedule and expiry are not taken over."""
    task = await world.submit(
        idempotency_key="k", expires_at=after(world.clock.now(), 60), labels={"a": "b"}
    )
    with pytest.raises(Conflict):
        await world.tasks.retry(CALLER, task.id)
    await world.tasks.cancel(CALLER, [task.id])
    old = await world.task(task.id)
    new = await world.tasks.retry(CALLER, task.id)
    assert new.retry_of == task.id
    assert new.state is TaskState.QUEUED
    assert (new.spec.idempotency_key, new.spec.expires_at) == (None, None)
    assert new.spec.labels == {"a": "b"}
    assert await world.task(task.id) == old
    assert await world.task(new.id) == new


async def test_what_succeeded_is_not_retried(world: World) -> None:
    """There is nothing to make up for."""
    worker = await world.worker()
    task = await world.submit()
    await worker.end(worker.assigned[0].attempt_id)
    with pytest.raises(Conflict):
        await world.tasks.retry(CALLER, task.id)


async def test_only_waiting_tasks_change_priority_and_start(world: World) -> None:
    """What runs or has ended is left alone."""
    worker = await world.worker()
    task = await world.submit()
    for _ in range(2):
        with pytest.raises(IllegalTransition):
            await world.tasks.set_priority(CALLER, task.id, 3)
        with pytest.raises(IllegalTransition):
            await world.tasks.reschedule(CALLER, task.id, after(world.clock.now(), 5))
        if worker.held:
            await worker.end(worker.assigned[0].attempt_id)


async def test_a_schedule_is_edited(world: World) -> None:
    """Rule, zone and policy each by itself; the next firing follows."""
    task = await world.submit(cron="0 8 * * *")
    edited = await world.tasks.reschedule(CALLER, task.id, timezone="Europe/Berlin")
    assert edited.start_at == (task.start_at or 0) - 3_600_000_000
    edited = await world.tasks.reschedule(CALLER, task.id, cron="*/5 * * * *")
    assert edited.spec.timezone == "Europe/Berlin"
    assert (edited.start_at or 0) - world.clock.now() <= 300_000_000
    edited = await world.tasks.reschedule(CALLER, task.id, catch_up=CatchUp.ALL)
    assert (edited.spec.cron, edited.spec.catch_up) == ("*/5 * * * *", CatchUp.ALL)
    with pytest.raises(InvalidInput):
        await world.tasks.reschedule(CALLER, task.id, start_at=world.clock.now())
    with pytest.raises(InvalidInput):
        await world.tasks.reschedule(CALLER, task.id, cron="nonsense")
    plain = await world.submit()
    with pytest.raises(InvalidInput):
        await world.tasks.reschedule(CALLER, plain.id, cron="0 8 * * *")
    with pytest.raises(InvalidInput):
        await world.tasks.reschedule(CALLER, plain.id)


async def test_ended_tasks_are_deleted_with_their_logs(world: World) -> None:
    """All of those named or none."""
    worker = await world.worker()
    done, running = await world.submit(), await world.submit()
    attempt_id = worker.assigned[0].attempt_id
    await worker.end(attempt_id)
    with pytest.raises(IllegalTransition):
        await world.tasks.delete(CALLER, [done.id, running.id])
    await world.tasks.delete(CALLER, [done.id])
    assert world.logs.deleted == [attempt_id]
    with pytest.raises(NotFound):
        await world.tasks.get(CALLER, done.id)
    assert await world.tasks.counts(CALLER) == {"running": 1}
    assert world.counters.by_workspace()[CALLER.workspace][TaskState.SUCCEEDED] == 0


async def test_waiting_ends_with_the_task(world: World) -> None:
    """At once when it has ended, as soon as it ends otherwise."""
    worker = await world.worker()
    task = await world.submit()
    results = []

    async def wait() -> None:
        results.append(await world.tasks.wait(CALLER, task.id, 60))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        await world.complete()
        await worker.start(worker.assigned[0].attempt_id)
        await world.complete()
        assert results == []
        await worker.end(worker.assigned[0].attempt_id, AttemptState.FAILED, exit_code=3)
    assert [one.state for one in results] == [TaskState.FAILED] * 3
    assert (await world.tasks.wait(CALLER, task.id, 60)).state is TaskState.FAILED


async def test_waiting_ends_with_its_time(world: World) -> None:
    """The task is answered as it then is."""
    task = await world.submit()
    assert (await world.tasks.wait(CALLER, task.id, 0.01)).state is TaskState.QUEUED


async def test_a_large_group_is_cancelled_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page once, whatever has ended between them."""
    monkeypatch.setattr(tasks_module, "CANCEL_BATCH", 3)
    tasks = [await world.submit(group="mail") for _ in range(10)]
    outcomes = await world.tasks.cancel_group(CALLER, GroupName("mail"))
    assert [one.task_id for one in outcomes] == [task.id for task in tasks]
    page = await world.tasks.page(TaskQuery(workspace=WS, states=frozenset({TaskState.QUEUED})))
    assert page.tasks == []


async def test_history_tells_everything_in_order(world: World) -> None:
    """Who did what, numbered without gaps."""
    worker = await world.worker()
    task = await world.submit()
    attempt_id = worker.assigned[0].attempt_id
    await worker.start(attempt_id)
    await world.tasks.cancel(CALLER, [task.id])
    events = await world.tasks.events(CALLER, task.id)
    assert [event.kind for event in events] == [
        "submitted",
        "assigned",
        "started",
        "kill_requested",
        "cancelled",
    ]
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert [event.actor for event in events] == ["user me", None, None, "user me", None]
    assert await world.tasks.events(CALLER, task.id, after=3, limit=1) == [events[3]]


async def test_policies_are_read_at_a_pace_of_their_workspace() -> None:
    """Who has many large ones read waits; others do not, nor does who has the same one again."""
    world = World()
    world.tasks.policies = PolicyPace(RuleBudgetSource(1000, world.clock.monotonic), world.clock)
    large = [RuleBased(f"size('{number}') == 0" + " or True" * 60) for number in range(3)]
    specs = [TaskSpec(Command(argv=("true",)), placement=one) for one in large]
    other = replace(CALLER, workspace=WorkspaceName("other"))
    async with world.running(), anyio.create_task_group() as group:
        group.start_soon(world.tasks.submit_many, CALLER, specs)
        await world.complete()
        assert await world.tasks.counts(CALLER) == {}
        mine = RuleBased("size('mine') == 0" + " or True" * 60)
        await world.tasks.submit(other, TaskSpec(Command(argv=("true",)), placement=mine))
        await world.advance(10)
        assert sum((await world.tasks.counts(CALLER)).values()) == 3
        await world.tasks.submit_many(CALLER, specs)
        assert sum((await world.tasks.counts(CALLER)).values()) == 6


async def test_who_would_wait_for_too_long_is_told_so() -> None:
    """Rather than to wait forever."""
    world = World()
    world.tasks.policies = PolicyPace(RuleBudgetSource(1, world.clock.monotonic), world.clock)
    refused: list[Overloaded] = []

    async def submit() -> None:
        try:
            for number in range(3):
                rule = RuleBased(f"size('again {number}') == 0" + " or True" * 60)
                await world.tasks.submit(CALLER, TaskSpec(Command(argv=("true",)), placement=rule))
        except Overloaded as error:
            refused.append(error)

    async with world.running(), anyio.create_task_group() as group:
        group.start_soon(submit)
        await world.advance(60)
        assert "fewer tasks" in str(refused[0])
