"""What every outbox of webhook messages promises."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from fakes.stores import opened
from taskyard.core.access.principals import AuditEntry
from taskyard.core.errors import NotFound
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy, Dispatched, Message
from taskyard.core.notifications.webhooks import DeliveryState, Try
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, Task, TaskSpec, Webhook, WebhookEvent
from taskyard.ports.webhooks import DUE_OF_WORKSPACE, HOSTS_LOOKED_AT
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.webhooks import enqueue, enqueue_messages, forget
from taskyard.store.sqlite.database import FILE_NAME, SqliteDatabase
from taskyard.store.sqlite.store import SqliteStore

T = TypeVar("T")

pytestmark = pytest.mark.anyio

A, B = WorkspaceName("a"), WorkspaceName("b")
NOW = Instant(1_700_000_000_000_000)
FINISHED = (WebhookEvent.SUCCEEDED, WebhookEvent.FINISHED)
HOOK = Webhook("http://x.example/hook", headers={"X-App": "1"})
ENTRY = AuditEntry(0, NOW, "user root", A, "webhook.redeliver")


class Outbox:
    """The store, and its two functions for the task store's transactions."""

    def __init__(self, opened: SqliteStore, path: Path) -> None:
        self.store = opened.webhooks
        self.access = opened.access
        self._path = path

    async def enqueue(
        self, task: Task, events: Sequence[WebhookEvent] = FINISHED, at: Instant = NOW
    ) -> int:
        """In a transaction of its own."""
        return self.write(lambda c: enqueue(c, task, None, events, at))

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        """In a transaction of its own."""
        self.write(lambda c: forget(c, task_ids))

    def write(self, operation: Callable[[Connection], T]) -> T:
        """In a transaction of its own, undone if the operation raises."""
        with closing(SqliteDatabase(self._path).connect()) as connection:
            connection.begin()
            result = operation(connection)
            connection.commit()
            return result


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    """Every adapter, empty."""
    store = await opened(tmp_path)
    yield Outbox(store, tmp_path / FILE_NAME)
    await store.close()


def task(name: str = "t1", *hooks: Webhook, workspace: WorkspaceName = A) -> Task:
    """A task that succeeded."""
    spec = TaskSpec(work=Command(argv=("true",)), webhooks=hooks or (HOOK,))
    return Task(1, TaskId(name), workspace, spec, TaskState.SUCCEEDED, NOW)


def failed(at: Instant) -> Try:
    """A try that led to nothing."""
    return Try(at=at, duration_ms=3, status=500, error="answered 500", answer="oops")


async def test_each_webhook_gets_the_events_it_asked_for(outbox: Outbox) -> None:
    """One message for each; none for others; the same moment again adds nothing."""
    both = Webhook("https://Y.example:8443/", events=FINISHED)
    other = Webhook("http://z.example/", events=(WebhookEvent.STARTED,))
    assert await outbox.enqueue(task("t1", HOOK, both, other)) == 3
    assert await outbox.enqueue(task("t1", HOOK, both, other)) == 0
    due, next_at = await outbox.store.due(NOW, 10)
    assert [(one.host, one.url) for one in due] == [
        ("x.example", HOOK.url),
        ("y.example", both.url),
        ("y.example", both.url),
    ]
    assert due[0].headers == {"X-App": "1"}
    assert due[0].body.startswith(b'{"type":"task.finished"')
    assert due[0].workspace == A
    assert due[0].failed_tries == 0
    assert next_at is None


async def test_a_message_is_not_kept_when_its_change_is_not(outbox: Outbox) -> None:
    """It is part of the transaction that it reports."""

    def refused(connection: object) -> None:
        enqueue(connection, task(), None, FINISHED, NOW)  # type: ignore[arg-type] # any store's
        raise NotFound("task", "t1")

    with pytest.raises(NotFound):
        outbox.write(refused)
    assert await outbox.store.due(NOW, 10) == ([], None)


async def test_a_failed_try_is_noted_and_makes_it_due_later(outbox: Outbox) -> None:
    """Until then it is not due, and the store says when it will be."""
    await outbox.enqueue(task())
    ((one,), _) = await outbox.store.due(NOW, 10)
    later = Instant(NOW + 5)
    await outbox.store.record_try(one.id, failed(NOW), DeliveryState.PENDING, later)
    assert await outbox.store.due(Instant(NOW + 4), 10) == ([], later)
    (again,), next_at = await outbox.store.due(later, 10)
    assert (again.id, again.failed_tries, next_at) == (one.id, 1, None)
    shown = await outbox.store.delivery(A, one.id)
    assert (shown.state, shown.attempt_count, shown.next_at) == ("pending", 1, later)
    assert (shown.last_status, shown.last_error) == (500, "answered 500")
    assert shown.tries == (failed(NOW),)


async def test_a_delivered_message_is_never_due_again(outbox: Outbox) -> None:
    """And further results for it change nothing."""
    await outbox.enqueue(task())
    ((one,), _) = await outbox.store.due(NOW, 10)
    made = Try(at=NOW, duration_ms=1, status=204)
    await outbox.store.record_try(one.id, made, DeliveryState.DELIVERED, None)
    await outbox.store.record_try(one.id, failed(NOW), DeliveryState.PENDING, NOW)
    assert await outbox.store.due(Instant(NOW + 10**12), 10) == ([], None)
    shown = await outbox.store.delivery(A, one.id)
    assert (shown.state, shown.delivered_at, shown.tries) == ("delivered", NOW, (made,))
    await outbox.store.record_try("msg_unknown", made, DeliveryState.DELIVERED, None)


async def test_redelivering_grants_everything_again(outbox: Outbox) -> None:
    """In the own workspace, recorded; the earlier tries stay to be seen, the latest 50."""
    await outbox.enqueue(task())
    ((one,), _) = await outbox.store.due(NOW, 10)
    await outbox.store.record_try(one.id, failed(NOW), DeliveryState.FAILED, None)
    with pytest.raises(NotFound):
        await outbox.store.redeliver(B, one.id, NOW, ENTRY)
    shown = await outbox.store.redeliver(A, one.id, NOW, ENTRY)
    assert (shown.state, shown.next_at, len(shown.tries)) == ("pending", NOW, 1)
    ((again,), _) = await outbox.store.due(NOW, 10)
    assert again.failed_tries == 0
    for n in range(60):
        await outbox.store.record_try(one.id, failed(Instant(NOW + n)), DeliveryState.PENDING, NOW)
    shown = await outbox.store.delivery(A, one.id)
    assert (shown.attempt_count, len(shown.tries), shown.tries[-1].at) == (61, 50, NOW + 59)
    assert [entry.action for entry in await outbox.access.audit(A, None, 10)] == [
        "webhook.redeliver"
    ]


async def test_one_slow_host_does_not_hide_the_others(outbox: Outbox) -> None:
    """Few due messages of each host are answered, the longest due first."""
    for n in range(100):
        await outbox.enqueue(task(f"slow{n}", Webhook("http://slow.example")), at=Instant(NOW - 1))
    await outbox.enqueue(task("t1"))
    due, _ = await outbox.store.due(NOW, 64)
    assert [one.host for one in due] == ["slow.example"] * 8 + ["x.example"]
    assert len((await outbox.store.due(NOW, 3))[0]) == 3


async def test_deliveries_are_paged_by_workspace_and_state(outbox: Outbox) -> None:
    """Newest first; those of another workspace are unknown ones."""
    for name in ("t1", "t2", "t3"):
        await outbox.enqueue(task(name))
    await outbox.enqueue(task("t4", workspace=B))
    first = await outbox.store.deliveries(A, None, None, 2)
    assert [one.task_id for one in first] == ["t3", "t2"]
    rest = await outbox.store.deliveries(A, None, first[-1].number, 2)
    assert [one.task_id for one in rest] == ["t1"]
    await outbox.store.record_try(first[0].id, failed(NOW), DeliveryState.FAILED, None)
    of_state = await outbox.store.deliveries(A, DeliveryState.FAILED, None, 10)
    assert [one.task_id for one in of_state] == ["t3"]
    (of_task,) = await outbox.store.deliveries_of(A, TaskId("t3"), 10)
    assert len(of_task.tries) == 1
    assert await outbox.store.deliveries_of(B, TaskId("t3"), 10) == []
    with pytest.raises(NotFound):
        await outbox.store.delivery(B, first[0].id)


async def test_removed_tasks_leave_no_messages(outbox: Outbox) -> None:
    """Neither sent nor unsent ones, nor their tries."""
    await outbox.enqueue(task("t1"))
    await outbox.enqueue(task("t2"))
    (one, _) = (await outbox.store.due(NOW, 10))[0]
    await outbox.store.record_try(one.id, failed(NOW), DeliveryState.FAILED, None)
    await outbox.forget([TaskId("t1"), TaskId("unknown")])
    await outbox.forget([])
    left = await outbox.store.deliveries(A, None, None, 10)
    assert [one.task_id for one in left] == ["t2"]
    rows = outbox.write(lambda c: c.select("SELECT count(*) FROM webhook_tries").fetchone())
    assert rows == (0,)


async def test_the_first_signing_key_of_a_workspace_stays(outbox: Outbox) -> None:
    """Whoever is second gets the key of the first."""
    assert await outbox.store.signing_key(A) is None
    assert await outbox.store.add_signing_key(A, b"one", NOW) == b"one"
    assert await outbox.store.add_signing_key(A, b"two", NOW) == b"one"
    assert await outbox.store.signing_key(A) == b"one"
    assert await outbox.store.signing_key(B) is None
    sample = await outbox.access.sample()
    assert sample is not None
    assert (sample.kind, sample.workspace, sample.value) == ("signing_key", A, b"one")


async def test_one_workspace_does_not_hide_the_others(outbox: Outbox) -> None:
    """However many are due of it, to however many hosts: the others' first ones come first."""
    for number in range(HOSTS_LOOKED_AT + 100):
        hook = Webhook(f"http://h{number:04}.example/")
        await outbox.enqueue(task(f"a{number}", hook))
    later = Instant(NOW + 50)
    for number in range(2):
        hook = Webhook("http://z.example/")
        await outbox.enqueue(task(f"b{number}", hook, workspace=B), at=later)
    due, _ = await outbox.store.due(later, 10)
    assert [one.workspace for one in due] == [A, B, A, B, *[A] * 6]
    all_due, _ = await outbox.store.due(later, 500)
    assert [one.workspace for one in all_due].count(A) == DUE_OF_WORKSPACE


async def test_no_host_is_passed_over_for_ever(outbox: Outbox) -> None:
    """Also of those that are not among the first by their names, once these leave room."""
    hosts = [f"h{number:04}.example" for number in range(HOSTS_LOOKED_AT + 5)]
    for host in hosts:
        await outbox.enqueue(task(host, Webhook(f"http://{host}/")))
    seen, later = set(), Instant(NOW + 10**9)
    while due := (await outbox.store.due(NOW, 500))[0]:
        for one in due:
            seen.add(one.host)
            await outbox.store.record_try(one.id, failed(NOW), DeliveryState.PENDING, later)
    assert seen == set(hosts)


async def test_tries_at_plain_messages_are_shown_with_both_sides(outbox: Outbox) -> None:
    """Oldest first; what was asked is told only where it was not answered well."""
    plain = Message(
        DeliveryKind.PLAIN, WebhookEvent.FINISHED, 0, "http://x.example/in", b"body", {"X-App": "1"}
    )
    mail = Message(DeliveryKind.MAIL, WebhookEvent.FINISHED, 1, "me@x.example", b"text")
    task_id = TaskId("t1")
    sent = [plain, mail]
    assert outbox.write(lambda c: enqueue_messages(c, A, task_id, sent, NOW)) == 2
    assert outbox.write(lambda c: enqueue_messages(c, A, task_id, sent, NOW)) == 0
    await outbox.enqueue(task("t1"))
    assert await outbox.store.dispatches(A, task_id) == []
    due = {one.kind: one for one in (await outbox.store.due(NOW, 10))[0]}
    assert (due[DeliveryKind.MAIL].url, due[DeliveryKind.MAIL].body) == (
        "mailto:me@x.example",
        b"text",
    )
    well = Try(at=Instant(NOW + 1), duration_ms=1, status=200, answer="ok", headers={"Y": "2"})
    for one in due.values():
        await outbox.store.record_try(one.id, failed(NOW), DeliveryState.PENDING, NOW)
        await outbox.store.record_try(one.id, well, DeliveryState.DELIVERED, None)
    asked, answered = await outbox.store.dispatches(A, task_id)
    assert asked == Dispatched(
        NOW, plain.target, 500, "answered 500", {"X-App": "1"}, b"body", {}, "oops"
    )
    assert answered == Dispatched(
        well.at, plain.target, 200, None, {"X-App": "1"}, b"", {"Y": "2"}, "ok"
    )
    assert await outbox.store.dispatches(B, task_id) == []
    assert await outbox.store.dispatches(A, TaskId("t2")) == []


async def test_a_policy_travels_with_its_message(outbox: Outbox) -> None:
    """How often and how long it is tried; our own messages have none."""
    policy = DeliveryPolicy(retries=3, timeout_s=2.5, verify_tls=False)
    message = Message(
        DeliveryKind.PLAIN, WebhookEvent.FAILED, 0, "http://x.example/", b"", policy=policy
    )
    outbox.write(lambda c: enqueue_messages(c, A, TaskId("t1"), [message], NOW))
    await outbox.enqueue(task("t2"))
    due, _ = await outbox.store.due(NOW, 10)
    assert [(one.kind, one.policy) for one in due] == [
        (DeliveryKind.PLAIN, policy),
        (DeliveryKind.SIGNED, None),
    ]


async def test_deliveries_of_a_task_come_oldest_first(outbox: Outbox) -> None:
    """As many as asked for."""
    hooks = [Webhook(f"http://h{n}.example/", events=(WebhookEvent.FINISHED,)) for n in range(3)]
    await outbox.enqueue(task("t1", *hooks))
    shown = await outbox.store.deliveries_of(A, TaskId("t1"), 10)
    assert [one.url for one in shown] == [hook.url for hook in hooks]
    assert await outbox.store.deliveries_of(A, TaskId("t1"), 2) == shown[:2]
