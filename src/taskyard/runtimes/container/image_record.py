"""Which images this worker pulled and when it last used them, and removing the unused ones."""

from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio import to_thread

from taskyard.core.instants import Instant
from taskyard.ports.clock import Clock
from taskyard.runtimes.engine.client import EngineClient, image_path
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.settings import PrunePolicy

_log = structlog.get_logger(__name__)

RECORD: Final = "images.json"
_EVERY_S: Final = 3600.0
_MOST: Final = 50
"""Images removed in one go; the next go takes more."""


class ImageRecord:
    """Remembers pulls; only what was pulled by this worker is ever removed."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._path = directory / RECORD
        self._clock = clock
        self._used: dict[str, Instant] = {}
        self._lock = anyio.Lock()

    async def load(self) -> None:
        """Read what earlier lives remembered. Raises ``OSError``."""
        path = anyio.Path(self._path)
        if await path.exists():
            try:
                self._used = msgspec.json.decode(await path.read_bytes(), type=dict[str, Instant])
            except msgspec.DecodeError:
                # Nothing is removed that is not remembered: the safe side.
                _log.warning("record of pulled images unreadable", path=str(self._path))

    async def used(self, image: str, *, pulled: bool) -> None:
        """Note a use. Only pulls are worth a write; times of use are written with the next one."""
        if not pulled and image not in self._used:
            return
        self._used[image] = self._clock.now()
        if pulled:
            await self._save()

    async def _save(self) -> None:
        content = msgspec.json.encode(self._used)
        async with self._lock:
            try:
                await to_thread.run_sync(_replace, self._path, content)
            except OSError as error:
                _log.warning("record of pulled images not written", error=str(error))

    async def prune_for_ever(self, engine: EngineClient, policy: PrunePolicy) -> None:
        """Remove what the policy lets go, every hour; returns at once if that is nothing."""
        if policy.unused_s is None and policy.cache_bytes is None:
            return
        while True:
            await anyio.sleep(_EVERY_S)
            try:
                await self.prune(engine, policy)
            except (EngineUnreachable, EngineRefused) as error:
                _log.info("images not pruned", why=str(error))

    async def prune(self, engine: EngineClient, policy: PrunePolicy) -> list[str]:
        """Remove what the policy lets go now; the names of the images.

        An image that any container uses stays. Raises ``EngineUnreachable``, ``EngineRefused``.
        """
        now = self._clock.now()
        sizes: dict[str, int] = {}
        for image in list(self._used):
            try:
                found = await engine.call("GET", f"{image_path(image)}/json")
            except EngineRefused as error:
                if error.status == 404:
                    del self._used[image]
                continue
            sizes[image] = int((found or {}).get("Size") or 0)
        total = sum(sizes.values())
        removed: list[str] = []
        for image in sorted(sizes, key=lambda one: self._used[one]):
            idle_s = (now - self._used[image]) / 1_000_000
            is_old = policy.unused_s is not None and idle_s > policy.unused_s
            is_much = policy.cache_bytes is not None and total > policy.cache_bytes
            if len(removed) == _MOST or not (is_old or is_much):
                continue
            try:
                await engine.call("DELETE", image_path(image))
            except EngineRefused as error:
                _log.debug("image stays", image=image, why=str(error))
                continue
            total -= sizes[image]
            self._used.pop(image, None)
            removed.append(image)
            _log.info("image removed", image=image)
        await self._save()
        return removed


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)
