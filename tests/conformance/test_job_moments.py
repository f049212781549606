"""What every job store promises of executions: what they owe, and how they are stopped."""

from typing import Any

import pytest
from dispatching import end
from job_world import OPEN, OTHER, executions, fail, key, message, put, run, start, states
from rivals import Rivals

from fakes.specs import NOW, WS, new_task, spec
from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import TaskId
from taskyard.core.instants import after
from taskyard.core.jobs import JobMoment
from taskyard.core.states import AttemptState, Reason, TaskState

pytestmark = pytest.mark.anyio
BEGAN, ENDED = JobMoment.BEGAN, JobMoment.ENDED


async def owed(store: Any, after_seq: int = 0, limit: int = 10) -> list[TaskId]:
    """Of which executions something may be left to do."""
    found = await store.jobs.owed(after_seq, limit)
    positions = [seq for seq, _ in found]
    assert positions == sorted(positions)
    return [task_id for _, task_id in found]


async def test_an_execution_owes_something_from_its_start(store: Any) -> None:
    """Not while it waits, and no more once its end was dealt with; other tasks never do."""
    (plain,) = await store.tasks.submit([new_task()], None)
    task_id = await start(store, key())
    assert await owed(store) == []
    await run(store, task_id)
    assert await owed(store) == [task_id]
    looked = await store.jobs.look(task_id)
    assert looked.job == await store.jobs.job(key())
    assert [looked.execution] == await executions(store, key())
    assert looked.execution.attempt.state is AttemptState.ASSIGNED
    await end(store, name=f"attempt of {task_id}")
    assert await owed(store) == [task_id]
    await store.jobs.complete(task_id, ENDED, (), NOW)
    assert await owed(store) == []
    for unknown in (task_id, plain.task_id, TaskId("unknown")):
        assert await store.jobs.look(unknown) is None
        assert await store.jobs.complete(unknown, ENDED, [message()], NOW) == ([], 0)


async def test_what_is_owed_comes_in_pages(store: Any) -> None:
    """Of all workspaces, behind a position; one that was cancelled while it waited counts."""
    where = [key(1), key(2), key(3, workspace=OTHER)]
    tasks = [await start(store, one) for one in where]
    await run(store, tasks[0])
    await store.tasks.cancel(WS, [tasks[1]], NOW, "me")
    await store.tasks.cancel(OTHER, [tasks[2]], NOW, "me")
    assert await owed(store) == tasks
    assert await owed(store, limit=2) == tasks[:2]
    ((position, _),) = await store.jobs.owed(0, 1)
    assert await owed(store, position) == tasks[1:]


async def test_a_begin_is_reported_once_and_settles_nothing(store: Any) -> None:
    """Messages are told apart by event and position."""
    task_id = await start(store, key())
    await run(store, task_id)
    for expected in (2, 0):
        messages = [message(0), message(1)]
        assert await store.jobs.complete(task_id, BEGAN, messages, NOW) == ([], expected)
    assert await store.jobs.complete(task_id, BEGAN, [message(2)], NOW) == ([], 1)
    assert await owed(store) == [task_id]
    assert (await store.jobs.counts(WS)).plain_pending == 3


async def test_an_execution_that_goes_on_has_no_end(store: Any) -> None:
    """Neither one that waits nor one that runs; no message is left."""
    task_id = await start(store, key(), retries=1)
    for _ in range(2):
        with pytest.raises(IllegalTransition):
            await store.jobs.complete(task_id, ENDED, [message()], NOW)
        if not await owed(store):
            await run(store, task_id)
    assert (await store.jobs.counts(WS)).plain_pending == 0
    assert await owed(store) == [task_id]


async def test_a_bad_exit_is_retried_within_the_budget(store: Any) -> None:
    """After a back-off that grows; the end is reported with it."""
    task_id = await start(store, key(), retries=2, backoff_min_s=3.0)
    delays = []
    while True:
        await fail(store, task_id)
        changes, count = await store.jobs.complete(task_id, ENDED, [message()], NOW)
        assert count == 1
        assert await store.jobs.complete(task_id, ENDED, [message()], NOW) == ([], 0)
        if not changes:
            break
        ((task_id, kind),) = [(one.task_id, one.kind) for one in changes]
        retry = await store.tasks.task(WS, task_id)
        assert (kind, retry.state) == ("submitted", TaskState.SCHEDULED)
        delays.append(retry.start_at - NOW)
        await store.dispatch.due(retry.start_at, 10)
    assert len(delays) == 2
    assert 0 < delays[0] < delays[1]
    job = await store.jobs.job(key())
    assert (job.retry_count, job.execution_count) == (2, 3)
    assert [one.number for one in await executions(store, key())] == [1, 2, 3]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (AttemptState.SUCCEEDED, None),
        (AttemptState.FAILED, Reason.START_FAILED),
        (AttemptState.KILLED, Reason.KILLED),
    ],
)
async def test_other_ends_are_not_retried(
    store: Any, state: AttemptState, reason: Reason | None
) -> None:
    """Only work that ran and came to a bad end of its own is."""
    task_id = await start(store, key(), retries=3)
    name = await run(store, task_id)
    if state is AttemptState.KILLED:
        await store.tasks.cancel(WS, [task_id], NOW, "me")
    await end(store, state, name, reason=reason)
    assert await store.jobs.complete(task_id, ENDED, (), NOW) == ([], 0)
    assert (await store.jobs.job(key())).retry_count == 0


async def test_executions_are_stopped_as_tasks_are(store: Any) -> None:
    """Waiting ones are cancelled, running ones are to be killed, ended ones have ended."""
    task_id = await start(store, key(), retries=2)
    outcomes, changes = await store.jobs.stop(key(), task_id, NOW, "me")
    assert [(one.task_id, one.outcome) for one in outcomes] == [(task_id, "cancelled")]
    assert [(one.task_id, one.kind) for one in changes] == [(task_id, "cancelled")]
    outcomes, changes = await store.jobs.stop(key(), task_id, NOW, "me")
    assert ([one.outcome for one in outcomes], changes) == (["ended"], [])
    task_id = await start(store, key(), retries=2)
    name = await run(store, task_id)
    (outcome,), _ = await store.jobs.stop(key(), task_id, NOW, "me")
    assert (outcome.outcome, outcome.attempt.id) == ("killing", name)


async def test_a_stopped_execution_has_no_retry(store: Any) -> None:
    """However it ends; its job still starts when it is due."""
    task_id = await start(store, key(), retries=2)
    later = after(NOW, 60)
    await put(store, key(), later, retries=2)
    name = await run(store, task_id)
    await store.jobs.stop(key(), task_id, after(NOW, 1), "me")
    await end(store, AttemptState.FAILED, name, reason=Reason.EXIT_CODE)
    assert await store.jobs.complete(task_id, ENDED, (), NOW) == ([], 0)
    job = await store.jobs.job(key())
    assert (job.next_at, job.modified_at) == (later, after(NOW, 1))
    assert job.retry_count > job.definition.retries


async def test_a_stopped_job_owes_no_start(store: Any) -> None:
    """Times, rules and retries are over, and its last execution is stopped; others go on."""
    await put(store, key(2), after(NOW, 60))
    first = await start(store, key(), retries=2)
    await fail(store, first)
    (retry,), _ = await store.jobs.complete(first, ENDED, (), NOW)
    outcomes, changes = await store.jobs.stop(key(), None, NOW, "me")
    assert [(one.task_id, one.kind) for one in changes] == [(retry.task_id, "cancelled")]
    assert [(one.task_id, one.outcome) for one in outcomes] == [(retry.task_id, "ended")]
    await put(store, key(), after(NOW, 60), cron="* * * * *")
    await store.jobs.stop(key(), None, NOW, "me")
    job = await store.jobs.job(key())
    assert (job.next_at, job.recurs) == (None, False)
    assert await store.jobs.recurring(WS, 10) == []
    assert [one.key for one in await store.jobs.waiting(WS, 10)] == [key(2)]
    never = await put(store, key(3), after(NOW, 60))
    assert await store.jobs.stop(never.job.key, None, NOW, "me") == ([], [])


async def test_a_key_of_its_tasks_makes_no_two_runs_one(store: Any) -> None:
    """Every start is an execution, also of a definition that carries an idempotency key."""
    one = spec(group="mail", idempotency_key="k")
    await put(store, key(), spec=one)
    await put(store, key(), spec=one)
    await store.jobs.rerun(key(), NOW, "me")
    assert [one.number for one in await executions(store, key())] == [1, 2, 3]


async def test_an_end_is_dealt_with_once(store: Any, rivals: Rivals) -> None:
    """One retry and one message follow, whoever settles at the same time."""
    task_id = await start(store, key(), retries=5)
    await fail(store, task_id)
    outcomes = await rivals.race(lambda one: one.jobs.complete(task_id, ENDED, [message()], NOW))
    assert sorted(len(changes) for changes, _ in outcomes) == [0, 1]
    assert sorted(count for _, count in outcomes) == [0, 1]
    assert await states(store, key()) == [TaskState.FAILED, TaskState.SCHEDULED]
    assert (await store.jobs.job(key())).retry_count == 1
    assert (await store.jobs.counts(WS)).plain_pending == 1


async def test_a_begin_is_reported_once_by_whoever(store: Any, rivals: Rivals) -> None:
    """Those who report it at the same time count it once together."""
    task_id = await start(store, key())
    await run(store, task_id)
    outcomes = await rivals.race(lambda one: one.jobs.complete(task_id, BEGAN, [message()], NOW))
    assert sorted(count for _, count in outcomes) == [0, 1]
    assert (await store.jobs.counts(WS)).plain_pending == 1


async def test_no_retry_gets_past_a_stop(store: Any, rivals: Rivals) -> None:
    """One that was granted just before is cancelled; the end is dealt with either way."""
    task_id = await start(store, key(), retries=5)
    await fail(store, task_id)
    await rivals.race(
        lambda one: one.jobs.complete(task_id, ENDED, (), NOW),
        lambda one: one.jobs.stop(key(), None, NOW, "me"),
    )
    assert not OPEN & set(await states(store, key()))
    assert task_id not in await owed(store)


async def test_a_retry_granted_before_its_execution_is_stopped_is_the_last(
    store: Any, rivals: Rivals
) -> None:
    """It has its run; without it, nothing follows."""
    task_id = await start(store, key(), retries=5)
    await fail(store, task_id)
    await rivals.race(
        lambda one: one.jobs.complete(task_id, ENDED, (), NOW),
        lambda one: one.jobs.stop(key(), task_id, NOW, "me"),
    )
    retries = [one.task for one in await executions(store, key())][1:]
    assert len(retries) <= 1
    for retry in retries:
        await store.dispatch.due(retry.start_at, 10)
        await fail(store, retry.id)
        assert await store.jobs.complete(retry.id, ENDED, (), NOW) == ([], 0)
    assert not OPEN & set(await states(store, key()))


async def test_stops_at_the_same_time_cancel_once(store: Any, rivals: Rivals) -> None:
    """The other one finds it ended."""
    task_id = await start(store, key())
    outcomes = await rivals.race(lambda one: one.jobs.stop(key(), task_id, NOW, "me"))
    assert sorted(one.outcome for found, _ in outcomes for one in found) == ["cancelled", "ended"]
    assert sum(len(changes) for _, changes in outcomes) == 1
    assert await store.tasks.counts(WS) == {TaskState.CANCELLED: 1}


async def test_a_retry_keeps_clear_of_a_replaced_job(store: Any, rivals: Rivals) -> None:
    """A retry of the old definition is cancelled, or counts against the new budget."""
    task_id = await start(store, key(), retries=1)
    await fail(store, task_id)
    later = after(NOW, 600)
    await rivals.race(
        lambda one: one.jobs.complete(task_id, ENDED, (), NOW),
        lambda one: put(one, key(), later, retries=1),
    )
    job = await store.jobs.job(key())
    pending = (await states(store, key())).count(TaskState.SCHEDULED)
    assert (job.next_at, job.retry_count) == (later, pending)
