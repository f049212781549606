"""Announces what all control planes of a database committed, as the change log has it.

One reader for each control plane. It is woken by commits of this one at once, and by messages of
the others, which say no more than that there is something to read: whether they are lost, doubled
or late, what is announced is what the log has, each commit once. Without any it looks twice a
second.

While there is always something to read, it reads more at once, after longer pauses: short ones
where somebody waits for news, or this control plane leads. Messages are sent in the same way.

Who was cut off goes on where it was. If the log does not reach back so far, or its database was
away, everybody is told to look at what is stored (``Bus.missed``, ``CacheRefresh.all_outdated``),
and goes on from there.
"""

import asyncio
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
"""Between two reads, so that many small commits are read together; doubled as long as each finds
some, up to:"""
AWAITED_S: Final = 0.005
"""Where somebody waits for news."""
LEADING_S: Final = 0.01
"""Where nobody does, and this control plane leads."""
UNAWAITED_S: Final = 0.02
"""Where it does not lead either. Whoever begins to wait has a pause cut short."""
TOLD_S: Final = 0.001
"""Between two messages to the others; doubled as long as there is something to tell, up to:"""
TOLD_MOST_S: Final = 0.01
TROUBLE_PAUSE_S: Final = 0.5
AT_ONCE: Final = 64
"""Commits of one read."""
PRUNE_EVERY_S: Final = 10.0
PRUNED_AT_ONCE: Final = 5_000

log = structlog.get_logger(__name__)


def _never() -> bool:
    """Nothing but a bus of its own needs a feed."""
    return False


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
        leads: whether this control plane leads, and so is to hear of everything soon.
    """

    def __init__(
        self,
        changes: ChangeLog,
        bus: Bus,
        caches: CacheRefresh,
        clock: Clock,
        messages: Messages | None = None,
        counted: Callable[[Counts], None] = _nobody,
        leads: Callable[[], bool] = _never,
    ) -> None:
        self._changes = changes
        self._bus = bus
        self._caches = caches
        self._clock = clock
        self._messages = messages
        self._counted = counted
        self._leads = leads
        self._position: LogPosition | None = None
        self._wake = anyio.Event()
        self._hurry = anyio.Event()
        """Somebody has begun to wait for news."""
        self._pause_s = PAUSE_S
        self._has_news = False
        """Whether there is something that the others were not told of yet."""
        self._telling: asyncio.TimerHandle | None = None
        self._told_s = TOLD_S
        bus.on_awaited = self._hurried
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
            self._has_news = True
            if self._telling is None:
                self._tell(self._messages)

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
            await self._pause()

    async def _pause(self) -> None:
        """Until there is something to read, and a little longer."""
        if self._pause_s > AWAITED_S:
            self._hurry = anyio.Event()
            with anyio.move_on_after(self._pause_s):
                await self._hurry.wait()
        else:
            await self._clock.sleep(self._pause_s)
        if self._wake.is_set():
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s())
            return
        self._pause_s = PAUSE_S
        with anyio.move_on_after(LOOK_EVERY_S):
            await self._wake.wait()

    def _longest_pause_s(self) -> float:
        if self._bus.is_awaited:
            return AWAITED_S
        return LEADING_S if self._leads() else UNAWAITED_S

    def _hurried(self) -> None:
        self._hurry.set()

    def _tell(self, messages: Messages) -> None:
        """Tell the others that there is something to read, then nothing for a moment."""
        if not self._has_news:
            self._telling, self._told_s = None, TOLD_S
            return
        self._has_news = False
        messages.publish(WAKE, b"")
        loop = asyncio.get_running_loop()
        self._telling = loop.call_later(self._told_s, self._tell, messages)
        self._told_s = min(2 * self._told_s, TOLD_MOST_S)

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
