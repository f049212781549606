"""Entries that cannot be dealt with, one for each loop, and a service that meets them."""

import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from fakes.clock import VirtualClock, settled
from fakes.specs import NOW, WS, new_task
from taskyard.core.attempts import Ended
from taskyard.core.cron import CatchUp
from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import FunctionId
from taskyard.core.functions.resources import Schedule, Trigger
from taskyard.core.ids import AttemptId, GroupName, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import after
from taskyard.core.jobs import JobDefinition, JobKey
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask, TaskSpec, Webhook, WebhookEvent
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.jobs import Start
from taskyard.ports.outgoing import Answer
from taskyard.ports.store import TaskQuery
from taskyard.services.functions.triggers import Triggers
from taskyard.services.jobs.job_timers import JobTimers
from taskyard.services.notifications.bus import Bus
from taskyard.services.notifications.webhook_sender import WebhookSender
from taskyard.services.scheduling.timers import Timers
from taskyard.store.sql.connection import Connection
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.store import SqliteStore

W1 = WorkerRecord(
    WorkerId("w1"), IncarnationId("i1"), "h", "1", Capacity(9, 9, 9), ("command",), NOW, NOW
)
GROUP = GroupName("mail")
GOOD_JOB = JobKey(WS, GROUP, "11111111-1111-4111-8111-111111111111")
BAD_JOB = JobKey(WS, GROUP, "22222222-2222-4222-8222-222222222222")
SOON = after(NOW, 60)
LATER = after(NOW, 61)


class Node:
    """A store, and hands behind its back."""

    def __init__(self, store: SqliteStore, directory: Path) -> None:
        self.store = store
        self.clock = VirtualClock(LATER)
        self._path = directory / FILE_NAME

    def spoil(self, sql: str, *values: object) -> None:
        """Change rows as no code of ours would."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            assert connection.execute(sql, values).rowcount == 1

    async def both(self, **members: Any) -> tuple[NewTask, NewTask]:
        """Two tasks; the first is the one to spoil."""
        bad, good = new_task(**members), new_task(**members)
        await self.store.tasks.submit([bad, good], None)
        return bad, good

    async def placed(self) -> tuple[NewTask, NewTask]:
        """Two tasks that run."""
        bad, good = await self.both()
        await self.store.dispatch.join(W1)
        assert len(await self.place()) == 2
        return bad, good

    async def place(self) -> list[str]:
        """What the scheduler would place; ids of what came about."""
        ready = await self.store.dispatch.ready(WS, GroupName("default"), None, 10)
        placements = [
            Placement(
                one.id,
                one.seq,
                AttemptId(f"a-{one.id}"),
                LeaseToken(f"l-{one.id}"),
                SOON,
                W1.id,
                W1.incarnation,
            )
            for one in ready
        ]
        placed, _ = await self.store.dispatch.place(placements, LATER)
        return [one.task.id for one in placed]

    async def state(self, task: NewTask) -> str:
        """Of a task, however unreadable."""

        def read(connection: Connection) -> str:
            sql = "SELECT state FROM tasks WHERE id = ?"
            return str(connection.select(sql, (task.id,)).fetchone()[0])

        return await self.store.session.read(read)

    async def parked(self) -> dict[str, str]:
        """Reasons by id."""
        return {one.key: one.reason for one in await self.store.parking.parked(WS, 99)}

    async def turn(
        self, loop: Callable[[], Coroutine[Any, Any, None]], done: Callable[[], Awaitable[bool]]
    ) -> None:
        """Let a loop run until something is the case."""
        with anyio.fail_after(10):
            async with anyio.create_task_group() as loops:
                loops.start_soon(loop)
                while not await done():
                    self.clock.advance(0.01)
                    await anyio.sleep(0.001)
                await settled()
                loops.cancel_scope.cancel()


async def a_recurring_task(node: Node, sql: str) -> str:
    """Timers."""
    members = {"cron": "* * * * *", "timezone": "Europe/Berlin", "start_at": SOON}
    bad, good = await node.both(**members, catch_up=CatchUp.ALL)
    node.spoil(sql, bad.id)

    async def fired() -> bool:
        page = await node.store.tasks.list_tasks(TaskQuery(workspace=WS, schedule_id=good.id))
        return bool(page.tasks) and bool(await node.parked())

    await node.turn(Timers(node.store.dispatch, Bus(), node.clock).run, fired)
    return bad.id


async def a_delayed_task(node: Node, sql: str) -> str:
    """Timers."""
    bad, good = await node.both(start_at=SOON)
    node.spoil(sql, bad.id)

    async def ready() -> bool:
        return await node.state(good) == "queued" and bool(await node.parked())

    await node.turn(Timers(node.store.dispatch, Bus(), node.clock).run, ready)
    assert await node.state(bad) == "scheduled"
    return bad.id


async def an_expiring_task(node: Node, sql: str) -> str:
    """Timers; to expire a task, what it asks for need not be known."""
    bad, good = await node.both(expires_at=SOON)
    node.spoil(sql, bad.id)

    async def over() -> bool:
        return [await node.state(one) for one in (bad, good)] == ["expired"] * 2

    await node.turn(Timers(node.store.dispatch, Bus(), node.clock).run, over)
    return ""


async def a_ready_task(node: Node, sql: str) -> str:
    """The scheduler."""
    bad, good = await node.both()
    await node.store.dispatch.join(W1)
    node.spoil(sql, bad.id)
    assert await node.place() == [good.id]
    assert await node.place() == []
    assert await node.state(bad) == "scheduled"
    return bad.id


async def a_job(node: Node, sql: str) -> str:
    """Jobs that are due."""
    for key in (BAD_JOB, GOOD_JOB):
        definition = JobDefinition(TaskSpec(work=new_task().spec.work, group=GROUP))
        await node.store.jobs.put(key, definition, Start(SOON), "t", (), NOW, "me")
    node.spoil(sql, BAD_JOB.id)

    async def started() -> bool:
        job = await node.store.jobs.job(GOOD_JOB)
        return job.execution_count == 1 and bool(await node.parked())

    await node.turn(JobTimers(node.store.jobs, Bus(), node.clock).run, started)
    return "1"


class NoFunctions:
    """Stands for ``services.invocations``: whatever is called is gone."""

    def quota(self, _workspace: str) -> None:
        """No matter."""

    def prepare(self, *_args: object) -> None:
        """See ``Invocations``."""
        raise NotFound("function", "f")


def triggers(node: Node) -> Triggers:
    """The loops of triggers and schedules."""
    invocations: Any = NoFunctions()
    store = node.store
    return Triggers(
        store.function_resources, store.invocations, invocations, store.parking, Bus(), node.clock
    )


async def a_schedule(node: Node, sql: str) -> str:
    """Schedules of functions."""
    for name in ("bad", "good"):
        entry = Schedule(name, WS, NOW, FunctionId("f"), "* * * * *", "Europe/Berlin")
        await node.store.function_resources.add(entry, SOON)
    node.spoil(sql, "bad")

    async def fired() -> bool:
        due = await node.store.function_resources.next_due()
        return due is not None and due > SOON and bool(await node.parked())

    await node.turn(triggers(node).run, fired)
    return "bad"


async def a_trigger(node: Node, sql: str) -> str:
    """Triggers, as they are read when a call has ended."""
    for name in ("bad", "good"):
        entry = Trigger(name, WS, NOW, FunctionId("f"), FunctionId("g"), include_result=False)
        await node.store.function_resources.add(entry)
    node.spoil(sql, "bad")
    found = await node.store.function_resources.triggers(FunctionId("f"), node.clock.now())
    assert [one.id for one in found] == ["good"]
    return "bad"


class Sender:
    """Takes every message."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def check_url(self, url: str, field: str = "url") -> None:
        """See the port."""

    async def close(self) -> None:
        """See the port."""

    async def send(self, post: Any) -> Any:
        """See the port."""
        self.urls.append(post.url)
        return Answer(200, b"", {})


async def a_delivery(node: Node, sql: str) -> str:
    """Messages that are due."""
    urls = ("http://a.example/", "http://b.example/")
    for url in urls:
        hooks = (Webhook(url, events=(WebhookEvent.FINISHED,)),)
        task = new_task(webhooks=hooks)
        await node.store.tasks.submit([task], None)
        await node.store.tasks.cancel(WS, [task.id], NOW, "me")
    node.spoil(sql, urls[0])
    sender = Sender()

    async def key(_workspace: str) -> bytes:
        return b"k"

    async def run() -> None:
        sending = WebhookSender(node.store.webhooks, sender, key, node.clock)
        async with anyio.create_task_group() as tries:
            await sending.start(tries)
            await anyio.sleep_forever()

    async def sent() -> bool:
        return sender.urls == [urls[1]] and bool(await node.parked())

    await node.turn(run, sent)
    (bad,) = await node.parked()
    return bad


async def a_lost_attempt(node: Node, sql: str) -> str:
    """Rescue: whatever a row says, its worker is gone."""
    bad, good = await node.placed()
    node.spoil(sql, f"a-{bad.id}")
    await node.store.dispatch.lose(W1.id, W1.incarnation, LATER)
    assert [await node.state(one) for one in (bad, good)] == ["queued"] * 2
    return ""


async def a_reported_attempt(node: Node, sql: str) -> str:
    """Reports: what has ended has ended, whatever its task asked for."""
    bad, good = await node.placed()
    node.spoil(sql, bad.id)
    ends = [
        Ended(AttemptId(f"a-{one.id}"), LeaseToken(f"l-{one.id}"), LATER, AttemptState.SUCCEEDED)
        for one in (bad, good)
    ]
    changes, refused = await node.store.dispatch.apply(ends, LATER, [0.5, 0.5])
    assert not refused
    assert [one.state for one in changes] == [TaskState.SUCCEEDED] * 2
    return ""


async def an_attempt_to_adopt(node: Node, sql: str) -> str:
    """A worker that joins, and a server that starts, get all that can be read."""
    bad, good = await node.placed()
    node.spoil(sql, f"a-{bad.id}")
    assert [one.task_id for one in await node.store.dispatch.join(W1)] == [good.id]
    assert [one.attempt.task_id for one in await node.store.dispatch.running()] == [good.id]
    return ""


async def an_ended_task(node: Node, sql: str) -> str:
    """Retention: what is too old goes, whether it can be read or not."""
    bad, good = await node.both()
    await node.store.tasks.cancel(WS, [bad.id, good.id], NOW, "me")
    node.spoil(sql, bad.id)
    removed, _ = await node.store.dispatch.prune(LATER, LATER, None, 10)
    assert removed == 2
    return ""


BROKEN = "UPDATE tasks SET spec = '{' WHERE id = ?"
NO_ZONE = "UPDATE {} SET {} = replace({}, 'Europe/Berlin', 'Gone/Away') WHERE id = ?"
CASES = {
    "a recurring task, no zone": (a_recurring_task, NO_ZONE.format("tasks", "spec", "spec")),
    "a recurring task": (a_recurring_task, BROKEN),
    "a delayed task": (a_delayed_task, BROKEN),
    "an expiring task": (an_expiring_task, BROKEN),
    "a ready task": (a_ready_task, BROKEN),
    "a job": (a_job, "UPDATE jobs SET definition = '[]' WHERE id = ?"),
    "a schedule, no zone": (a_schedule, NO_ZONE.format("catalogue", "content", "content")),
    "a schedule": (a_schedule, "UPDATE catalogue SET content = '' WHERE id = ?"),
    "a trigger": (a_trigger, "UPDATE catalogue SET content = '0' WHERE id = ?"),
    "a delivery": (a_delivery, "UPDATE webhook_deliveries SET headers = '{' WHERE url = ?"),
    "a lost attempt": (a_lost_attempt, "UPDATE attempts SET resources = '' WHERE id = ?"),
    "a reported attempt": (a_reported_attempt, BROKEN),
    "an attempt to adopt": (an_attempt_to_adopt, "UPDATE attempts SET handle = '' WHERE id = ?"),
    "an ended task": (an_ended_task, BROKEN),
}
