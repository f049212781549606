"""Answers of functions that are too large for the store: one file in the attempt's directory."""

import os
import secrets
from pathlib import Path
from typing import Final

from anyio import to_thread

from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId

RESULT_NAME: Final = "result"


class ResultFiles:
    """Implements ``ports.functions.ResultFiles``. They go with their attempt's directory."""

    def __init__(self, root: Path) -> None:
        """``root`` is where attempts have their directories."""
        self._root = root

    async def write(self, attempt_id: AttemptId, body: bytes) -> None:
        """See the port."""
        await to_thread.run_sync(_write, self._root / attempt_id / RESULT_NAME, body)

    async def read(self, attempt_id: AttemptId) -> bytes:
        """See the port."""
        path = self._root / attempt_id / RESULT_NAME
        try:
            return await to_thread.run_sync(path.read_bytes)
        except FileNotFoundError:
            raise NotFound("result", attempt_id) from None


def has_result(directory: Path) -> bool:
    """Whether an attempt's directory holds a result."""
    return (directory / RESULT_NAME).exists()


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    beside = path.with_name(f".{RESULT_NAME}.{secrets.token_hex(8)}")
    with beside.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
