"""Group commit: who shares a transaction, and what one failure does to the others."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fakes.specs import NOW, WS, new_task
from fakes.stores import Probe, opened, prepare
from taskyard.core.errors import (
    Conflict,
    IllegalTransition,
    InvalidInput,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
)
from taskyard.core.ids import TaskId
from taskyard.ports.store import TaskQuery
from taskyard.store.postgres.silence import AnsweringWriter, Silence
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.writer import client as client_module
from taskyard.store.sql.writer import server as server_module
from taskyard.store.sql.writer.server import ServerThread
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open, empty store."""
    store = await opened(tmp_path)
    yield store
    await store.close()


class Gate:
    """Holds the writer inside an operation until opened, so that a queue builds up behind it."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._open = threading.Event()
        self._entered = threading.Event()

    async def close(self) -> "asyncio.Task[None]":
        """Begin to hold the writer."""
        held = asyncio.create_task(Probe(self._store.session).run(self._wait))
        await asyncio.get_running_loop().run_in_executor(None, self._entered.wait, 30)
        return held

    def open(self) -> None:
        """Let it go."""
        self._open.set()

    def _wait(self, _connection: Connection) -> None:
        self._entered.set()
        assert self._open.wait(30)


def counts_of(store: SqliteStore) -> BatchCounts:
    """What the batch that is being done has counted."""
    thread = store.writer._server
    assert isinstance(thread, ServerThread)
    return thread._server._counts


async def everything(store: SqliteStore) -> set[str]:
    """Ids of all tasks of the workspace."""
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, limit=10_000))
    return {task.id for task in page.tasks}


async def test_submits_that_arrive_together_share_a_commit(tmp_path: Path) -> None:
    """What came in during one commit is the next commit."""
    sizes: list[int] = []
    store = await opened(tmp_path, lambda size, _seconds: sizes.append(size))
    gate = Gate(store)
    held = await gate.close()
    news = [new_task() for _ in range(300)]
    submits = [asyncio.create_task(store.tasks.submit([new], None)) for new in news]
    await asyncio.sleep(0)
    sizes.clear()
    gate.open()
    await asyncio.gather(held, *submits)
    assert sizes == [1, 300]
    assert await everything(store) == {new.id for new in news}
    await store.close()


async def test_a_batch_is_bounded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits, a commit takes only so much of it."""
    monkeypatch.setattr(server_module, "BATCH_LIMIT", 10)
    gate = Gate(store)
    held = await gate.close()
    submits = [asyncio.create_task(store.tasks.submit([new_task()], None)) for _ in range(35)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(held, *submits)
    assert len(await everything(store)) == 35


async def test_one_failing_operation_does_not_hurt_the_others(store: SqliteStore) -> None:
    """It alone is undone and told; its neighbours in the same commit are stored."""
    first = new_task()
    await store.tasks.submit([first], None)
    gate = Gate(store)
    held = await gate.close()
    before, behind = new_task(group="g"), new_task(group="g")

    def half(connection: Connection) -> None:
        connection.select("UPDATE tasks SET group_name = 'spoilt'")
        counts_of(store).add(WS, "spoilt", "queued", 5)
        raise Conflict("changed its mind")

    calls = [
        asyncio.create_task(store.tasks.submit([before], None)),
        asyncio.create_task(Probe(store.session).write(half)),
        asyncio.create_task(store.tasks.delete(WS, [first.id], NOW)),
        asyncio.create_task(store.tasks.set_priority(WS, TaskId("none"), 1, NOW, "me")),
        asyncio.create_task(store.tasks.submit([behind], None)),
    ]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(held, *calls, return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds == [type(None), list, Conflict, IllegalTransition, NotFound, list]
    assert await everything(store) == {first.id, before.id, behind.id}
    assert {group.name for group in await store.groups.groups(WS, None, 10)} == {"default", "g"}


async def test_a_broken_statement_fails_its_batch_and_leaves_nothing(store: SqliteStore) -> None:
    """The driver's failure is everybody's: nobody is told that it worked, nothing is visible."""
    gate = Gate(store)
    held = await gate.close()
    calls = [
        asyncio.create_task(store.tasks.submit([new_task()], None)),
        asyncio.create_task(
            Probe(store.session).write(lambda c: c.select("SELECT * FROM nowhere"))
        ),
        asyncio.create_task(store.tasks.submit([new_task(labels={"a": "b"})], None)),
    ]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(held, *calls, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [Unavailable] * 3
    assert await everything(store) == set()
    (later,) = await store.tasks.submit([new_task()], None)
    assert await everything(store) == {later.task_id}
    assert await store.tasks.counts(WS) == {"queued": 1}


@pytest.mark.parametrize(
    "members",
    [
        {"name": "\ud800"},
        {"labels": {"a": "\udfff"}},
        {"metadata": {"deep": ["\ud800"]}},
        {"group": "g\udc00"},
        {"idempotency_key": "\ud800"},
    ],
    ids=["name", "label", "metadata", "group", "key"],
)
async def test_text_that_cannot_be_stored_hurts_only_its_own_submit(
    store: SqliteStore, members: dict[str, Any]
) -> None:
    """A lone surrogate is the fault of whoever sent it."""
    gate = Gate(store)
    held = await gate.close()
    good = [new_task(), new_task()]
    calls = [
        asyncio.create_task(store.tasks.submit([good[0]], None)),
        asyncio.create_task(store.tasks.submit([new_task(), new_task(**members)], None)),
        asyncio.create_task(store.tasks.submit([good[1]], None)),
    ]
    await asyncio.sleep(0)
    gate.open()
    _, first, bad, second = await asyncio.gather(held, *calls, return_exceptions=True)
    assert isinstance(first, list)
    assert isinstance(bad, InvalidInput)
    assert isinstance(second, list)
    assert await everything(store) == {new.id for new in good}
    assert await store.tasks.counts(WS) == {"queued": 2}


async def test_a_number_that_cannot_be_stored_hurts_only_its_own_submit(
    store: SqliteStore,
) -> None:
    """Integers of the database have 64 bits."""
    gate = Gate(store)
    held = await gate.close()
    good = new_task()
    calls = [
        asyncio.create_task(store.tasks.submit([good], None)),
        asyncio.create_task(store.tasks.submit([new_task(expires_at=1 << 63)], None)),
    ]
    await asyncio.sleep(0)
    gate.open()
    _, first, bad = await asyncio.gather(held, *calls, return_exceptions=True)
    assert isinstance(first, list)
    assert isinstance(bad, InvalidInput)
    assert await everything(store) == {good.id}


async def test_a_full_disk_fails_the_whole_commit_and_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    """Everybody in the batch hears of it, nothing of it is visible, and room brings it back."""
    store = await opened(tmp_path)

    def limit(connection: Connection) -> None:
        (pages,) = connection.select("PRAGMA page_count").fetchone()
        connection.select(f"PRAGMA max_page_count = {pages + 40}")

    await Probe(store.session).run(limit)
    acknowledged: set[str] = set()
    failures: list[BaseException] = []
    text = "x" * 3000

    async def submit(number: int) -> None:
        new = new_task(metadata={"text": text}, group=f"g{number % 3}")
        try:
            await store.tasks.submit([new], None)
        except StorageFull as error:
            failures.append(error)
        else:
            acknowledged.add(new.id)

    for round_number in range(6):
        await asyncio.gather(*(submit(round_number * 20 + n) for n in range(20)))
    assert failures
    assert acknowledged
    assert await everything(store) == acknowledged
    assert sum((await store.tasks.counts(WS)).values()) == len(acknowledged)

    def lift(connection: Connection) -> None:
        connection.select("PRAGMA max_page_count = 1000000")

    await Probe(store.session).run(lift)
    (one,) = await store.tasks.submit([new_task()], None)
    await store.close()
    store = await opened(tmp_path)
    assert await everything(store) == acknowledged | {one.task_id}
    assert sum((await store.tasks.counts(WS)).values()) == len(acknowledged) + 1
    await store.close()


async def test_a_failing_commit_fails_everybody(store: SqliteStore) -> None:
    """Also when every statement before it went well."""
    (stored,) = await store.tasks.submit([new_task()], None)

    def breaks_at_commit(connection: Connection) -> None:
        connection.select("PRAGMA defer_foreign_keys = ON")
        connection.select("CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY)")
        connection.select(
            "CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        )
        connection.select("INSERT INTO child VALUES (7)")

    def enforce(connection: Connection) -> None:
        connection.select("COMMIT")
        connection.select("PRAGMA foreign_keys = ON")
        connection.select("BEGIN IMMEDIATE")

    await Probe(store.session).run(enforce)
    gate = Gate(store)
    held = await gate.close()
    calls = [
        asyncio.create_task(store.tasks.submit([new_task()], None)),
        asyncio.create_task(Probe(store.session).run(breaks_at_commit)),
    ]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(held, *calls, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [Unavailable] * 2
    assert await everything(store) == {stored.task_id}
    assert await store.tasks.counts(WS) == {"queued": 1}


async def test_past_its_limit_the_queue_refuses(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is refused is told when to come back; whoever was taken in is served."""
    monkeypatch.setattr(client_module, "QUEUE_LIMIT", 6)
    gate = Gate(store)
    held = await gate.close()
    calls = [asyncio.create_task(store.tasks.submit([new_task()], None)) for _ in range(9)]
    await asyncio.sleep(0)
    gate.open()
    results = await asyncio.gather(held, *calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(refused) == 4
    assert all(error.retry_after_s > 0 for error in refused)
    assert len(await everything(store)) == 5


async def test_closing_commits_what_waits_and_then_refuses(tmp_path: Path) -> None:
    """Nothing that was taken in is dropped; closing twice is harmless."""
    store = await opened(tmp_path)
    gate = Gate(store)
    held = await gate.close()
    news = [new_task() for _ in range(5)]
    calls = [asyncio.create_task(store.tasks.submit([new], None)) for new in news]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await store.tasks.submit([new_task()], None)
    gate.open()
    await asyncio.gather(held, closing, *calls)
    await store.close()
    store = await opened(tmp_path)
    assert await everything(store) == {new.id for new in news}
    await store.close()


async def test_a_caller_that_gives_up_harms_nobody(store: SqliteStore) -> None:
    """Its operation may still be stored; everybody else's is."""
    gate = Gate(store)
    held = await gate.close()
    impatient = asyncio.create_task(store.tasks.submit([new_task()], None))
    patient = asyncio.create_task(store.tasks.submit([new_task()], None))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(held, patient)
    assert (await patient)[0].task_id in await everything(store)


async def test_what_watches_commits_cannot_stop_them(tmp_path: Path) -> None:
    """A fault in the metrics is no reason to store nothing any more."""
    prepare(tmp_path)

    def broken(_size: int, _seconds: float) -> None:
        raise RuntimeError("metrics")

    store = SqliteStore(tmp_path, broken)
    await store.open()
    await store.tasks.submit([new_task()], None)
    await store.tasks.submit([new_task()], None)
    assert len(await everything(store)) == 2
    await store.close()


async def test_whoever_waits_can_be_told_to_give_up(store: SqliteStore) -> None:
    """At once; what was asked for may still be done, and the answer to it harms nobody."""
    gate = Gate(store)
    held = await gate.close()
    silence = Silence(0.01)
    writer = AnsweringWriter(store.writer, silence)
    waiting = asyncio.create_task(writer.call("SqlTasks", "submit", ([new_task()], None), {}))
    await asyncio.sleep(0)
    question: Future[None] = Future()
    question.set_running_or_notify_cancel()
    with pytest.raises(Unavailable, match="does not answer"):
        await silence.asked(question)
    with pytest.raises(Unavailable, match="whether this was stored is not known"):
        await waiting
    with pytest.raises(Unavailable, match="nothing was stored"):
        await writer.call("SqlTasks", "submit", ([new_task()], None), {})
    gate.open()
    with pytest.raises(Unavailable):
        await held
    question.set_result(None)
    await silence.asked(question)
    await writer.call("SqlTasks", "submit", ([new_task()], None), {})
    assert len(await everything(store)) == 2
