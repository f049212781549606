"""What every task store promises its callers, on every adapter."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.attempts import Ended, Started
from taskyard.core.backoff import RetryPolicy
from taskyard.core.cron import CatchUp
from taskyard.core.errors import IllegalTransition, NotFound
from taskyard.core.functions.functions import FunctionId
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
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import Command, Container, FunctionCall, SecretRef, Webhook, Work
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio
OTHER = WorkspaceName("other")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    life = IncarnationId("life")
    record = WorkerRecord(
        WorkerId("w1"), life, "h", "1", Capacity(9, 9000, 9), ("command",), NOW, NOW
    )
    await store.dispatch.join(record)
    yield store
    await store.close()


async def placed(
    store: Any, task_id: TaskId, seq: int, name: str | None = None, now: Instant = NOW
) -> AttemptId:
    """Give a task to the worker."""
    placement = Placement(
        task_id,
        seq,
        AttemptId(name or f"attempt-{seq}"),
        LeaseToken("lease"),
        after(now, 10),
        WorkerId("w1"),
        IncarnationId("life"),
    )
    ((one,), _) = await store.dispatch.place([placement], now)
    return one.attempt.id  # type: ignore[no-any-return]


async def test_a_task_is_stored_as_it_was_submitted(store: Any) -> None:
    """Every member survives the way into the store and back, text in every script."""
    new = new_task(
        work=Command(
            argv=("printf", "%s\n", "Grüße 🎉", "\u2028", "\x7f"),
            env={"A": "b", "S": SecretRef("db")},
            cwd="/srv",
            stdin="line\nline\t\x01",
            user="nobody",
            isolate=True,
            network=False,
        ),
        group="Grüße 🎉",
        name='it\'s "x" \\ % _',
        priority=-7,
        timeout_s=1.5,
        labels={"team": "x", "Env": "ü"},
        metadata={"a": [1, 2.5, None, True, {"b": "c"}]},
        webhooks=(Webhook("http://h.example/"),),
        expires_at=after(NOW, 100),
        log_limit_bytes=0,
        idempotency_key="schlüssel",
    )
    (stored,) = await store.tasks.submit([new], "token ci")
    task = await store.tasks.task(WS, new.id)
    assert task.spec == new.spec
    assert (task.id, task.seq, task.state) == (new.id, stored.seq, TaskState.QUEUED)
    assert (task.created_at, task.attempt_count, task.finished_at) == (NOW, 0, None)


async def test_a_batch_keeps_its_order(store: Any) -> None:
    """Positions rise in the order given, however many there are."""
    news = [new_task() for _ in range(100)]
    stored = await store.tasks.submit(news, None)
    assert [one.task_id for one in stored] == [new.id for new in news]
    seqs = [one.seq for one in stored]
    assert seqs == sorted(set(seqs))
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, oldest_first=True, limit=500))
    assert [task.id for task in page.tasks] == [new.id for new in news]


async def test_a_key_finds_its_task(store: Any) -> None:
    """In its own workspace; nothing once the task is deleted."""
    new = new_task(idempotency_key="app/1")
    await store.tasks.submit([new], "me")
    found = await store.tasks.task_by_key(WS, "app/1")
    assert (found.id, found.spec) == (new.id, new.spec)
    for workspace, key in ((OTHER, "app/1"), (WS, "app/2")):
        with pytest.raises(NotFound):
            await store.tasks.task_by_key(workspace, key)
    await store.tasks.cancel(WS, [new.id], NOW, "me")
    await store.tasks.delete(WS, [new.id], NOW)
    with pytest.raises(NotFound):
        await store.tasks.task_by_key(WS, "app/1")


async def test_a_key_stands_for_one_task_of_its_workspace(store: Any) -> None:
    """Inside one batch as well as across batches; after a deletion it is free again."""
    first, second, third = (new_task(idempotency_key="k") for _ in range(3))
    one, two, plain = await store.tasks.submit([first, second, new_task()], None)
    assert (one.created, two.created, plain.created) == (True, False, True)
    assert two.task_id == first.id
    (again,) = await store.tasks.submit([third], None)
    assert (again.task_id, again.created) == (first.id, False)
    foreign = new_task(idempotency_key="k", workspace="other")
    (elsewhere,) = await store.tasks.submit([foreign], None)
    assert elsewhere.created
    await store.tasks.cancel(WS, [first.id], NOW, "me")
    await store.tasks.delete(WS, [first.id], NOW)
    (free,) = await store.tasks.submit([third], None)
    assert free.created


async def test_walls_stand_between_workspaces(store: Any) -> None:
    """Somebody else's task is unknown to every call."""
    new = new_task()
    (stored,) = await store.tasks.submit([new], None)
    attempt_id = await placed(store, new.id, stored.seq)
    for call in (
        store.tasks.task(OTHER, new.id),
        store.tasks.attempts(OTHER, new.id),
        store.tasks.attempt(OTHER, attempt_id),
        store.tasks.events(OTHER, new.id, 0, 10),
        store.tasks.set_priority(OTHER, new.id, 1, NOW, "me"),
        store.tasks.reschedule(OTHER, new.id, NOW, NOW, "me"),
        store.tasks.delete(OTHER, [new.id], NOW),
    ):
        with pytest.raises(NotFound):
            await call
    (outcome,), changes = await store.tasks.cancel(OTHER, [new.id], NOW, "me")
    assert (outcome.outcome, changes) == ("unknown", [])
    assert (await store.tasks.list_tasks(TaskQuery(workspace=OTHER))).tasks == []
    assert await store.tasks.counts(OTHER) == {}
    assert (await store.tasks.attempt(WS, attempt_id)).task_id == new.id


async def test_pages_meet_without_gap_or_overlap(store: Any) -> None:
    """Also while tasks are added in front of them."""
    news = [new_task() for _ in range(7)]
    await store.tasks.submit(news, None)
    query = TaskQuery(workspace=WS, limit=3)
    seen: list[TaskId] = []
    for _ in range(9):
        page = await store.tasks.list_tasks(query)
        seen += [task.id for task in page.tasks]
        await store.tasks.submit([new_task()], None)
        if page.next_seq is None:
            break
        query = TaskQuery(workspace=WS, limit=3, after_seq=page.next_seq)
    assert seen == [new.id for new in reversed(news)]


async def test_filters_combine(store: Any) -> None:
    """Each narrows what the others leave."""
    wanted = new_task(group="g", name="Monthly Report", labels={"a": "x", "b": "y"})
    others = [
        new_task(group="h", name="monthly", labels={"a": "x", "b": "y"}),
        new_task(group="g", name="monthly", labels={"a": "x"}),
        new_task(group="g", name="weekly", labels={"a": "x", "b": "y"}),
        new_task(group="g", name="monthly", labels={"a": "x", "b": "y"}, now=Instant(NOW - 5)),
        new_task(group="g", name="monthly", labels={"a": "x", "b": "y"}, start_at=after(NOW, 9)),
    ]
    await store.tasks.submit([wanted, *others], None)
    page = await store.tasks.list_tasks(
        TaskQuery(
            workspace=WS,
            states=frozenset({TaskState.QUEUED, TaskState.FAILED}),
            group=GroupName("g"),
            labels={"b": "y", "a": "x"},
            text="MONTHLY",
            created_after=NOW,
            created_before=Instant(NOW + 1),
        )
    )
    assert [task.id for task in page.tasks] == [wanted.id]
    assert page.next_seq is None


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "*", "[", "\0", '" OR 1=1 --'])
async def test_search_text_is_taken_literally(store: Any, text: str) -> None:
    """No character is a pattern, and none is lost."""
    await store.tasks.submit([new_task(name="abc"), new_task(name=f"a{text}c")], None)
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, text=f"a{text}c"))
    assert [task.spec.name for task in page.tasks] == [f"a{text}c"]


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (Command(argv=("echo", "later")), "echo later"),
        (Command(argv=("sh", "-c", "echo later; exit")), "sh -c 'echo LATER; exit'"),
        (Command(argv=("sh", "-c", "echo later; exit")), "-c echo"),
        (Command(argv=("echo", "it's", "a\nb")), "echo 'it'\"'\"'s' 'a b'"),
        (Command(argv=("echo", "it's")), "echo 'it'\\''s'"),
        (Command(shell='echo "a\tb" | wc'), "echo 'a b' | wc"),  # noqa: S604 - only stored
        (Container(image="busybox:latest", args=("echo", "hi")), "[busybox:latest] echo hi"),
        (FunctionCall(FunctionId("f" * 24), "resize"), "resize"),
    ],
)
async def test_a_command_is_found_by_what_lists_show_of_it(
    store: Any, work: Work, text: str
) -> None:
    """Words that a program gets apart, quoted as one would type them; and nothing else is found."""
    wanted, other = new_task(work=work), new_task(work=Command(argv=("echo", "sooner")))
    await store.tasks.submit([wanted, other], None)
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, text=text))
    assert [task.id for task in page.tasks] == [wanted.id]


@pytest.mark.parametrize(
    ("guess", "is_found"), [("hid", False), ("hidden", False), ("--password", True), ("own", True)]
)
async def test_what_is_hidden_is_not_found(store: Any, guess: str, *, is_found: bool) -> None:
    """Otherwise whoever may read could guess it, a character at a time."""
    for new in (
        new_task(name="own --password=hidden", work=Command(argv=("a",))),
        new_task(name=None, work=Command(argv=("own", "--password", "hidden"))),
        new_task(name=None, work=Command(shell="own --password 'hidden'")),  # noqa: S604 - stored
        new_task(name=None, work=Container(image="own", args=("--password=hidden",))),
    ):
        await store.tasks.submit([new], None)
        page = await store.tasks.list_tasks(TaskQuery(workspace=WS, text=guess))
        assert (new.id in [task.id for task in page.tasks]) == is_found


async def test_a_page_tells_how_long_attempts_ran(store: Any) -> None:
    """All that have ended, without waiting; nothing of a task that never ran, or still does."""
    policy = RetryPolicy(2, 1.0, 1.0, 1.0, 0.0)
    tried, running, waiting = new_task(retry=policy), new_task(), new_task()
    stored = await store.tasks.submit([tried, running, waiting], None)
    for number, ran in enumerate((2, 3)):
        begun = after(NOW, 100 * number)
        attempt_id = await placed(store, tried.id, stored[0].seq, f"tried-{number}", begun)
        ended, lease = after(begun, ran), LeaseToken("lease")
        report = Ended(attempt_id, lease, ended, AttemptState.FAILED, begun)
        _, refused = await store.dispatch.apply([report], ended, [0.5])
        assert not refused
        await store.dispatch.due(after(begun, 99), 10)
    attempt_id = await placed(store, running.id, stored[1].seq)
    await store.dispatch.apply([Started(attempt_id, LeaseToken("lease"), NOW)], NOW, [0.5])
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS))
    assert len(page.tasks) == 3
    assert page.ran_s == {tried.id: 5.0}


async def test_a_running_task_is_marked_for_its_kill_once(store: Any) -> None:
    """Asking again answers alike and changes nothing."""
    new = new_task(kill_signal="SIGINT", kill_grace_s=2.0)
    (stored,) = await store.tasks.submit([new], None)
    attempt_id = await placed(store, new.id, stored.seq)
    (first,), changes = await store.tasks.cancel(WS, [new.id], NOW, "me")
    assert (first.outcome, first.kill_signal, first.kill_grace_s) == ("killing", "SIGINT", 2.0)
    assert first.attempt.id == attempt_id
    assert [change.kind for change in changes] == ["kill_requested"]
    (second,), changes = await store.tasks.cancel(WS, [new.id], after(NOW, 5), "me")
    assert (second, changes) == (first, [])
    assert (await store.tasks.task(WS, new.id)).kill_requested_at == NOW


async def test_rescheduling_a_rule(store: Any) -> None:
    """What is not given stays."""
    new = new_task(cron="0 8 * * *", start_at=after(NOW, 60), priority=3)
    await store.tasks.submit([new], None)
    await store.tasks.reschedule(
        WS, new.id, after(NOW, 90), NOW, "me", cron="0 9 * * *", catch_up=CatchUp.ALL
    )
    task = await store.tasks.task(WS, new.id)
    assert (task.spec.cron, task.spec.timezone, task.spec.catch_up) == (
        "0 9 * * *",
        "UTC",
        CatchUp.ALL,
    )
    assert (task.start_at, task.spec.priority) == (after(NOW, 90), 3)


async def test_deleting_takes_everything_along(store: Any) -> None:
    """All of those named or none; naming one twice is no mistake."""
    new, running = new_task(labels={"a": "b"}), new_task()
    _, stored = await store.tasks.submit([new, running], None)
    await placed(store, running.id, stored.seq)
    await store.tasks.cancel(WS, [new.id], NOW, "me")
    with pytest.raises(IllegalTransition):
        await store.tasks.delete(WS, [new.id, running.id], NOW)
    with pytest.raises(NotFound):
        await store.tasks.delete(WS, [new.id, TaskId("none")], NOW)
    assert (await store.tasks.task(WS, new.id)).state is TaskState.CANCELLED
    attempts, changes = await store.tasks.delete(WS, [new.id, new.id], NOW)
    assert attempts == []
    assert [change.kind for change in changes] == ["deleted"]
    for call in (store.tasks.task(WS, new.id), store.tasks.events(WS, new.id, 0, 1)):
        with pytest.raises(NotFound):
            await call
    query = TaskQuery(workspace=WS, labels={"a": "b"})
    assert (await store.tasks.list_tasks(query)).tasks == []
    assert await store.tasks.counts(WS) == {TaskState.RUNNING: 1}


async def test_counts_are_by_state_and_group(store: Any) -> None:
    """States without tasks are left out."""
    news = [new_task(group="g"), new_task(group="g"), new_task(group="h", start_at=after(NOW, 1))]
    await store.tasks.submit(news, None)
    await store.tasks.cancel(WS, [news[0].id], NOW, "me")
    assert await store.tasks.counts(WS) == {
        TaskState.QUEUED: 1,
        TaskState.CANCELLED: 1,
        TaskState.SCHEDULED: 1,
    }
    assert await store.tasks.counts(WS, GroupName("h")) == {TaskState.SCHEDULED: 1}
    assert await store.tasks.counts(WS, GroupName("never")) == {}


async def test_ahead_counts_up_to_its_limit(store: Any) -> None:
    """By priority first, then by acceptance."""
    news = [new_task(priority=priority) for priority in (0, 5, 0, 0)]
    await store.tasks.submit(news, None)
    tasks = [await store.tasks.task(WS, new.id) for new in news]
    assert [await store.tasks.ahead_of(task, 100) for task in tasks] == [1, 0, 2, 3]
    assert await store.tasks.ahead_of(tasks[3], 2) == 2
