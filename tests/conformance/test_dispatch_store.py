"""What every dispatch store promises the engine, on every adapter."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement, renewed
from msgspec.structs import replace

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.attempts import (
    Ended,
    KillReport,
    Progress,
    Started,
    StreamSize,
    Survivor,
    Usage,
)
from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import NotFound
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
)
from taskyard.core.instants import after
from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.scheduling.policies import MaxPerHost
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import PlacedAttempt

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
    ((attempt, group, requirements),) = await store.dispatch.running()
    assert requirements == Requirements(asked)
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
    assert ready.requirements == Requirements(asked, policy=policy)
    allotted = CpuAllocation(1, (4, 5), 1 << 30)
    await store.dispatch.place([placement(new.id, stored.seq, allotted=allotted)], NOW)
    (running,) = await store.dispatch.running()
    assert running.attempt.resources == asked.granted(allotted)
    assert running.requirements == ready.requirements
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
        inline_output={"stdout": b"\x00\xff"},
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
    assert await store.tasks.inline_output(attempt.id, "stdout") == b"\x00\xff"
    assert await store.tasks.inline_output(attempt.id, "stderr") is None


@pytest.mark.parametrize("said", ["a\0b", "a\udcffb", "\0"])
async def test_whatever_work_says_its_end_is_stored(store: Any, said: str) -> None:
    """No database holds every text; what it cannot hold is replaced."""
    placed = await run(store, new_task())
    progress = Progress(AttemptId("a"), TOKEN, NOW, 0.5, said)
    ended = Ended(AttemptId("a"), TOKEN, NOW, AttemptState.FAILED, message=said, signal=said)
    _, refused = await store.dispatch.apply([progress, ended], NOW, [0.5, 0.5])
    assert refused == []
    attempt = await store.tasks.attempt(WS, placed.attempt.id)
    assert attempt.state is AttemptState.FAILED
    assert attempt.message is not None
    assert len(attempt.message) == len(said)


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


async def test_a_new_incarnation_takes_over(store: Any) -> None:
    """Attempts, with their leases; the old one cannot renew or be lost any more."""
    placed = await run(store, new_task())
    again = replace(W1, incarnation=IncarnationId("life-2"), joined_at=after(NOW, 9))
    (attempt,) = await store.dispatch.join(again)
    assert attempt == replace(placed.attempt, incarnation=again.incarnation)
    assert not await renewed(store, W1.id, W1.incarnation)
    assert await store.dispatch.lose(W1.id, W1.incarnation, NOW) == []
    assert await renewed(store, W1.id, again.incarnation, after(NOW, 9))
    assert await store.dispatch.workers() == [replace(again, beat_at=after(NOW, 9))]
    assert await end(store) == (["succeeded"], [])


async def test_a_lost_worker_cannot_renew(store: Any) -> None:
    """It has to join again, and starts with nothing."""
    await run(store, new_task())
    await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert not await renewed(store, W1.id, W1.incarnation)
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
    assert await renewed(store, W1.id, W1.incarnation)
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
