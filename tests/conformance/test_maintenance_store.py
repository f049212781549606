"""What every store promises of the maintenance switch, and of what retention takes along."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from function_records import OTHER, answer, call_task, created, invocation
from job_world import executions, fail, key, message, put, start
from rivals import Rivals

from fakes.specs import NOW, WS, new_task
from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import CallResult, Language
from taskyard.core.functions.invocations import CallCounts
from taskyard.core.ids import AttemptId
from taskyard.core.instants import DAY, Instant, after
from taskyard.core.jobs import JobMoment
from taskyard.ports.workspaces import MaintenanceRecord

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)
OK = CallResult(200, (), b"ok", 2)


async def pruned(
    store: Any, now: Instant = LATER, older_than: Instant | None = LATER, limit: int = 100
) -> tuple[int, list[AttemptId]]:
    """Let retention take what ended before a moment."""
    found: tuple[int, list[AttemptId]] = await store.dispatch.prune(now, older_than, None, limit)
    return found


async def test_maintenance_is_off_at_first(store: Any) -> None:
    """And was never changed; setting it to that changes nothing."""
    off = MaintenanceRecord(is_on=False)
    assert await store.maintenance.read() == off
    assert await store.maintenance.put(is_on=False, now=NOW) == off
    assert await store.maintenance.read() == off


async def test_maintenance_says_since_when(store: Any) -> None:
    """Setting it to what it is keeps the time."""
    on = MaintenanceRecord(is_on=True, changed_at=NOW)
    off = MaintenanceRecord(is_on=False, changed_at=LATER)
    put_it = store.maintenance.put
    for wanted, now, expected in (
        (True, NOW, on),
        (True, LATER, on),
        (False, LATER, off),
        (False, after(LATER, 1), off),
        (True, NOW, on),
    ):
        assert await put_it(is_on=wanted, now=now) == expected
        assert await store.maintenance.read() == expected


async def test_maintenance_outlives_the_store(
    store: Any, reopen: Callable[[], Awaitable[Any]]
) -> None:
    """A server that begins again goes on with it."""
    on = await store.maintenance.put(is_on=True, now=NOW)
    again = await reopen()
    assert await again.maintenance.read() == on


async def test_opposite_settings_leave_one(store: Any, rivals: Rivals) -> None:
    """Each is told what it made of it; the later one counts."""
    await store.maintenance.put(is_on=True, now=NOW)
    outcomes = await rivals.race(
        lambda one: one.maintenance.put(is_on=True, now=LATER),
        lambda one: one.maintenance.put(is_on=False, now=LATER),
    )
    assert [one.is_on for one in outcomes] == [True, False]
    assert await store.maintenance.read() in outcomes


async def test_workspaces_say_whether_code_of_theirs_runs_outside_containers(store: Any) -> None:
    """Source does, images do not, and what is deleted does not count."""
    await created(store, 1, workspace=OTHER, language=Language.IMAGE)
    tell = store.workspace_users.workspaces
    assert await tell(NOW) == {OTHER: False}
    made = await created(store, 2, workspace=OTHER)
    await store.tasks.submit([new_task(workspace=WS)], None)
    assert await tell(NOW) == {OTHER: True, WS: False}
    await store.functions.set_deleted(OTHER, made.id, True, NOW)
    assert await tell(NOW) == {OTHER: False, WS: False}


async def test_retention_takes_executions_and_leaves_jobs(store: Any) -> None:
    """Numbers go on, and what a removed execution owed is owed no more."""
    task_id = await start(store, key(), retries=2)
    await fail(store, task_id)
    count, _ = await pruned(store)
    assert count == 1
    assert await executions(store, key()) == []
    assert await store.jobs.owed(0, 10) == []
    assert await store.jobs.look(task_id) is None
    assert await store.jobs.complete(task_id, JobMoment.ENDED, [message()], NOW) == ([], 0)
    with pytest.raises(NotFound):
        await store.jobs.rerun(key(), NOW, "me")
    await put(store, key())
    assert [one.number for one in await executions(store, key())] == [2]


async def test_retention_takes_calls_and_keeps_their_count(store: Any) -> None:
    """By day for a week, and in all forever; results go with their calls."""
    made = await created(store)
    call = invocation(made, "c", endpoint_id="e")
    await store.invocations.issue(call)
    await answer(store, call.task, OK, b"kept")
    plain = call_task(made)
    await store.tasks.submit([plain], None)
    await answer(store, plain, OK)
    count, attempts = await pruned(store)
    assert (count, len(attempts)) == (2, 2)
    for task_id in (call.task.id, plain.id):
        with pytest.raises(NotFound):
            await store.functions.result(WS, task_id)
    with pytest.raises(NotFound):
        await store.invocations.view("c")
    assert await store.functions.blob(made.id) == b"kept"
    midnight = Instant(NOW - NOW % DAY)
    scopes: list[dict[str, str]] = [{}, {"function_id": made.id}, {"endpoint_id": "e"}]
    for of in scopes:
        found = await store.invocations.counts(WS, midnight, Instant(midnight - 6 * DAY), **of)
        assert found == CallCounts(today=1, week=1, open=0, total=1)
    much_later = Instant(midnight + 30 * DAY)
    last = new_task()
    await store.tasks.submit([last], None)
    await store.tasks.cancel(WS, [last.id], NOW, "me")
    assert await pruned(store, much_later) == (1, [])
    for of in scopes:
        counts = store.invocations.counts
        found = await counts(WS, much_later, Instant(much_later - 6 * DAY), **of)
        assert found == CallCounts(today=0, week=0, open=0, total=1)


async def test_retention_takes_each_task_once(store: Any, rivals: Rivals) -> None:
    """Two that look at the same time remove all of it together, and count what they removed."""
    ids = [await start(store, key(number)) for number in range(6)]
    for task_id in ids[:5]:
        await fail(store, task_id)
    outcomes = await rivals.race(lambda one: pruned(one, limit=4))
    assert sum(count for count, _ in outcomes) == 5
    attempts = [name for _, names in outcomes for name in names]
    assert len(attempts) == len(set(attempts)) == 5
    assert await store.tasks.counts(WS) == {(await store.tasks.task(WS, ids[5])).state: 1}


async def test_retention_beside_the_end_of_a_call(store: Any, rivals: Rivals) -> None:
    """It is settled before it is removed, or nothing follows it; it is counted either way."""
    made = await created(store)
    call = invocation(made, "c")
    await store.invocations.issue(call)
    await answer(store, call.task, OK)
    follow = invocation(made, "d")
    removed, changes = await rivals.race(
        pruned, lambda one: one.invocations.complete("c", [follow])
    )
    assert removed[0] == 1
    followed = 1 if changes else 0
    counts = await store.invocations.counts(WS, NOW, NOW)
    assert (counts.open, counts.total) == (followed, 1 + followed)
    assert await store.invocations.unsettled(0, 10) == []
