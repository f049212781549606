"""The store on PostgreSQL as a whole: processes, connections and servers that go away."""

import os
import signal
import urllib.parse
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import anyio
import pytest

import postgres
from eventually import eventually, eventually_async
from fakes.specs import WS, new_task
from fakes.stores import postgres_url
from taskyard.core.errors import StorageFull, TaskyardError, Unavailable
from taskyard.core.tasks import NewTask
from taskyard.ports.store import TaskQuery
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.store import PostgresStore

pytestmark = pytest.mark.anyio
CALLERS = 20
ROUNDS = 10


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
def name(tmp_path: Path) -> str:
    """The database of this test."""
    return urllib.parse.urlsplit(postgres_url(tmp_path)).path.removeprefix("/")


@pytest.fixture
async def store(name: str) -> AsyncIterator[PostgresStore]:
    """An open, empty store that writes in a process of its own, and needs a password."""
    store = PostgresStore(
        database_address(postgres.server().loopback_url(name, password=None), postgres.PASSWORD),
        own_process=True,
        name="taskyard under test",
    )
    await store.open()
    yield store
    await store.close()


async def everything(store: PostgresStore) -> set[str]:
    """Ids of all tasks of the workspace."""
    page = await store.tasks.list_tasks(TaskQuery(workspace=WS, limit=10_000))
    return {task.id for task in page.tasks}


def connections(name: str) -> list[tuple[object, object]]:
    """Process and program of each connection to a database."""
    rows = postgres.server().run("SELECT datname, pid, application_name FROM pg_stat_activity")
    return [(pid, program) for database, pid, program in rows if database == name]


def cut(name: str) -> None:
    """End all connections to a database from the other side."""
    for pid, _ in connections(name):
        postgres.server().run(f"SELECT pg_terminate_backend({pid}, 5000)")


async def has_worked(call: Awaitable[object]) -> bool:
    """Whether the database could be reached."""
    try:
        await call
    except Unavailable:
        return False
    return True


def seen(pid: int | None, what: str) -> bytes:
    """What everybody may read of a process."""
    return Path(f"/proc/{pid}/{what}").read_bytes()


async def submitted(store: PostgresStore, acknowledged: set[str], unknown: set[str]) -> None:
    """Submit tasks one after the other; notes what became of each."""
    for _ in range(ROUNDS):
        new: NewTask = new_task()
        try:
            await store.tasks.submit([new], None)
        except Unavailable:
            unknown.add(new.id)
        else:
            acknowledged.add(new.id)


async def test_nothing_acknowledged_is_lost_while_connections_end(
    store: PostgresStore, name: str
) -> None:
    """Batches whose connection was lost before their commit are stored over another one."""
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(submitted, store, acknowledged, unknown)
        for _ in range(5):
            await anyio.to_thread.run_sync(cut, name)
            assert await everything(store) is not None
    stored = await everything(store)
    assert acknowledged <= stored
    assert stored <= acknowledged | unknown
    assert len(acknowledged | unknown) == CALLERS * ROUNDS
    await store.tasks.submit([new_task()], None)


async def test_an_idle_connection_that_ended_is_not_noticed(
    store: PostgresStore, name: str
) -> None:
    """Reads and writes go on over another one."""
    for _ in range(3):
        await store.tasks.submit([new_task()], None)
        before = await everything(store)
        cut(name)
        await store.tasks.submit([new_task()], None)
        cut(name)
        assert len(await everything(store)) == len(before) + 1


async def test_a_database_that_is_away_is_told_and_comes_back(
    store: PostgresStore, name: str
) -> None:
    """Without anybody doing anything about the store."""
    server = postgres.server()
    await store.tasks.submit([new_task()], None)
    server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    cut(name)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await store.tasks.submit([new_task()], None)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await everything(store)
    server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await eventually_async(lambda: has_worked(store.tasks.submit([new_task()], None)))
    await eventually_async(lambda: has_worked(everything(store)))
    assert len(await everything(store)) == 2


async def test_a_killed_process_is_replaced(store: PostgresStore) -> None:
    """What it held is let go: its transaction is not committed, and blocks nobody for long."""
    pid = store.writer.pid
    assert pid is not None
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(submitted, store, acknowledged, unknown)
        await anyio.lowlevel.checkpoint()
        os.kill(pid, signal.SIGKILL)
    assert store.writer.pid != pid
    stored = await everything(store)
    assert acknowledged <= stored <= acknowledged | unknown


async def test_the_password_is_not_to_be_seen(store: PostgresStore, name: str) -> None:
    """Neither among the arguments nor in the environment of the process that writes."""
    await everything(store)
    for what in ("cmdline", "environ"):
        text = seen(store.writer.pid, what)
        assert postgres.PASSWORD.encode() not in text
        assert name.encode() not in text
    assert {program for _, program in connections(name)} == {"taskyard under test"}


async def test_a_store_is_closed_twice_and_leaves_no_connection(
    store: PostgresStore, name: str
) -> None:
    """Nor a process."""
    await everything(store)
    pid = store.writer.pid
    await store.close()
    await store.close()
    eventually(lambda: not connections(name))
    with pytest.raises(FileNotFoundError):
        seen(pid, "cmdline")
    with pytest.raises(Unavailable):
        await store.tasks.submit([new_task()], None)


async def test_a_disk_that_is_full_is_told(store: PostgresStore, name: str) -> None:
    """What frees space is the server's matter; nothing is stored by halves."""
    postgres.server().run(
        """
        CREATE FUNCTION taskyard.full() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER "full" BEFORE INSERT ON taskyard.events FOR EACH STATEMENT
            EXECUTE FUNCTION taskyard.full();
        """,
        name,
    )
    with pytest.raises(StorageFull, match="disk is full"):
        await store.tasks.submit([new_task()], None)
    postgres.server().run('DROP TRIGGER "full" ON taskyard.events', name)
    assert await everything(store) == set()
    await store.tasks.submit([new_task()], None)


async def test_a_database_that_cannot_be_opened_leaves_nothing_open(name: str) -> None:
    """And says why."""
    wrong = PostgresStore(database_address(postgres.server().loopback_url(name, password="no")))
    with pytest.raises(TaskyardError, match="check the user and the password"):
        await wrong.open()
    await wrong.close()
    away: Any = PostgresStore(database_address("postgresql://u@127.0.0.1:1/d"))
    with pytest.raises(Unavailable, match="cannot be reached"):
        await away.open()
    await away.close()
