"""Opening a data directory: who may, what is refused, and how the schema comes about."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest

from fakes.specs import NOW, WS, new_task
from fakes.stores import Probe, opened, prepare
from taskyard.core.errors import StoreDamaged, StoreInUse
from taskyard.core.instants import after
from taskyard.ports.store import TaskQuery
from taskyard.store.sql.connection import Connection
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.migrate import migrate

HOLDER = """
import asyncio, pathlib, sys
from taskyard.store.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    await store.open()
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


def schema(path: Path) -> list[tuple[str, ...]]:
    """Every table and index of ours."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master "
            "WHERE tbl_name <> 'schema_migrations' ORDER BY type, name"
        ).fetchall()
    connection.close()
    return rows


def test_a_directory_is_open_in_one_process_at_a_time(tmp_path: Path) -> None:
    """The second one is told who has it; the first one's death frees it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse) as caught:
            asyncio.run(opened(tmp_path))
        assert caught.value.owner == {"pid": holder.pid}
        assert str(holder.pid) in str(caught.value)
    finally:
        holder.kill()
        holder.communicate()

    async def again() -> None:
        await (await opened(tmp_path)).close()

    asyncio.run(again())


@pytest.mark.anyio
async def test_a_directory_can_be_opened_again_in_the_same_process(tmp_path: Path) -> None:
    """Twice at once no, one after the other yes."""
    store = await opened(tmp_path)
    with pytest.raises(StoreInUse) as caught:
        await opened(tmp_path)
    assert caught.value.owner == {"pid": os.getpid()}
    await store.close()
    await (await opened(tmp_path)).close()


@pytest.mark.anyio
async def test_an_unreadable_lock_file_does_not_matter(tmp_path: Path) -> None:
    """Whatever it says, the lock itself decides."""
    (tmp_path / "lock").write_bytes(b"\xff nonsense")
    store = await opened(tmp_path)
    assert json.loads((tmp_path / "lock").read_text()) == {"pid": os.getpid()}
    await store.close()


@pytest.mark.anyio
async def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """It says so, and lets go of the directory."""
    prepare(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("INSERT INTO schema_migrations (id) VALUES ('9999-future')")
    connection.close()
    before = schema(tmp_path / FILE_NAME)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="newer version"):
            await opened(tmp_path)
    assert schema(tmp_path / FILE_NAME) == before


@pytest.mark.parametrize("damage", ["text", "header", "schema", "middle"])
@pytest.mark.anyio
async def test_a_damaged_file_is_reported(tmp_path: Path, damage: str) -> None:
    """A clear error on opening or on the first use, never an answer made of rubbish."""
    store = await opened(tmp_path)
    await store.tasks.submit([new_task(metadata={"n": "x" * 500}) for _ in range(200)], None)
    await store.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"this is no database, but a letter to the editor\n" * 500)
    elif damage == "header":
        content[:100] = os.urandom(100)
    elif damage == "schema":
        content[100:4096] = os.urandom(3996)
    else:
        content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)

    async def use() -> None:
        store = await opened(tmp_path)
        try:
            await store.tasks.list_tasks(TaskQuery(workspace=WS))
            await store.tasks.submit([new_task()], None)
        finally:
            await store.close()

    for _ in range(2):
        with pytest.raises(StoreDamaged):
            await use()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    """The second time there is nothing to do."""
    path = tmp_path / FILE_NAME
    migrate(path)
    before = schema(path)
    migrate(path)
    assert schema(path) == before
    assert len(before) > 20


def test_the_schema_is_the_sum_of_the_migrations(tmp_path: Path) -> None:
    """Whatever release a file comes from, it ends up the same as a new one."""
    migrate(tmp_path / "new.sqlite3")
    connection = sqlite3.connect(tmp_path / "sum.sqlite3")
    folder = resources.files("taskyard.store.sqlite") / "migrations"
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    for script in scripts:
        connection.executescript(script.read_text())
    connection.close()
    assert schema(tmp_path / "new.sqlite3") == schema(tmp_path / "sum.sqlite3")
    assert [script.name[:4] for script in scripts] == [
        f"{number:04d}" for number in range(1, len(scripts) + 1)
    ]


@pytest.mark.anyio
async def test_every_connection_is_durable_and_gives_space_back(tmp_path: Path) -> None:
    """Write-ahead log, a full sync at each commit, vacuum by increments."""
    store = await opened(tmp_path)

    def settings(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "auto_vacuum")
        return [connection.select(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await Probe(store.session).run(settings) == ["wal", 2, 2]
    await store.close()


@pytest.mark.anyio
async def test_pruning_frees_disk(tmp_path: Path) -> None:
    """The file is smaller after retention has done its work and the store was closed."""
    store = await opened(tmp_path)
    news = [new_task(metadata={"text": "x" * 20_000}) for _ in range(400)]
    await store.tasks.submit(news, None)
    await store.tasks.cancel(WS, [new.id for new in news], NOW, "me")
    await store.close()
    path = tmp_path / FILE_NAME
    before = path.stat().st_size
    store = await opened(tmp_path)
    removed = 0
    while True:
        count, _ = await store.dispatch.prune(after(NOW, 60), after(NOW, 60), None, 100)
        if not count:
            break
        removed += count
    await store.close()
    assert removed == 400
    assert path.stat().st_size < before / 4


SUBMITTERS = """
import asyncio, os, pathlib, sys
from fakes.specs import new_task
from taskyard.store.sqlite.store import SqliteStore

async def main(life):
    store = SqliteStore(pathlib.Path(sys.argv[1]))
    await store.open()

    async def caller(name):
        number = 0
        while True:
            number += 1
            new = new_task(task_id=f"{life}-{name}-{number}", labels={"a": "b"})
            await store.tasks.submit([new], None)
            os.write(1, f"{new.id}\\n".encode())

    await asyncio.gather(*(caller(name) for name in range(8)))

# Forked from one process that has imported everything, so that twenty lives take seconds.
for life in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(main(life.strip()))
    os.write(1, f"pid {pid}\\n".encode())
    os.waitpid(pid, 0)
    os.write(1, b"gone\\n")
"""


async def everything(directory: Path) -> set[str]:
    """Ids of all tasks of a store that nobody has open; its counters agree."""
    store = await opened(directory)
    stored: set[str] = set()
    query = TaskQuery(workspace=WS, limit=500, oldest_first=True)
    while True:
        page = await store.tasks.list_tasks(query)
        stored |= {task.id for task in page.tasks}
        if page.next_seq is None:
            break
        query = TaskQuery(workspace=WS, limit=500, oldest_first=True, after_seq=page.next_seq)
    assert sum((await store.tasks.counts(WS)).values()) == len(stored)
    await store.close()
    return stored


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Twenty rounds of killing the writer at a random moment lose no acknowledged task."""
    acknowledged: set[str] = set()
    with subprocess.Popen(
        [sys.executable, "-c", SUBMITTERS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as spawner:
        assert spawner.stdin is not None
        assert spawner.stdout is not None
        for life in range(20):
            spawner.stdin.write(f"{life}\n".encode())
            spawner.stdin.flush()
            lines = [spawner.stdout.readline().decode().strip()]
            pid = int(lines.pop().removeprefix("pid "))
            lines.append(spawner.stdout.readline().decode().strip())
            time.sleep(random.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            while lines[-1] != "gone":
                lines.append(spawner.stdout.readline().decode().strip())
            acknowledged |= set(lines[:-1])
        spawner.stdin.close()
    assert len(acknowledged) > 100
    assert acknowledged <= asyncio.run(everything(tmp_path))


def test_a_copy_of_the_files_is_a_store(tmp_path: Path) -> None:
    """A backup taken of a closed store opens elsewhere."""

    async def run() -> None:
        store = await opened(tmp_path / "one")
        (stored,) = await store.tasks.submit([new_task()], None)
        await store.close()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        store = await opened(tmp_path / "two")
        assert (await store.tasks.task(WS, stored.task_id)).id == stored.task_id
        await store.close()

    asyncio.run(run())
