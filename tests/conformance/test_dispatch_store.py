"""What every dispatch store promises the engine, on every adapter."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement
from msgspec.structs import replace

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.attempts import Ended, KillReport, Started, StreamSize, Survivor, Usage
from taskyard.core.backoff import RetryPolicy
from taskyard.core.cron import CatchUp
from taskyard.core.errors import NotFound
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.scheduling.policies import MaxPerHost
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import PlacedAttempt
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await store.close()


async def run(store: Any, new: NewTask, name: str = "a") -> PlacedAttempt:
    """Submit a task and place it."""
    (stored,) = await store.tasks.submit([new], None)
    (placed,), _ = await store.dispatch.place([placement(new.id, stored.seq, name)], NOW)
    return placed  # type: ignore[no-any-return]


async def test_only_what_is_queued_is_placed(store: Any) -> None:
    """Once, and only while nobody else changed it; what is left out is no error."""
    news = [new_task(), new_task(), new_task(start_at=after(NOW, 5)), new_task()]
    stored = await store.tasks.submit(news, None)
    await store.tasks.cancel(WS, [news[1].id], NOW, "me")
    plan = [placement(one.task_id, one.seq, f"a{one.seq}") for one in stored]
    plan[3] = replace(plan[3], task_id=TaskId("another"))
    placed, changes = await store.dispatch.place(plan, NOW)
    assert [one.task.id for one in placed] == [news[0].id]
    assert [(change.kind, change.was) for change in changes] == [("assigned", TaskState.QUEUED)]
    assert await store.dispatch.place(plan, NOW) == ([], [])


@pytest.mark.parametrize(
    "stale",
    [
        {"incarnation": IncarnationId("life-0")},
        {"worker_id": WorkerId("w2")},
    ],
    ids=["an earlier incarnation", "an unknown worker"],
)
async def test_nothing_is_placed_on_a_worker_that_is_gone(
    store: Any, stale: dict[str, Any]
) -> None:
    """Nobody would ever notice that such an attempt does not run."""
    new = new_task()
    (stored,) = await store.tasks.submit([new], None)
    assert await store.dispatch.place([placement(new.id, stored.seq, **stale)], NOW) == ([], [])
    assert (await store.tasks.task(WS, new.id)).state is TaskState.QUEUED


async def test_nothing_is_placed_on_a_lost_worker(store: Any) -> None:
    """Not even by the very decision that was made before the loss."""
    new = new_task()
    (stored,) = await store.tasks.submit([new], None)
    await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert await store.dispatch.place([placement(new.id, stored.seq)], NOW) == ([], [])
    await store.dispatch.join(W1)
    placed, _ = await store.dispatch.place([placement(new.id, stored.seq)], NOW)
    assert len(placed) == 1


async def test_nothing_is_placed_past_its_expiry(store: Any) -> None:
    """Even if nobody has expired it yet."""
    new = new_task(expires_at=after(NOW, 1))
    (stored,) = await store.tasks.submit([new], None)
    assert await store.dispatch.place([placement(new.id, stored.seq)], after(NOW, 1)) == ([], [])


async def test_an_attempt_holds_what_its_task_asks_for(store: Any) -> None:
    """And is the task's current one."""
    asked = Resources(500, 1 << 30, 7)
    placed = await run(store, new_task(resources=asked))
    ((attempt, group, demand),) = await store.dispatch.running()
    assert demand == Requirements(asked)
    assert attempt == placed.attempt
    assert (attempt.resources, attempt.number, group) == (asked, 1, "default")
    task = await store.tasks.task(WS, placed.task.id)
    assert (task.current_attempt, task.attempt_count) == (attempt.id, 1)
    assert task == placed.task


async def test_an_attempt_keeps_the_cores_it_got(store: Any) -> None:
    """With what it holds; its task has none, and its demand comes back whole."""
    asked, policy = Resources(None, 1 << 30, cores=2), MaxPerHost(2)
    new = new_task(resources=asked, placement=policy)
    (stored,) = await store.tasks.submit([new], None)
    (ready,) = await store.dispatch.ready(WS, new.spec.group, None, 9)
    assert ready.demand == Requirements(asked, policy=policy)
    allotted = CpuAllocation(1, (4, 5), 1 << 30)
    await store.dispatch.place([placement(new.id, stored.seq, allotted=allotted)], NOW)
    (running,) = await store.dispatch.running()
    assert running.attempt.resources == asked.granted(allotted)
    assert running.demand == ready.demand
    assert (await store.tasks.task(WS, new.id)).spec.resources == asked


async def test_everything_reported_is_kept(store: Any) -> None:
    """How it ended, what it used, the proof of its kill, its small output."""
    placed = await run(store, new_task())
    await store.dispatch.apply(
        [Started(AttemptId("a"), TOKEN, after(NOW, 1), {"pid": 7, "cgroup": "x"})], NOW, [0.5]
    )
    report = KillReport(NOW, after(NOW, 1), "SIGTERM", True, "session", 3, (Survivor(9, "sleep"),))
    await end(
        store,
        AttemptState.FAILED,
        reason=Reason.OUT_OF_MEMORY,
        message="out of memory",
        signal="SIGKILL",
        kill_report=report,
        usage=Usage(1.5, 0.25, 1 << 20),
        stdout=StreamSize(5, 7),
        stderr=StreamSize(0, 0),
        folded={"stdout": b"\x00\xff"},
        started_at=after(NOW, 99),
    )
    attempt = await store.tasks.attempt(WS, placed.attempt.id)
    assert (attempt.state, attempt.reason, attempt.message, attempt.signal) == (
        AttemptState.FAILED,
        Reason.OUT_OF_MEMORY,
        "out of memory",
        "SIGKILL",
    )
    assert (attempt.started_at, attempt.finished_at) == (after(NOW, 1), after(NOW, 2))
    assert (attempt.kill_report, attempt.usage) == (report, Usage(1.5, 0.25, 1 << 20))
    assert (attempt.stdout, attempt.handle) == (StreamSize(5, 7), {"pid": 7, "cgroup": "x"})
    assert await store.tasks.folded(attempt.id, "stdout") == b"\x00\xff"
    assert await store.tasks.folded(attempt.id, "stderr") is None


async def test_a_repeated_report_changes_nothing_and_is_not_refused(store: Any) -> None:
    """Start and end, one by one or together, also a start after the end."""
    placed = await run(store, new_task())
    started = Started(AttemptId("a"), TOKEN, NOW)
    ended = Ended(AttemptId("a"), TOKEN, NOW, AttemptState.SUCCEEDED)
    for reports in ([started], [started, ended], [started, ended], [ended], [started]):
        _, refused = await store.dispatch.apply(reports, NOW, [0.5] * len(reports))
        assert refused == []
    events = await store.tasks.events(WS, placed.task.id, 0, 100)
    assert [event.kind for event in events] == ["submitted", "assigned", "started", "succeeded"]


async def test_reports_of_a_fenced_attempt_are_refused_and_kept(store: Any) -> None:
    """The task goes its own way; the history has the evidence."""
    placed = await run(store, new_task())
    changes = await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert [(change.kind, change.state) for change in changes] == [("requeued", TaskState.QUEUED)]
    started = Started(AttemptId("a"), TOKEN, NOW)
    assert await store.dispatch.apply([started], NOW, [0.5]) == ([], [TOKEN])
    assert await end(store) == ([], [TOKEN])
    task = await store.tasks.task(WS, placed.task.id)
    assert task.state is TaskState.QUEUED
    events = await store.tasks.events(WS, task.id, 3, 100)
    assert [event.kind for event in events] == ["refused", "refused"]
    assert all(event.attempt_id == "a" for event in events)
    assert (await store.tasks.attempt(WS, AttemptId("a"))).state is AttemptState.LOST


async def test_a_forged_token_reports_nothing(store: Any) -> None:
    """Knowing the attempt's id is not enough."""
    placed = await run(store, new_task())
    assert await end(store, token=LeaseToken("forged")) == ([], ["forged"])
    assert (await store.tasks.task(WS, placed.task.id)).state is TaskState.RUNNING
    assert await end(store, name="unknown") == ([], [TOKEN])


async def test_failures_count_and_losses_do_not(store: Any) -> None:
    """Two failures are granted; a lost worker and trouble of the machinery come on top."""
    new = new_task(retry=RetryPolicy(2, 1.0, 1.0, 1.0, 0.0))
    (stored,) = await store.tasks.submit([new], None)
    kinds = []
    for number, (state, reason) in enumerate(
        [
            (AttemptState.FAILED, Reason.EXIT_CODE),
            (AttemptState.LOST, Reason.EXIT_UNKNOWN),
            (AttemptState.FAILED, Reason.RUNTIME_TROUBLE),
            (AttemptState.FAILED, Reason.EXIT_CODE),
        ]
    ):
        name = f"a{number}"
        await store.dispatch.due(after(NOW, 100 * number), 10)
        placed, _ = await store.dispatch.place([placement(new.id, stored.seq, name)], NOW)
        assert placed[0].attempt.number == number + 1
        found, _ = await end(store, state, name, reason=reason)
        kinds += found
    assert kinds == ["retrying", "requeued", "retrying", "dead"]
    numbers = [attempt.number for attempt in await store.tasks.attempts(WS, new.id)]
    assert numbers == [1, 2, 3, 4]


async def test_a_task_asked_to_die_is_cancelled_however_it_ends(store: Any) -> None:
    """Unless it succeeded after all."""
    for name, state, expected in (
        ("a", AttemptState.FAILED, "cancelled"),
        ("b", AttemptState.KILLED, "cancelled"),
        ("c", AttemptState.LOST, "cancelled"),
        ("d", AttemptState.SUCCEEDED, "succeeded"),
    ):
        placed = await run(store, new_task(retry=RetryPolicy(5)), name)
        await store.tasks.cancel(WS, [placed.task.id], NOW, "me")
        assert await end(store, state, name) == ([expected], [])


async def test_ready_tasks_come_in_their_order(store: Any) -> None:
    """By priority, then by acceptance; continued behind a position."""
    news = [new_task(group="g", priority=priority) for priority in (0, 5, -5, 0, 5)]
    await store.tasks.submit([*news, new_task(group="h")], None)
    ready = await store.dispatch.ready(WS, GroupName("g"), None, 10)
    assert [one.id for one in ready] == [news[n].id for n in (1, 4, 0, 3, 2)]
    position = (ready[1].priority, ready[1].seq)
    assert await store.dispatch.ready(WS, GroupName("g"), position, 2) == ready[2:4]
    assert {(b.group, b.queued) for b in await store.dispatch.backlogs()} == {("g", 5), ("h", 1)}


async def test_time_moves_what_waits(store: Any) -> None:
    """Starts and expiries at their moments; ``next_due`` tells the nearest."""
    start = new_task(start_at=after(NOW, 10))
    expiring = new_task(expires_at=after(NOW, 5))
    late = new_task(start_at=after(NOW, 3), expires_at=after(NOW, 4))
    await store.tasks.submit([start, expiring, late], None)
    assert await store.dispatch.next_due() == after(NOW, 3)
    assert await store.dispatch.due(after(NOW, 2), 10) == []
    changes = await store.dispatch.due(after(NOW, 5), 10)
    assert {(c.task_id, c.kind) for c in changes} == {
        (expiring.id, "expired"),
        (late.id, "expired"),
    }
    assert await store.dispatch.next_due() == after(NOW, 10)
    (change,) = await store.dispatch.due(after(NOW, 10), 10)
    assert (change.kind, change.ready.id) == ("due", start.id)
    assert await store.dispatch.next_due() is None


async def test_a_moment_that_has_come_is_done(store: Any) -> None:
    """What ``next_due`` announces, ``due`` does at that very instant."""
    for new in (
        new_task(start_at=after(NOW, 1)),
        new_task(expires_at=after(NOW, 2)),
        new_task(cron="* * * * *", start_at=after(NOW, 3)),
    ):
        await store.tasks.submit([new], None)
    for _ in range(3):
        moment = await store.dispatch.next_due()
        assert await store.dispatch.due(moment, 10) != []


async def test_a_firing_is_a_task_of_its_own(store: Any) -> None:
    """It names its schedule and moment, and takes over all but the rule and the key."""
    due_at = after(NOW, 40)  # a full minute
    new = new_task(
        cron="* * * * *",
        start_at=due_at,
        idempotency_key="k",
        labels={"a": "b"},
        priority=4,
        group="g",
    )
    await store.tasks.submit([new], None)
    (change,) = await store.dispatch.due(due_at, 10)
    assert change.kind == "fired"
    task = await store.tasks.task(WS, change.task_id)
    assert (task.schedule_id, task.due_at, task.state) == (new.id, due_at, TaskState.QUEUED)
    assert (task.spec.cron, task.spec.idempotency_key) == (None, None)
    assert (task.spec.labels, task.spec.priority, task.spec.group) == ({"a": "b"}, 4, "g")
    assert (await store.tasks.task(WS, new.id)).start_at == after(due_at, 60)
    query = TaskQuery(workspace=WS, labels={"a": "b"}, schedule_id=new.id)
    assert [one.id for one in (await store.tasks.list_tasks(query)).tasks] == [task.id]


async def test_firings_have_the_priority_their_schedule_has_now(store: Any) -> None:
    """Not the one it was submitted with."""
    new = new_task(cron="* * * * *", start_at=after(NOW, 40), priority=4)
    await store.tasks.submit([new], None)
    await store.tasks.set_priority(WS, new.id, -3, NOW, "me")
    (change,) = await store.dispatch.due(after(NOW, 40), 10)
    assert change.ready.priority == -3
    assert (await store.tasks.task(WS, change.task_id)).spec.priority == -3


async def test_histories_of_one_batch_are_numbered_without_gaps(store: Any) -> None:
    """Several lines of one task in one transaction keep their order."""
    placed = await run(store, new_task())
    reports = [
        Started(AttemptId("a"), TOKEN, NOW),
        Ended(AttemptId("a"), LeaseToken("forged"), NOW, AttemptState.FAILED),
        Started(AttemptId("a"), LeaseToken("forged"), NOW),
        Ended(AttemptId("a"), TOKEN, NOW, AttemptState.SUCCEEDED),
    ]
    await store.dispatch.apply(reports, NOW, [0.5] * 4)
    events = await store.tasks.events(WS, placed.task.id, 0, 100)
    kinds = ["submitted", "assigned", "started", "refused", "refused", "succeeded"]
    assert [(event.number, event.kind) for event in events] == list(enumerate(kinds, 1))


async def test_a_firing_time_is_used_once(store: Any) -> None:
    """Even if clock and schedule are turned back to before it."""
    due_at = after(NOW, 40)
    new = new_task(cron="* * * * *", start_at=due_at)
    await store.tasks.submit([new], None)
    assert len(await store.dispatch.due(due_at, 10)) == 1
    await store.tasks.reschedule(WS, new.id, due_at, NOW, "me")
    other = new_task()
    await store.tasks.submit([other], None)
    assert await store.dispatch.due(due_at, 10) == []
    assert (await store.tasks.task(WS, new.id)).start_at == after(due_at, 60)
    assert (await store.tasks.task(WS, other.id)).state is TaskState.QUEUED


async def test_a_long_absence_is_made_up_for_in_parts(store: Any) -> None:
    """Every missed minute of five hours, each once, no round without an end."""
    due_at = after(NOW, 40)
    new = new_task(cron="* * * * *", start_at=due_at, catch_up=CatchUp.ALL)
    await store.tasks.submit([new], None)
    now = after(due_at, 5 * 3600)
    moments: list[Instant] = []
    rounds = 0
    while changes := await store.dispatch.due(now, 50):
        rounds += 1
        tasks = [await store.tasks.task(WS, change.task_id) for change in changes]
        moments += [task.due_at for task in tasks]
    assert moments == [after(due_at, 60 * minute) for minute in range(301)]
    assert rounds > 2


async def test_a_new_incarnation_takes_over(store: Any) -> None:
    """Attempts, with their leases; the old one cannot renew or be lost any more."""
    placed = await run(store, new_task())
    again = replace(W1, incarnation=IncarnationId("life-2"), joined_at=after(NOW, 9))
    (attempt,) = await store.dispatch.join(again)
    assert attempt == replace(placed.attempt, incarnation=again.incarnation)
    assert not await store.dispatch.renew(W1.id, W1.incarnation, NOW, after(NOW, 20))
    assert await store.dispatch.lose(W1.id, W1.incarnation, NOW) == []
    assert await store.dispatch.renew(W1.id, again.incarnation, after(NOW, 9), after(NOW, 20))
    ((attempt, _, _),) = await store.dispatch.running()
    assert attempt.lease_expires_at == after(NOW, 20)
    assert await store.dispatch.workers() == [replace(again, beat_at=after(NOW, 9))]
    assert await end(store) == (["succeeded"], [])


async def test_a_lost_worker_cannot_renew(store: Any) -> None:
    """It has to join anew, and starts with nothing."""
    await run(store, new_task())
    await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert not await store.dispatch.renew(W1.id, W1.incarnation, NOW, after(NOW, 20))
    assert (await store.dispatch.workers())[0].state == "lost"
    assert await store.dispatch.lose(W1.id, W1.incarnation, NOW) == []
    assert await store.dispatch.join(W1) == []


async def test_a_draining_worker_takes_nothing_new(store: Any) -> None:
    """Not even by a decision made before; in every later incarnation, until it is let again."""
    kept = await run(store, new_task())
    new = new_task()
    (stored,) = await store.tasks.submit([new], None)
    record = await store.dispatch.set_draining(W1.id, draining=True)
    assert (record.state, record.draining) == ("draining", True)
    assert await store.dispatch.place([placement(new.id, stored.seq, "b")], NOW) == ([], [])
    assert await store.dispatch.renew(W1.id, W1.incarnation, NOW, after(NOW, 20))
    again = replace(W1, incarnation=IncarnationId("life-2"))
    assert [one.id for one in await store.dispatch.join(again)] == [kept.attempt.id]
    assert await store.dispatch.workers() == [replace(again, state="draining", draining=True)]
    await store.dispatch.lose(W1.id, again.incarnation, NOW)
    lost = await store.dispatch.set_draining(W1.id, draining=True)
    assert (lost.state, lost.draining) == ("lost", True)
    await store.dispatch.join(again)
    assert (await store.dispatch.workers())[0].state == "draining"
    ready = await store.dispatch.set_draining(W1.id, draining=False)
    assert (ready.state, ready.draining) == ("ready", False)
    onto = placement(new.id, stored.seq, "c", incarnation=again.incarnation)
    placed, _ = await store.dispatch.place([onto], NOW)
    assert len(placed) == 1
    with pytest.raises(NotFound):
        await store.dispatch.set_draining(WorkerId("w9"), draining=True)


async def test_losing_a_worker_leaves_others_alone(store: Any) -> None:
    """Only its own attempts are fenced; opted out ones fail."""
    w2 = replace(W1, id=WorkerId("w2"), incarnation=IncarnationId("other"))
    await store.dispatch.join(w2)
    kept = new_task()
    (stored,) = await store.tasks.submit([kept], None)
    onto = placement(kept.id, stored.seq, "k", worker_id=w2.id, incarnation=w2.incarnation)
    await store.dispatch.place([onto], NOW)
    again = await run(store, new_task(), "a")
    once = await run(store, new_task(rerun_if_lost=False), "b")
    changes = await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert {(c.task_id, c.kind) for c in changes} == {
        (again.task.id, "requeued"),
        (once.task.id, "failed"),
    }
    assert [one.attempt.id for one in await store.dispatch.running()] == ["k"]


async def test_retention_takes_the_oldest_of_each_workspace(store: Any) -> None:
    """By age, by count, and never more than asked for at once."""
    ids = []
    for number in range(6):
        new = new_task(workspace="a" if number % 2 else "b")
        await store.tasks.submit([new], None)
        await store.tasks.cancel(new.workspace, [new.id], after(NOW, number), "me")
        ids.append((new.workspace, new.id))
    waiting = new_task()
    await store.tasks.submit([waiting], None)
    late = after(NOW, 100)
    assert (await store.dispatch.prune(late, None, None, 10))[0] == 0
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 1))[0] == 1
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 10))[0] == 1
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 10))[0] == 0
    assert (await store.dispatch.prune(late, None, 1, 10))[0] == 2
    left = []
    for workspace in ("a", "b"):
        page = await store.tasks.list_tasks(TaskQuery(workspace=WorkspaceName(workspace)))
        left += [(workspace, task.id) for task in page.tasks]
    assert set(left) == set(ids[4:])
    assert (await store.tasks.task(WS, waiting.id)).state is TaskState.QUEUED
    assert sum((await store.dispatch.counts()).values()) == 3


async def test_pruned_attempts_are_named(store: Any) -> None:
    """So that their logs can be deleted too."""
    await run(store, new_task())
    await end(store)
    assert await store.dispatch.prune(after(NOW, 9), after(NOW, 9), None, 10) == (1, ["a"])
    assert await store.dispatch.running() == []
