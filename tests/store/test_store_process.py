"""The writer in a process of its own: what travels, and what happens when one of the two dies."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import zoneinfo
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import taskyard
from fakes.specs import WS, new_task
from fakes.stores import opened, prepare
from taskyard.core.errors import (
    StoreInUse,
    Unavailable,
)
from taskyard.core.tasks import NewTask
from taskyard.ports.store import TaskQuery
from taskyard.store.sql.writer import client as client_module
from taskyard.store.sql.writer.client import WriterClient
from taskyard.store.sql.writer.frames import fingerprint
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


def process_of(store: SqliteStore) -> int:
    """The process that writes."""
    assert store.writer.pid is not None
    return store.writer.pid


async def test_a_killed_process_is_replaced_and_nothing_acknowledged_is_lost(
    store: SqliteStore,
) -> None:
    """Whoever was waiting hears that nobody knows; whoever comes later is served."""
    acknowledged: set[str] = set()
    unknown: set[str] = set()

    async def submit(new: NewTask) -> None:
        try:
            await store.tasks.submit([new], None)
        except Unavailable:
            unknown.add(new.id)
        else:
            acknowledged.add(new.id)

    first = new_task()
    await submit(first)
    killed = process_of(store)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(400):
                tasks.start_soon(submit, new_task())
                if number == 200:
                    # With calls on their way, and others not sent yet.
                    await anyio.lowlevel.checkpoint()
                    os.kill(killed, signal.SIGKILL)
        last = new_task()
        while last.id not in acknowledged:
            await submit(last)
    assert process_of(store) != killed
    there = await everything(store)
    assert acknowledged <= there
    assert there <= acknowledged | unknown


async def test_a_process_that_cannot_be_replaced_at_once_is_tried_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called for meanwhile waits."""
    await store.tasks.submit([new_task()], None)
    spawn, failures = WriterClient._spawn, [OSError("no more processes")] * 2

    def sometimes(process: WriterClient, *args: Any) -> Any:
        if failures:
            raise failures.pop()
        return spawn(process, *args)

    monkeypatch.setattr(client_module, "_PAUSE_MAX_S", 0.01)
    monkeypatch.setattr(WriterClient, "_spawn", sometimes)
    os.kill(process_of(store), signal.SIGKILL)
    new = new_task()
    with anyio.fail_after(30):
        while new.id not in await everything(store):
            try:
                await store.tasks.submit([new], None)
            except Unavailable:
                continue
    assert not failures


async def test_closing_while_there_is_no_process_leaves_nobody_waiting(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has called meanwhile hears that the store is closed."""
    await store.tasks.submit([new_task()], None)

    def never(_process: WriterClient, *_args: Any) -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(WriterClient, "_spawn", never)
    os.kill(process_of(store), signal.SIGKILL)
    with anyio.fail_after(30):
        with pytest.raises(Unavailable, match="not known"):
            await store.tasks.submit([new_task()], None)
        call = asyncio.create_task(store.tasks.submit([new_task()], None))
        await asyncio.sleep(0.05)
        assert not call.done()
        await store.close()
        with pytest.raises(Unavailable, match="closed"):
            await call


async def test_signals_meant_for_the_server_do_not_end_it(store: SqliteStore) -> None:
    """The last writes come after them."""
    await store.tasks.submit([new_task()], None)
    pid = process_of(store)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    await store.tasks.submit([new_task()], None)
    assert process_of(store) == pid
    assert len(await everything(store)) == 2


async def test_it_gets_no_more_than_it_needs(store: SqliteStore, tmp_path: Path) -> None:
    """No environment of the server's, no descriptors but the socket, the lock and the store."""
    await store.tasks.submit([new_task()], None)
    proc = Path(f"/proc/{process_of(store)}")
    names = {line.partition(b"=")[0] for line in (proc / "environ").read_bytes().split(b"\0")}
    assert names - {b""} == {b"LANG", b"PATH", b"PYTHONPATH", b"PYTHONTZPATH"}
    targets = {
        one.name: os.readlink(one)  # noqa: PTH115 - not of a file that has to exist
        for one in (proc / "fd").iterdir()
        if int(one.name) > 2
    }
    sockets = [one for one in targets.values() if one.startswith("socket:")]
    others = {one for one in targets.values() if not one.startswith("socket:")}
    assert len(sockets) == 1
    assert all(one.startswith(str(tmp_path)) for one in others), others


@pytest.mark.parametrize("at_start", [True, False])
async def test_one_that_dies_as_it_starts_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_start: bool
) -> None:
    """Several times in a row, at the first start or later; nobody has to look after it."""
    prepare(tmp_path)
    real, spawned = WriterClient._spawn, 0

    def spawn(self: WriterClient, theirs: socket.socket) -> Any:
        nonlocal spawned
        spawned += 1
        if spawned == 1 and not at_start:
            return real(self, theirs)
        if spawned == 4:
            raise RuntimeError("no thread left")
        if spawned < 6:
            return subprocess.Popen(["false"], pass_fds=(theirs.fileno(),))
        return real(self, theirs)

    monkeypatch.setattr(WriterClient, "_spawn", spawn)
    store = SqliteStore(tmp_path, own_process=True)
    await store.open()
    try:
        if not at_start:
            os.kill(process_of(store), signal.SIGKILL)
        with anyio.fail_after(30):
            while spawned < 6:
                with contextlib.suppress(Unavailable):
                    await store.tasks.submit([new_task()], None)
        await store.tasks.submit([new_task()], None)
    finally:
        await store.close()


async def test_one_of_another_program_is_refused(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records may look otherwise; callers are told what to do, and nobody waits forever."""
    program = store.writer._program
    monkeypatch.setattr(store.writer, "_program", "another one")
    os.kill(process_of(store), signal.SIGKILL)
    told = ""
    with anyio.fail_after(30):
        while "restart the server" not in told:
            try:
                await store.tasks.submit([new_task()], None)
            except Unavailable as error:
                told = str(error)
    monkeypatch.setattr(store.writer, "_program", program)
    with anyio.fail_after(30):
        while told:
            try:
                await store.tasks.submit([new_task()], None)
                told = ""
            except Unavailable:
                await anyio.sleep(0.01)


def test_a_program_is_told_by_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change of a record's source counts; the same sources are the same program."""
    (tmp_path / "core").mkdir()
    source = tmp_path / "core" / "tasks.py"
    source.write_text("a = 1\n")
    monkeypatch.setattr(taskyard, "__file__", str(tmp_path / "__init__.py"))
    before = fingerprint()
    assert fingerprint() == before
    source.write_text("a = 12\n")
    assert fingerprint() != before


async def test_it_knows_the_time_zones_of_the_server(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A rule that was accepted here fires there, wherever the zones were found."""
    zones = tmp_path / "zones"
    request.addfinalizer(partial(zoneinfo.reset_tzpath, zoneinfo.TZPATH))
    zoneinfo.reset_tzpath([str(zones), *zoneinfo.TZPATH])
    store = SqliteStore(tmp_path, own_process=True)
    await store.open()
    await store.tasks.submit([new_task()], None)  # it has begun: what it was given can be seen
    proc = Path(f"/proc/{process_of(store)}")
    environment = (proc / "environ").read_bytes().split(b"\0")
    await store.close()
    path = os.pathsep.join(zoneinfo.TZPATH)
    assert path.startswith(str(zones))
    assert f"PYTHONTZPATH={path}".encode() in environment


async def test_closing_commits_what_was_called_for(tmp_path: Path) -> None:
    """Then nobody is served, and the process is gone."""
    prepare(tmp_path)
    store = SqliteStore(tmp_path, own_process=True)
    await store.open()
    pid = process_of(store)
    calls = [asyncio.create_task(store.tasks.submit([new_task()], None)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*calls)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable):
        await store.tasks.submit([new_task()], None)
    await store.close()
    again = await opened(tmp_path)
    assert len(await everything(again)) == 50
    await again.close()


_SERVER = """
import asyncio, pathlib, sys
from fakes.specs import new_task
from taskyard.store.sqlite.store import SqliteStore
from taskyard.store.sql.tasks import SqlTasks

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]), own_process=True)
    await store.open()
    async def submit():
        while True:
            new = new_task(task_id=None)
            await store.tasks.submit([new], None)
            print(new.id, flush=True)
    await asyncio.gather(*(submit() for _ in range(8)))

asyncio.run(main())
"""


def _started(directory: Path) -> subprocess.Popen[str]:
    """A server that is nothing but a store, and tells what was acknowledged."""
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
    )


async def test_a_killed_server_leaves_the_store_to_the_next_one(tmp_path: Path) -> None:
    """Its store process ends by itself; until then the next one waits, and misses nothing."""
    prepare(tmp_path)
    process = _started(tmp_path)
    try:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(100)]
        with pytest.raises(StoreInUse):
            await opened(tmp_path)
    finally:
        process.kill()
        rest = process.communicate()[0]
    acknowledged = {line for line in [*told, *rest.splitlines(keepends=True)] if line[-1:] == "\n"}
    store = await opened(tmp_path)
    assert {line.strip() for line in acknowledged} <= await everything(store)
    await store.close()
