"""Sweeping bundles of source that no version is made of.

A deploy puts its bundle on disk before its version is stored. When the second fails, or the
process ends in between, the bundle is left behind; and so are those of versions that are gone.
"""

from typing import Final

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.ports.clock import Clock
from taskyard.ports.functions import BundleStore, FunctionStore

EVERY_S: Final = 3600.0

log = structlog.get_logger(__name__)


class BundleSweep:
    """Removes, now and then, what nothing needs."""

    def __init__(self, store: FunctionStore, bundles: BundleStore, clock: Clock) -> None:
        self._store = store
        self._bundles = bundles
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except (Unavailable, Overloaded, OSError) as error:
                log.warning("bundles_not_swept", reason=str(error))
            await self._clock.sleep(EVERY_S)

    async def once(self) -> None:
        """Remove bundles of no version. Young ones stay: theirs may be about to be stored."""
        await self._bundles.keep_only(await self._store.bundles())
