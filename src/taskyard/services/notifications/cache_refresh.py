"""Has what is kept in memory read again when another control plane changed it.

Whoever keeps something says what has to be done when it is outdated: at once (:meth:`forgets`), or
by reading (:meth:`reads`), which happens one after another in the background. What is outdated
several times before it is read is read once, and what becomes outdated while it is read is read
again.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from taskyard.core.changes import Cached, Outdated
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.ports.clock import Clock

TROUBLE_PAUSE_S: Final = 0.5
PAUSE_S: Final = 0.02
"""After each reading: what many commits outdate is read once for all of them."""

Forget = Callable[[str | None], None]
"""Given the key that is outdated, or None for all of them. Returns quickly."""
Read = Callable[[str | None], Awaitable[None]]
"""The same; reads what is stored. Raises as the store does, and is called again then."""

log = structlog.get_logger(__name__)


class CacheRefresh:
    """What one control plane keeps in memory, and how it is brought up to date."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._forgets: dict[str, list[Forget]] = {}
        self._reads: dict[str, list[Read]] = {}
        self._pending: dict[tuple[str, str | None], None] = {}
        self._news = anyio.Event()

    def forgets(self, what: Cached, forget: Forget) -> None:
        """Call this at once when it is outdated."""
        self._forgets.setdefault(what.value, []).append(forget)

    def reads(self, what: Cached, read: Read) -> None:
        """Call this soon, in :meth:`run`, when it is outdated."""
        self._reads.setdefault(what.value, []).append(read)

    def outdated(self, entry: Outdated) -> None:
        """Something is outdated; what nobody here keeps does not matter. Never raises."""
        self._outdated(entry.what, entry.key)

    def changed(self, what: Cached, key: str | None = None) -> None:
        """As :meth:`outdated`, noticed here."""
        self._outdated(what.value, key)

    def all_outdated(self) -> None:
        """Nobody knows what is: everything. Never raises."""
        self._pending.clear()
        for what in dict.fromkeys((*self._forgets, *self._reads)):
            self._outdated(what, None)

    def _outdated(self, what: str, key: str | None) -> None:
        for forget in self._forgets.get(what, ()):
            try:
                forget(key)
            except Exception:
                log.exception("cache_not_forgotten", what=what, key=key)
        if what in self._reads:
            self._pending[what, key] = None
            self._news.set()

    async def run(self) -> None:
        """Read what is outdated, until cancelled."""
        while True:
            self._news = anyio.Event()
            while self._pending:
                # Taken out before it is read: what becomes outdated meanwhile is read again.
                what, key = next(iter(self._pending))
                del self._pending[what, key]
                try:
                    for read in self._reads[what]:
                        await read(key)
                except (Unavailable, Overloaded) as error:
                    self._pending[what, key] = None
                    log.warning("cache_not_read", what=what, reason=str(error))
                    await self._clock.sleep(TROUBLE_PAUSE_S)
                except Exception:
                    # A defect must not keep all others from being up to date.
                    log.exception("cache_not_read", what=what)
                await self._clock.sleep(PAUSE_S)
            await self._news.wait()
