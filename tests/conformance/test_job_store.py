"""What every job store promises of jobs and of what starts them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from job_world import GROUP, OTHER, executions, fail, key, message, put, run, start, states
from rivals import Rivals

from fakes.specs import NOW, WS, spec
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.instants import Instant, after
from taskyard.core.jobs import JobGroup, JobLine, JobMoment
from taskyard.core.notifications.messages import DeliveryKind
from taskyard.core.states import TaskState
from taskyard.ports.jobs import JobCounts

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)


async def test_a_job_without_a_time_runs_at_once(store: Any) -> None:
    """It is answered as stored, with its execution and what to announce."""
    stored = await put(store, key(), address="10.0.0.1", details={"a": 1})
    assert (stored.created, stored.job.key, stored.job.execution_count) == (True, key(), 1)
    assert (stored.job.next_at, stored.job.ticket, stored.job.retry_count) == (None, "ticket", 0)
    assert (stored.job.created_at, stored.job.modified_at) == (NOW, NOW)
    assert [(one.kind, one.task_id) for one in stored.changes] == [("submitted", stored.execution)]
    assert await store.jobs.job(key()) == stored.job
    (one,) = await executions(store, key())
    assert (one.number, one.address, one.attempt) == (1, "10.0.0.1", None)
    assert (one.task.id, one.task.state) == (stored.execution, TaskState.QUEUED)
    assert await store.jobs.execution(stored.job, one.task.id) == one


async def test_a_job_with_a_time_waits_for_it(store: Any) -> None:
    """Nothing runs and nothing is announced before; the moment itself is due."""
    stored = await put(store, key(), LATER)
    assert (stored.execution, stored.changes, stored.job.next_at) == (None, [], LATER)
    assert await store.jobs.next_due() == LATER
    assert await store.jobs.start_due(Instant(LATER - 1), 10) == []
    (change,) = await store.jobs.start_due(LATER, 10)
    (one,) = await executions(store, key())
    assert (change.kind, change.task_id, one.address) == ("submitted", one.task.id, None)
    assert (await store.jobs.job(key())).next_at is None
    assert await store.jobs.next_due() is None
    assert await store.jobs.start_due(after(LATER, 99), 10) == []


async def test_a_recurring_job_moves_on_from_now(store: Any) -> None:
    """However many starts were missed, one makes up for all of them."""
    stored = await put(store, key(), LATER, cron="* * * * *")
    assert stored.job.recurs
    late = after(LATER, 1000)
    assert len(await store.jobs.start_due(late, 10)) == 1
    job = await store.jobs.job(key())
    assert job.recurs
    assert late < job.next_at <= after(late, 60)
    assert await store.jobs.start_due(late, 10) == []


async def test_due_jobs_start_in_order_and_within_the_limit(store: Any) -> None:
    """The earliest first, of all workspaces; the rest stays due."""
    where = [key(1), key(2, workspace=OTHER), key(3)]
    for number, one in enumerate(where):
        await put(store, one, after(LATER, 10 - number))
    assert await store.jobs.next_due() == after(LATER, 8)
    started = await store.jobs.start_due(after(LATER, 99), 2)
    assert [one.workspace for one in started] == [WS, OTHER]
    assert [len(await executions(store, one)) for one in where] == [0, 1, 1]
    assert len(await store.jobs.start_due(after(LATER, 99), 2)) == 1


async def test_a_job_that_cannot_be_started_stops_no_other(store: Any) -> None:
    """It is put aside with the reason, and tried again later; replacing it takes it back."""
    await put(store, key(1), LATER, cron="no rule at all")
    await put(store, key(2), after(LATER, 1))
    now = after(LATER, 2)
    assert len(await store.jobs.start_due(now, 10)) == 1
    assert await states(store, key(1)) == []
    assert await states(store, key(2)) == [TaskState.QUEUED]
    (parked,) = await store.parking.parked(WS, 10)
    assert (parked.kind, parked.since) == ("job", now)
    assert await store.jobs.start_due(now, 10) == []
    assert await store.jobs.next_due() == parked.retry_at
    await put(store, key(1), LATER)
    assert await store.parking.parked(WS, 10) == []
    assert len(await store.jobs.start_due(now, 10)) == 1


async def test_replacing_a_job_keeps_its_past(store: Any) -> None:
    """Details that are asked for stay where the new ones are silent; executions run on."""
    first = await put(store, key(), details={"kept": 1, "told": 1, "gone": 1})
    again = await put(
        store, key(), ticket="t2", kept=("kept", "told", "none"), now=LATER, details={"told": 2}
    )
    assert (again.created, again.job.seq, again.job.ticket) == (False, first.job.seq, "t2")
    assert again.job.definition.details == {"kept": 1, "told": 2}
    assert (again.job.created_at, again.job.modified_at) == (NOW, LATER)
    assert [one.number for one in await executions(store, key())] == [1, 2]
    assert await states(store, key()) == [TaskState.QUEUED, TaskState.QUEUED]


async def test_replacing_a_job_cancels_its_pending_start(store: Any) -> None:
    """A time, a rule, and the back-off of a retry; the budget of retries is whole again."""
    await put(store, key(1), LATER)
    assert (await put(store, key(1))).job.next_at is None
    await put(store, key(2), LATER, cron="* * * * *")
    assert not (await put(store, key(2), after(LATER, 1))).job.recurs
    task_id = await start(store, key(3), retries=1)
    await fail(store, task_id)
    (retry,), _ = await store.jobs.complete(task_id, JobMoment.ENDED, (), NOW)
    assert (await store.jobs.job(key(3))).retry_count == 1
    again = await put(store, key(3), LATER, retries=1)
    assert again.job.retry_count == 0
    assert [(one.task_id, one.kind) for one in again.changes] == [(retry.task_id, "cancelled")]
    assert await states(store, key(3)) == [TaskState.FAILED, TaskState.CANCELLED]


async def test_what_cannot_be_stored_is_refused(store: Any) -> None:
    """Nothing of it is left, not even the group."""
    for members in ({"details": {"a": "\ud800"}}, {"spec": spec(group="mail", name="\ud800")}):
        with pytest.raises(InvalidInput):
            await put(store, key(), **members)
    with pytest.raises(NotFound) as caught:
        await store.jobs.job(key())
    assert caught.value.kind == "group"


async def test_the_unknown_is_named_by_kind(store: Any) -> None:
    """A group, a job or an execution; another workspace's are unknown as well."""
    stored = await put(store, key())
    elsewhere = await put(store, key(1, workspace=OTHER))
    waiting = await put(store, key(2), LATER)
    jobs = store.jobs
    unknown = TaskId("unknown")
    calls: dict[str, list[Callable[[], Awaitable[Any]]]] = {
        "group": [
            lambda: jobs.job(key(1, "none")),
            lambda: jobs.jobs(WS, GroupName("none")),
            lambda: jobs.jobs(GroupName("nowhere"), GROUP),
            lambda: jobs.stop(key(1, "none"), None, NOW, "me"),
            lambda: jobs.rerun(key(1, "none"), NOW, "me"),
        ],
        "job": [
            lambda: jobs.job(key(9)),
            lambda: jobs.stop(key(9), None, NOW, "me"),
            lambda: jobs.rerun(key(9), NOW, "me"),
        ],
        "execution": [
            lambda: jobs.execution(stored.job, unknown),
            lambda: jobs.execution(stored.job, elsewhere.execution),
            lambda: jobs.execution(waiting.job, stored.execution),
            lambda: jobs.stop(key(), unknown, NOW, "me"),
            lambda: jobs.stop(key(), elsewhere.execution, NOW, "me"),
            lambda: jobs.rerun(key(2), NOW, "me"),
        ],
    }
    for kind, some in calls.items():
        for one in some:
            with pytest.raises(NotFound) as caught:
                await one()
            assert caught.value.kind == kind
    assert await states(store, key(1, workspace=OTHER)) == [TaskState.QUEUED]


async def test_jobs_of_a_group_come_latest_modified_first(store: Any) -> None:
    """With what a list shows of them."""
    for number in (1, 2, 3):
        await put(store, key(number), LATER, now=after(NOW, number))
    await put(store, key(1), LATER, now=after(NOW, 9))
    await put(store, key(4, "another"), LATER)
    assert await store.jobs.jobs(WS, GROUP) == [
        JobLine(key(1).id, after(NOW, 1), after(NOW, 9)),
        JobLine(key(3).id, after(NOW, 3), after(NOW, 3)),
        JobLine(key(2).id, after(NOW, 2), after(NOW, 2)),
    ]


async def test_groups_come_oldest_first_and_are_found_by_words(store: Any) -> None:
    """Counted in all, whatever the page; replacing a job adds none."""
    names = ("nightly-Report", "mail", "report.mail", "reports")
    for number, name in enumerate(names):
        await put(store, key(number, name), LATER, now=after(NOW, number))
    await put(store, key(1, "mail"), LATER, now=after(NOW, 50))
    await put(store, key(9, "mail"), LATER, now=after(NOW, 60))
    await put(store, key(1, "mail", OTHER), LATER)
    page, total = await store.jobs.groups(WS, None, 1, 2)
    assert total == 4
    assert page[0] == JobGroup(GroupName("mail"), after(NOW, 1), after(NOW, 60), 2)
    assert page[1].name == "report.mail"
    for words, expected in (
        (["report"], ["nightly-Report", "report.mail"]),
        (["mail", "nightly"], ["nightly-Report", "mail", "report.mail"]),
        (["rep"], []),
        ([], []),
    ):
        page, total = await store.jobs.groups(WS, words, 0, 10)
        assert ([one.name for one in page], total) == (expected, len(expected))
    page, total = await store.jobs.groups(WS, ["report"], 1, 10)
    assert ([one.name for one in page], total) == (["report.mail"], 2)


async def test_executions_come_newest_first(store: Any) -> None:
    """As many as asked for; those whose records are deleted are gone, their numbers are not."""
    stored = [await put(store, key()) for _ in range(3)]
    job = stored[-1].job
    assert [one.number for one in await store.jobs.executions(job, 2)] == [3, 2]
    await store.tasks.cancel(WS, [stored[2].execution], NOW, "me")
    await store.tasks.delete(WS, [stored[2].execution], NOW)
    assert [one.number for one in await store.jobs.executions(job, 9)] == [2, 1]
    await put(store, key())
    assert [one.number for one in await store.jobs.executions(job, 9)] == [4, 2, 1]


async def test_recurring_and_waiting_jobs_are_listed_apart(store: Any) -> None:
    """The first by when they were modified, the second by when they start."""
    await put(store, key(1), after(LATER, 5), cron="0 0 * * *", now=after(NOW, 2))
    await put(store, key(2), after(LATER, 4), cron="0 0 * * *", now=after(NOW, 1))
    await put(store, key(3), after(LATER, 3))
    await put(store, key(4))
    await put(store, key(5, workspace=OTHER), LATER, cron="0 0 * * *")

    async def found(listed: Any, limit: int = 10) -> list[str]:
        return [one.key.id for one in await listed(WS, limit)]

    ids = [key(number).id for number in range(5)]
    assert await found(store.jobs.recurring) == [ids[1], ids[2]]
    assert await found(store.jobs.recurring, 1) == [ids[1]]
    assert await found(store.jobs.waiting) == [ids[3], ids[2], ids[1]]
    assert await found(store.jobs.waiting, 2) == [ids[3], ids[2]]


async def test_counts_are_those_of_a_workspace(store: Any) -> None:
    """Groups, jobs, delayed ones with the first moment, and messages that wait."""
    assert await store.jobs.counts(WS) == JobCounts(0, 0, 0, None, 0, 0)
    stored = await put(store, key(1))
    await put(store, key(2, "another"), after(LATER, 1))
    await put(store, key(3), LATER)
    await put(store, key(4, workspace=OTHER), NOW)
    messages = [message(0), message(1), message(2, DeliveryKind.MAIL)]
    await store.jobs.complete(stored.execution, JobMoment.BEGAN, messages, NOW)
    assert await store.jobs.counts(WS) == JobCounts(2, 3, 2, LATER, 2, 1)


async def test_running_once_more_stops_the_last_run(store: Any) -> None:
    """Not while a start is pending; what waits or has ended is left as it is."""
    stored = await put(store, key())
    second, outcomes, changes = await store.jobs.rerun(key(), NOW, "me")
    assert (outcomes, [one.task_id for one in changes]) == ([], [second])
    await run(store, second)
    third, outcomes, changes = await store.jobs.rerun(key(), NOW, "me")
    assert [(one.task_id, one.outcome) for one in outcomes] == [(second, "killing")]
    told = [(one.task_id, one.kind) for one in changes]
    assert told == [(second, "kill_requested"), (third, "submitted")]
    found = [one.task.id for one in await executions(store, key())]
    assert found == [stored.execution, second, third]
    await put(store, key(), LATER)
    with pytest.raises(Conflict, match="pending"):
        await store.jobs.rerun(key(), NOW, "me")
    assert len(await executions(store, key())) == 3


async def test_jobs_outlive_the_store(store: Any, reopen: Callable[[], Awaitable[Any]]) -> None:
    """Another store on the same data goes on where the first one was."""
    await put(store, key())
    before = await store.jobs.job(key()), await executions(store, key())
    again = await reopen()
    assert (await again.jobs.job(key()), await executions(again, key())) == before
    assert (await put(again, key())).job.execution_count == 2


async def test_a_job_is_added_once(store: Any, rivals: Rivals) -> None:
    """Of two that put it at the same time one replaces what the other added; each runs."""
    outcomes = await rivals.race(lambda one: put(one, key()))
    assert sorted(one.created for one in outcomes) == [False, True]
    assert len({one.execution for one in outcomes}) == 2
    assert [one.number for one in await executions(store, key())] == [1, 2]
    counts = await store.jobs.counts(WS)
    assert (counts.groups, counts.jobs) == (1, 1)


async def test_a_group_is_opened_once(store: Any, rivals: Rivals) -> None:
    """It counts both jobs."""
    await rivals.race(lambda one: put(one, key(1)), lambda one: put(one, key(2)))
    page, total = await store.jobs.groups(WS, ["mail"], 0, 10)
    assert (total, [one.job_count for one in page]) == (1, [2])


async def test_a_due_job_is_started_once(store: Any, rivals: Rivals) -> None:
    """Whoever looks at the same time; all that is due is started all the same."""
    for number in range(5):
        cron = "* * * * *" if number % 2 else None
        await put(store, key(number), after(LATER, number), cron=cron)
    outcomes = await rivals.race(lambda one: one.jobs.start_due(after(LATER, 9), 10))
    started = [change.task_id for changes in outcomes for change in changes]
    assert len(set(started)) == len(started) == 5
    for number in range(5):
        assert await states(store, key(number)) == [TaskState.QUEUED]


async def test_a_replaced_start_is_over(store: Any, rivals: Rivals) -> None:
    """A job starts by its old time before it is replaced, or not at all; the new one counts."""
    await put(store, key(), LATER)
    next_at = after(LATER, 500)
    started, _ = await rivals.race(
        lambda one: one.jobs.start_due(LATER, 10), lambda one: put(one, key(), next_at)
    )
    assert len(await executions(store, key())) == len(started)
    assert (await store.jobs.job(key())).next_at == next_at


async def test_a_stopped_job_starts_no_more(store: Any, rivals: Rivals) -> None:
    """What started just before is stopped too."""
    await put(store, key(), LATER, cron="* * * * *")
    await rivals.race(
        lambda one: one.jobs.start_due(LATER, 10),
        lambda one: one.jobs.stop(key(), None, LATER, "me"),
    )
    assert TaskState.QUEUED not in await states(store, key())
    assert (await store.jobs.job(key())).next_at is None


async def test_runs_at_the_same_time_are_two(store: Any, rivals: Rivals) -> None:
    """Each with a number of its own."""
    await put(store, key())
    outcomes = await rivals.race(lambda one: one.jobs.rerun(key(), NOW, "me"))
    found = await executions(store, key())
    assert [one.number for one in found] == [1, 2, 3]
    assert {one.task.id for one in found[1:]} == {task_id for task_id, _, _ in outcomes}


async def test_a_pending_start_and_one_more_run(store: Any, rivals: Rivals) -> None:
    """The start comes about; the run is refused while it was still pending."""
    await put(store, key())
    await put(store, key(), LATER)
    started, again = await rivals.race(
        lambda one: one.jobs.start_due(LATER, 10), lambda one: one.jobs.rerun(key(), LATER, "me")
    )
    assert len(started) == 1
    refused = isinstance(again, Exception)
    assert not refused or type(again) is Conflict
    assert len(await executions(store, key())) == (2 if refused else 3)
