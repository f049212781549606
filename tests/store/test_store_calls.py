"""Calls to the store in a process of its own: what travels, and whom an error reaches."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.specs import NOW, WS, new_task
from fakes.stores import opened, prepare
from taskyard.core.errors import (
    IllegalTransition,
    InvalidInput,
    NotFound,
    Overloaded,
    StorageFull,
    StoreInUse,
    TaskyardError,
    Unavailable,
)
from taskyard.core.ids import TaskId
from taskyard.ports.store import TaskQuery
from taskyard.store.sql.tasks import SqlTasks
from taskyard.store.sql.writer import client as client_module
from taskyard.store.sql.writer import server as server_module
from taskyard.store.sql.writer.frames import Frames, framed
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open, empty store that writes in a process of its own."""
    prepare(tmp_path)
    store = SqliteStore(tmp_path, own_process=True)
    await store.open()
    yield store
    await store.close()


async def everything(store: SqliteStore) -> set[str]:
    """Ids of all tasks of the workspace."""
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, limit=10_000))
    return {task.id for task in page.tasks}


async def test_what_cannot_travel_fails_its_caller_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on its way there, nor on its way back, does it hold up anybody else's."""
    store = await opened(tmp_path)
    good, bad = new_task(), store.tasks.submit([lambda: None], None)  # type: ignore[list-item]
    calls = [store.tasks.submit([good], None), bad]
    fine, failed = await asyncio.gather(*calls, return_exceptions=True)
    assert not isinstance(fine, BaseException)
    assert isinstance(failed, TypeError | AttributeError | pickle.PicklingError)

    async def answer(_part: object) -> object:
        return lambda: None

    monkeypatch.setattr(SqlTasks, "unsendable", answer, raising=False)
    with pytest.raises(Unavailable, match="could not be sent"):
        await store.writer.call("SqlTasks", "unsendable", (), {})
    with pytest.raises(AttributeError):
        await store.writer.call("SqlTasks", "unheard_of", (), {})
    with pytest.raises(TypeError):
        await store.writer.call("SqlTasks", "submit", (), {})
    assert await everything(store) == {good.id}
    await store.close()


async def test_large_things_travel_whole(tmp_path: Path) -> None:
    """Far larger than what a socket takes at once."""
    store = await opened(tmp_path)
    long = "x" * (5 << 20)
    (stored,) = await store.tasks.submit([new_task(name=long)], None)
    assert (await store.tasks.task(WS, stored.task_id)).spec.name == long
    outcomes, changes = await store.tasks.cancel(WS, [stored.task_id], NOW, long)
    assert [one.task_id for one in outcomes] == [stored.task_id]
    assert len(changes) == 1
    await store.close()


async def test_too_many_calls_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time to come back, and the others are served."""
    monkeypatch.setattr(client_module, "QUEUE_LIMIT", 5)
    store = await opened(tmp_path)
    calls = [store.tasks.submit([new_task()], None) for _ in range(8)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in done if isinstance(one, Overloaded)]
    assert len(refused) == 3
    assert all(one.retry_after_s > 0 for one in refused)
    assert len(await everything(store)) == 5
    await store.close()


async def test_a_batch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much arrives at once, a commit takes only so much of it, and all shares commits."""
    monkeypatch.setattr(server_module, "BATCH_LIMIT", 10)
    sizes: list[int] = []
    store = await opened(tmp_path, lambda size, _seconds: sizes.append(size))
    await asyncio.gather(*(store.tasks.submit([new_task()], None) for _ in range(95)))
    assert max(sizes) == 10
    assert sum(sizes) == len(await everything(store)) == 95
    await store.close()


async def test_a_caller_that_gives_up_harms_nobody(tmp_path: Path) -> None:
    """Its answer arrives and is dropped."""
    store = await opened(tmp_path)
    calls = [asyncio.create_task(store.tasks.submit([new_task()], None)) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    with pytest.raises(NotFound):
        await store.tasks.reschedule(WS, TaskId("none"), NOW, NOW, "me")
    await store.close()


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("a.b", "is wrong"),
        NotFound("task", "x"),
        IllegalTransition("task", "queued", "start"),
        Overloaded("too much", 2.5),
        StoreInUse("here", {"pid": 3}),
        StorageFull(),
    ],
)
def test_errors_travel_with_all_they_hold(error: TaskyardError) -> None:
    """Whatever their constructors ask for."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled a moment ago
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 50), max_size=40))
def test_messages_arrive_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    """In order, each once."""
    stream = b"".join(framed(one) for one in messages)
    frames, arrived = Frames(), []
    for size in cuts:
        piece, stream = stream[:size], stream[size:]
        arrived += frames.feed(piece)
    arrived += frames.feed(stream)
    assert arrived == messages
