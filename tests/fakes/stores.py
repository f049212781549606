"""Real stores for tests, opened quickly: the schema is made once and copied."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from taskyard.store.sqlite.database import FILE_NAME, migrate
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


async def opened(directory: Path) -> SqliteStore:
    """An open store in this directory; a fresh one unless there is one."""
    prepare(directory)
    store = SqliteStore(directory)
    await store.open()
    return store


def remove(directory: Path) -> None:
    """Delete what :func:`prepare` and a store left."""
    shutil.rmtree(directory, ignore_errors=True)
