"""The last outage of an engine, kept on disk, as an outage may be longer than a life of ours."""

from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio import to_thread
from msgspec import Struct

from taskyard.core.instants import Instant

_log = structlog.get_logger(__name__)

ABSENCE: Final = "outage.json"
EVER: Final = Instant(0)
"""When an outage began that was there before we were."""


class Outage(Struct, frozen=True):
    """A time without the engine."""

    lost_at: Instant
    back_at: Instant | None = None
    """None while it lasts."""


class OutageRecord:
    """Remembers the last outage, so that a later life knows what went down with the engine.

    Nobody fails for a record that cannot be written; it is only said.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / ABSENCE
        self._lock = anyio.Lock()
        self.last: Outage | None = None

    async def load(self) -> None:
        """Read what earlier lives remembered. Raises ``OSError``."""
        path = anyio.Path(self._path)
        if await path.exists():
            try:
                self.last = msgspec.json.decode(await path.read_bytes(), type=Outage)
            except msgspec.DecodeError:
                _log.warning("record of the engine's outage unreadable", path=str(self._path))

    async def begin(self, at: Instant) -> None:
        """The engine was lost; nothing happens if it was before."""
        if self.last is None or self.last.back_at is not None:
            await self._note(Outage(at))

    async def end(self, at: Instant) -> None:
        """The engine is back."""
        if self.last is not None and self.last.back_at is None:
            await self._note(Outage(self.last.lost_at, at))

    async def _note(self, outage: Outage) -> None:
        self.last = outage
        async with self._lock:
            try:
                await to_thread.run_sync(_replace, self._path, msgspec.json.encode(outage))
            except OSError as error:
                _log.warning("the engine's outage was not recorded", error=str(error))


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)
