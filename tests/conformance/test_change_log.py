"""What a change log promises: every commit once, none late, and in the order they build up."""

import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import anyio.to_thread
import psycopg
import pytest
from log_reader import APPEND, Reader, connect, marked, opened

import taskyard.store.postgres.change_log as module
from eventually import eventually_async
from taskyard.ports.changes import LogPruned
from taskyard.store.postgres.change_log import PostgresChangeLog
from taskyard.store.postgres.store import PostgresStore

pytestmark = pytest.mark.anyio
DEADLINE_S = 30.0


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


@pytest.fixture
def other(reader: Reader, tmp_path: Path) -> "Iterator[psycopg.Connection[Any]]":
    """Another program's connection to the database; its transactions are the test's."""
    assert not reader.commits
    with closing(connect(tmp_path)) as connection:
        yield connection


async def test_a_number_that_shows_late_is_not_passed_over(
    reader: Reader, other: "psycopg.Connection[Any]", tmp_path: Path
) -> None:
    """A transaction took its number first, and commits last."""
    other.execute(APPEND, (marked("early"),))
    with closing(connect(tmp_path)) as quick:
        quick.execute(APPEND, (marked("late"),))
        quick.commit()
    await reader.read()
    assert reader.marks() == ["late"]
    other.commit()
    await reader.read()
    assert reader.marks() == ["late", "early"]
    await reader.read()
    assert len(reader.commits) == 2


async def test_a_long_transaction_holds_nobody_up(
    reader: Reader, other: "psycopg.Connection[Any]", tmp_path: Path
) -> None:
    """One of somebody else that wrote something, and stays open; its own row comes at its end."""
    other.execute("CREATE TABLE something (x int)")
    other.execute(APPEND, (marked("long"),))
    with closing(connect(tmp_path)) as quick:
        for number in range(10):
            quick.execute(APPEND, (marked(str(number)),))
            quick.commit()
            await reader.read()
            assert reader.marks()[-1] == str(number)
    other.commit()
    await reader.read()
    assert reader.marks() == [*map(str, range(10)), "long"]


async def test_what_was_rolled_back_is_never_shown(
    reader: Reader, other: "psycopg.Connection[Any]"
) -> None:
    """And leaves no gap that anybody waits for."""
    other.execute(APPEND, (marked("undone"),))
    await reader.read()
    other.rollback()
    other.execute(APPEND, (marked("done"),))
    other.commit()
    await reader.read()
    assert reader.marks() == ["done"]


async def test_readers_with_small_pages_read_the_same(
    store: PostgresStore, other: "psycopg.Connection[Any]"
) -> None:
    """Also if there is more between two pages of what one look shows."""
    position, _ = await store.changes.last()
    reader = Reader(store.changes, position, limit=3)
    for number in range(6):
        other.execute(APPEND, (marked(str(number)),))
        other.commit()
    first = await store.changes.after(position, 3)
    assert first.is_full
    other.execute(APPEND, (marked("6"),))
    other.commit()
    reader.position, reader.commits = first.position, list(first.commits)
    await reader.read()
    await reader.read()
    assert reader.marks() == [str(number) for number in range(7)]


@pytest.mark.parametrize("limit", [2, 1000])
async def test_nothing_is_skipped_or_doubled_while_many_write(
    store: PostgresStore, tmp_path: Path, limit: int
) -> None:
    """Transactions of different lengths, some rolled back, in many connections at once."""
    written: list[list[str]] = [[] for _ in range(6)]
    stop = threading.Event()

    def write(writer: int) -> None:
        dice = random.Random(writer)
        with closing(connect(tmp_path)) as connection:
            number = 0
            while not stop.is_set() and number < 150:
                number += 1
                key = f"{writer}:{number}"
                connection.execute("SELECT pg_current_xact_id()")
                stop.wait(dice.random() * 0.003)
                connection.execute(APPEND, (marked(key),))
                if dice.random() < 0.2:
                    stop.wait(dice.random() * 0.02)
                if dice.random() < 0.1:
                    connection.rollback()
                else:
                    connection.commit()
                    written[writer].append(key)

    position, _ = await store.changes.last()
    reader = Reader(store.changes, position, limit)
    with anyio.fail_after(DEADLINE_S):
        try:
            async with anyio.create_task_group() as tasks:
                running = len(written)

                async def run(writer: int) -> None:
                    nonlocal running
                    await anyio.to_thread.run_sync(write, writer)
                    running -= 1

                for writer in range(len(written)):
                    tasks.start_soon(run, writer)
                while running:
                    await reader.read()
        finally:
            stop.set()
    await reader.read()
    assert sum(map(len, written)) > 600
    assert sorted(reader.marks()) == sorted(key for keys in written for key in keys)
    for writer, keys in enumerate(written):
        assert [key for key in reader.marks() if key.startswith(f"{writer}:")] == keys


async def test_who_is_far_behind_is_told(
    store: PostgresStore, reader: Reader, other: "psycopg.Connection[Any]"
) -> None:
    """Instead of being shown what is left."""
    other.execute(APPEND, (marked("gone"),))
    other.commit()
    with patch.object(module, "KEPT_S", 0.0):
        assert await store.changes.prune(100) == 1
        with pytest.raises(LogPruned):
            await reader.read()
    position, _ = await store.changes.last()
    assert await Reader(store.changes, position).read() == []


async def test_only_old_commits_are_pruned(
    store: PostgresStore, reader: Reader, other: "psycopg.Connection[Any]"
) -> None:
    """A few at a time."""
    other.execute(APPEND, (marked("new"),))
    other.execute("UPDATE changes SET at = at - 3600000000")
    for number in range(5):
        other.execute(APPEND, (marked(str(number)),))
    other.execute("UPDATE changes SET at = at - 3600000000 WHERE position <= 4")
    other.commit()
    assert [await store.changes.prune(3), await store.changes.prune(3)] == [3, 1]
    assert await store.changes.prune(3) == 0
    await reader.read()
    assert reader.marks() == ["3", "4"]


async def test_what_cannot_be_read_is_told_of(
    reader: Reader, other: "psycopg.Connection[Any]"
) -> None:
    """As another release may write what this one does not know; what is behind it is read."""
    other.execute(APPEND, (b'{"changes":[{"kind":1}]}',))
    other.execute(APPEND, (b'{"outdated":[{"what":"test","key":"k"}],"more":1}',))
    other.commit()
    found = await reader.read()
    assert found[0].committed is None
    assert reader.marks() == ["k"]


async def test_reading_costs_what_is_new(
    store: PostgresStore, other: "psycopg.Connection[Any]", tmp_path: Path
) -> None:
    """However much is kept, also of a table that was never analyzed."""
    other.execute(
        "INSERT INTO changes (xid, at, data)"
        " SELECT '3'::xid8, 0, '{}' FROM generate_series(1, 60000)"
    )
    other.commit()
    other.execute("SELECT pg_current_xact_id()")  # runs meanwhile
    log = PostgresChangeLog(store.database)
    position, _ = await log.last()
    with closing(connect(tmp_path)) as quick:
        for _ in range(8):
            quick.execute(APPEND, (marked("new"),))
            quick.commit()
            page = await log.after(position, 64)
            assert len(page.commits) == 1
            position = page.position
    await log.close()  # tells what it read

    def walked() -> int:
        (count,) = other.execute(
            "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'changes'"
        ).fetchall()[0]
        (more,) = other.execute(
            "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = 'changes'"
        ).fetchall()[0]
        other.rollback()
        return int(count) + int(more)

    assert await eventually_async(walked) < 1000
