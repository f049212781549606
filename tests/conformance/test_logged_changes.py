"""What a store on PostgreSQL logs: all changes that it answers, and what it outdates."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from dispatching import TOKEN, W1, placement
from log_reader import Reader, opened

from fakes.specs import NOW, WS, new_task
from taskyard.core.access.principals import AuditEntry, Role, Token, User
from taskyard.core.attempts import Ended, Progress, Report, Started
from taskyard.core.changes import Cached, Change, Outdated
from taskyard.core.errors import IllegalTransition, NotFound
from taskyard.core.ids import AttemptId, GroupName, TaskId
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, TaskState
from taskyard.store.postgres.store import PostgresStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PostgresStore]:
    """An empty store that several may write to."""
    async with opened(tmp_path) as one:
        yield one


@pytest.fixture
async def reader(store: PostgresStore) -> Reader:
    """Reads its log."""
    position, _ = await store.changes.last()
    return Reader(store.changes, position)


async def test_every_answered_change_is_in_the_log_once(
    store: PostgresStore, reader: Reader
) -> None:
    """Whatever the methods of the store answer with, in that order."""
    answered: list[Change] = []
    await store.dispatch.join(W1)
    placed, waiting, later = new_task(), new_task(), new_task(start_at=after(NOW, 5))
    one = await store.tasks.submit_placed(placed, "me", placement(placed.id, 0))
    assert one.attempt is not None
    answered.append(one.change(placed))
    more = await store.tasks.submit([waiting, later], "me")
    answered += [two.change(new) for new, two in zip([waiting, later], more, strict=True)]
    answered += await store.tasks.set_priority(WS, waiting.id, 7, NOW, "me")
    attempts, changes = await store.dispatch.place(
        [placement(waiting.id, more[0].seq, "b")], after(NOW, 1)
    )
    assert [attempt.task.id for attempt in attempts] == [waiting.id]
    answered += changes
    reports: list[Report] = [
        Started(AttemptId("a"), TOKEN, after(NOW, 1), {}),
        Progress(AttemptId("a"), TOKEN, after(NOW, 2), 0.5, "half"),
        Ended(AttemptId("a"), TOKEN, after(NOW, 3), AttemptState.FAILED, exit_code=1),
    ]
    for report in reports:
        changes, _ = await store.dispatch.apply([report], after(NOW, 3), [0.5])
        answered += changes
    answered += (await store.tasks.cancel(WS, [waiting.id], after(NOW, 4), "me"))[1]
    answered += await store.tasks.reschedule(WS, later.id, after(NOW, 6), after(NOW, 4), "me")
    answered += await store.dispatch.due(after(NOW, 7), 10)
    answered += (await store.tasks.cancel(WS, [later.id], after(NOW, 8), "me"))[1]
    answered += await store.dispatch.lose(W1.id, W1.incarnation, after(NOW, 9))
    answered += (await store.tasks.delete(WS, [placed.id], after(NOW, 9)))[1]
    found = await reader.changes()
    assert [change for change in found if change.kind != "assigned" or change.seq != 1] == answered
    assert [change.kind for change in found if change.seq == one.seq][:2] == [
        "submitted",
        "assigned",
    ]
    assert {change.kind for change in found} >= {"progress", "deleted", "rescheduled", "due"}


async def test_what_failed_is_not_in_the_log(store: PostgresStore, reader: Reader) -> None:
    """Neither an operation of its own, nor what it had announced before it failed."""
    first, second = new_task(), new_task()
    await store.tasks.submit([first, second], None)
    await store.tasks.cancel(WS, [first.id], NOW, "me")
    await reader.read()
    with pytest.raises(IllegalTransition):
        await store.tasks.delete(WS, [first.id, second.id], NOW)
    assert await reader.changes() == []
    assert await store.tasks.cancel(WS, [TaskId("none")], NOW, "me")
    assert await reader.read() == []


async def test_a_change_comes_after_what_it_builds_on(
    store: PostgresStore, reader: Reader, tmp_path: Path
) -> None:
    """Two stores in turns at the same tasks: every step is read behind the one before it."""
    tasks = [new_task(priority=0) for _ in range(8)]
    await store.tasks.submit(tasks, None)
    await reader.read()
    async with opened(tmp_path) as second:
        done = 0

        async def work(one: PostgresStore) -> None:
            nonlocal done
            for priority in range(1, 21):
                for task in tasks:
                    await one.tasks.set_priority(WS, task.id, priority, NOW, "me")
            done += 1

        async with anyio.create_task_group() as group:
            group.start_soon(work, store)
            group.start_soon(work, second)
            while done < 2:
                await reader.read()
    await reader.read()
    last = {
        change.task_id: change.ready.priority
        for one in reader.commits
        if one.committed is not None
        for change in one.committed.changes
        if change.ready is not None
    }
    for task in tasks:
        assert last[task.id] == (await store.tasks.task(WS, task.id)).spec.priority


async def test_counts_belong_to_the_position(store: PostgresStore, tmp_path: Path) -> None:
    """Counting on from there with what is read gives what there is, whoever writes meanwhile."""
    async with opened(tmp_path) as second:
        done = False

        async def write() -> None:
            nonlocal done
            for _ in range(60):
                await second.tasks.submit([new_task()], None)
            done = True

        sums = set()
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            starts = []
            while not done:
                position, counts = await store.changes.last()
                starts.append((Reader(store.changes, position), counts))
        for reader, counts in starts[:: max(1, len(starts) // 20)]:
            news = await reader.changes()
            sums.add(counts.get((WS, TaskState.QUEUED), 0) + len(news))
    assert sums == {60}


async def test_what_is_kept_in_memory_is_named_when_it_changes(
    store: PostgresStore, reader: Reader
) -> None:
    """Once for each commit; not what was refused."""

    async def outdated() -> list[Outdated]:
        found = [one.committed.outdated for one in await reader.read() if one.committed is not None]
        return [entry for some in found for entry in some]

    entry = AuditEntry(0, NOW, "me", WS, "test")
    token = Token("t1", "ci", WS, Role.WRITE, NOW)
    await store.access.add_token(token, b"d" * 32, entry)
    assert await outdated() == []
    await store.access.revoke_token(WS, "t1", NOW, entry)
    assert await outdated() == [Outdated(Cached.TOKEN, "t1")]
    await store.access.add_user(User("ann", WS, Role.READ, NOW), "hash", entry)
    await store.access.set_password(WS, "ann", "other", entry)
    await store.access.remove_user(WS, "ann", entry)
    with pytest.raises(NotFound):
        await store.access.remove_user(WS, "ann", entry)
    assert await outdated() == [Outdated(Cached.USER, "ann")] * 2
    await store.groups.set_group(WS, GroupName("g"), paused=True)
    await store.groups.set_workspace_limit(WS, 3)
    assert await outdated() == [Outdated(Cached.LIMITS)] * 2
    await store.maintenance.put(is_on=True, now=NOW)
    assert await outdated() == [Outdated(Cached.MAINTENANCE)]
    await store.dispatch.join(W1)
    await store.dispatch.set_draining(W1.id, draining=True)
    assert await outdated() == [Outdated(Cached.WORKERS)]
