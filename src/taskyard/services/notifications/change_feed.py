"""Announces what all control planes of a database committed, as the change log has it.

One reader for each control plane. It is woken by commits of this one at once, and by messages of
the others, which say no more than that there is something to read: whether they are lost, doubled
or late, what is announced is what the log has, each commit once. Without any it looks twice a
second.

Who was cut off goes on where it was. If the log does not reach back so far, or its database was
away, everybody is told to look at what is stored (``Bus.missed``, ``CacheRefresh.all_outdated``),
and goes on from there.
"""

from collections.abc import Callable
from typing import Final

import anyio
import structlog
from anyio.lowlevel import checkpoint

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.ports.changes import ChangeLog, Counts, LoggedCommit, LogPosition, LogPruned
from taskyard.ports.clock import Clock
from taskyard.ports.messages import Messages
from taskyard.services.notifications.bus import Bus
from taskyard.services.notifications.cache_refresh import CacheRefresh

WAKE: Final = "changes"
"""The word under which control planes tell each other that there is something to read."""
LOOK_EVERY_S: Final = 0.5
PAUSE_S: Final = 0.002
"""Between two reads, so that many small commits are read together."""
TROUBLE_PAUSE_S: Final = 0.5
AT_ONCE: Final = 64
"""Commits of one read."""
PRUNE_EVERY_S: Final = 10.0
PRUNED_AT_ONCE: Final = 5_000

log = structlog.get_logger(__name__)


def _nobody(counts: Counts) -> None:
    """Nobody counts."""
    del counts


class ChangeFeed:
    """Feeds one control plane's bus and caches.

    Args:
        changes: the log.
        bus: announces to this process; has to be one that is fed.
        caches: what this process keeps in memory.
        clock: for pauses.
        messages: to and from the others; without, all of them look by themselves.
        counted: given how many tasks there are where the announcements begin.
    """

    def __init__(
        self,
        changes: ChangeLog,
        bus: Bus,
        caches: CacheRefresh,
        clock: Clock,
        messages: Messages | None = None,
        counted: Callable[[Counts], None] = _nobody,
    ) -> None:
        self._changes = changes
        self._bus = bus
        self._caches = caches
        self._clock = clock
        self._messages = messages
        self._counted = counted
        self._position: LogPosition | None = None
        self._wake = anyio.Event()
        self.number = 0
        """Of the latest commit that was announced; 0 before the first."""
        self.is_behind = False
        """Whether the database was away at the last look."""
        self._all_read_at = anyio.current_time()
        if messages is not None:
            messages.listen(WAKE, self._woken)

    async def start(self) -> None:
        """Begin at the present end of the log, before anything else is read from the store.

        Raises as the store does.
        """
        await self._begin()

    def committed(self) -> None:
        """This control plane has committed something: announce it, and tell the others."""
        self._wake.set()
        if self._messages is not None:
            self._messages.publish(WAKE, b"")

    @property
    def behind_s(self) -> float:
        """Seconds since all that was committed had been read; below one if all is well."""
        return anyio.current_time() - self._all_read_at

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            self._wake = anyio.Event()
            try:
                if self._position is None:
                    await self._begin()
                    # Whatever was read before may be older than where the announcements begin.
                    self._caches.all_outdated()
                    self._bus.missed()
                await self._read(self._position)
                self.is_behind, self._all_read_at = False, anyio.current_time()
            except LogPruned:
                log.warning("changes_missed")
                self._position = None
                await self._clock.sleep(TROUBLE_PAUSE_S)
                continue
            except (Unavailable, Overloaded) as error:
                if not self.is_behind:
                    log.warning("changes_not_read", reason=str(error))
                self.is_behind = True
                # Nobody knows what the database is when it is back.
                self._position = None
                await self._clock.sleep(TROUBLE_PAUSE_S)
                continue
            await self._clock.sleep(PAUSE_S)
            with anyio.move_on_after(LOOK_EVERY_S):
                await self._wake.wait()

    async def prune(self) -> None:
        """Remove old commits from the log, until cancelled; one control plane is enough."""
        while True:
            try:
                while await self._changes.prune(PRUNED_AT_ONCE) == PRUNED_AT_ONCE:
                    await self._clock.sleep(PAUSE_S)
            except (Unavailable, Overloaded) as error:
                log.warning("changes_not_pruned", reason=str(error))
            await self._clock.sleep(PRUNE_EVERY_S)

    async def _begin(self) -> None:
        self._position, counts = await self._changes.last()
        self._counted(counts)

    async def _read(self, position: LogPosition | None) -> None:
        while position is not None:
            page = await self._changes.after(position, AT_ONCE)
            for commit in page.commits:
                if not self._announce(commit):
                    raise LogPruned
            position = self._position = page.position
            if not page.is_full:
                return
            # So many at once: everybody else has a turn.
            await checkpoint()

    def _announce(self, commit: LoggedCommit) -> bool:
        """Announce one commit; False if it cannot be read."""
        self.number = commit.number
        if commit.committed is None:
            log.warning("commit_not_read", number=commit.number)
            return False
        for entry in commit.committed.outdated:
            self._caches.outdated(entry)
        if commit.committed.changes:
            self._bus.announce(commit.committed.changes)
        return True

    def _woken(self, payload: bytes) -> None:
        """Others have committed something. Whatever a message says, the log knows better."""
        del payload
        self._wake.set()
