"""Removing what the work of a released attempt left behind, many attempts in one go."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

_log = structlog.get_logger(__name__)


class _Batch:
    __slots__ = ("directories", "is_done")

    def __init__(self) -> None:
        self.directories: list[Path] = []
        self.is_done = False


class Cleaning:
    """Empties working directories; what piles up meanwhile shares the next trip to a thread."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._batch = _Batch()

    async def clean(self, directory: Path) -> None:
        """Remove what an attempt made in its working directory, and its input."""
        batch = self._batch
        batch.directories.append(directory)
        async with self._lock:
            if batch.is_done:
                return
            self._batch = _Batch()
            await anyio.to_thread.run_sync(_clean_all, batch.directories)
            batch.is_done = True


def _clean_all(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            (directory / "stdin").unlink(missing_ok=True)
            _empty(directory / "work")


def _empty(work: Path) -> None:
    """Remove a working directory that was used; an empty one can serve the next attempt."""
    try:
        with os.scandir(work) as entries:
            if next(entries, None) is None:
                return
    except FileNotFoundError:
        return
    except OSError:
        _log.debug("working directory is closed", path=str(work))
    shutil.rmtree(work, onerror=_open_up)


def _open_up(function: Any, path: str, _error: object) -> None:
    """Let ``rmtree`` into a directory that the command has closed; give up on what resists."""
    with contextlib.suppress(OSError):
        Path(path).parent.chmod(0o700)
        Path(path).chmod(0o700)
        function(path)
