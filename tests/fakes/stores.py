"""Real stores for tests, opened quickly: the schema is made once and copied."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fakes.memory import MemoryStore
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.migrating import migrate
from taskyard.store.sqlite.process.client import StoreProcess
from taskyard.store.sqlite.process.serving import Serving
from taskyard.store.sqlite.store import SqliteStore

FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - used for mkdtemp only
"""Where a real file costs no real disk, for tests that make many or large ones."""


@cache
def _schema() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE_NAME
        migrate(path)
        return path.read_bytes()


def prepare(directory: Path) -> None:
    """Make a data directory with an empty store of the present schema, unless it has one."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / FILE_NAME).exists():
        (directory / FILE_NAME).write_bytes(_schema())


SQLITE = ["sqlite", "sqlite apart"]
"""The ways in which the embedded store can be open: its writer on a thread, or apart behind a
socket as in a process of its own."""
STORES = [*SQLITE, "memory"]


async def opened(directory: Path) -> SqliteStore:
    """An open store in this directory; a fresh one unless there is one."""
    store: SqliteStore = await opened_as(SQLITE[0], directory)
    return store


async def opened_as(kind: str, directory: Path) -> Any:
    """An open store of one of the kinds in :data:`STORES`."""
    if kind == "memory":
        return MemoryStore()
    prepare(directory)
    store = SqliteStore(directory) if kind == SQLITE[0] else apart(directory)
    await store.open()
    return store


def apart(
    directory: Path, on_commit: Callable[[int, float], None] = lambda _size, _seconds: None
) -> SqliteStore:
    """A store that talks to its writer over a socket, as to one in a process of its own."""
    store = SqliteStore(directory, on_commit)
    store.process = store.session.elsewhere = _Served(directory / FILE_NAME, on_commit)
    return store


class _Served(StoreProcess):
    """Everything of a store process but the process: what it would do is done on a thread."""

    def _spawn(self, theirs: socket.socket) -> Any:
        return _Thread(self._path, theirs.dup())


def threads_for_processes() -> AbstractContextManager[object]:
    """Stores opened meanwhile that want a process of their own are like :func:`apart`."""
    return patch.object(StoreProcess, "_spawn", _Served._spawn)


class _Thread:
    """Can be waited for as a process can."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.pid = 0
        self._path = path
        self._sock = sock
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._sock:
            Serving(self._path, self._sock).run()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()
        return 0


def remove(directory: Path) -> None:
    """Delete what :func:`prepare` and a store left."""
    shutil.rmtree(directory, ignore_errors=True)
