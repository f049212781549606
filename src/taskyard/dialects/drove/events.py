"""The events of the last hour, in memory, as the original has them.

Clients ask for what is newer than the time they were told last. Events may share a millisecond;
but once a time has been told to anybody, everything after it gets a later one, so that nothing
falls between two requests.

Each control plane has a ring of its own. Events of tasks have the same id and nearly the same time
on all of them. Whoever comes with a time that another one told gets the last moments before it
again: what is in both rings may be told twice, under one id, and nothing is left out.
"""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec import Struct

from taskyard.core.ids import WorkspaceName

KEPT_MS: Final = 3_600_000
LOOK_BACK_MS: Final = 2_000
"""How much later than one control plane another one may hear of a change."""
TIMES_KEPT: Final = 10_000
"""Times that were told, and are known again."""


class Event(Struct, eq=False):
    """Something that happened."""

    type: str
    number: int
    time: int
    """Milliseconds since 1970."""
    workspace: WorkspaceName | None
    """Whose it is; None if it concerns everybody."""
    subject: Any
    """What the metadata is made from."""
    state: str = ""
    key: str = ""
    """What its id is made from; made up by this process if empty."""


class Events:
    """A bounded ring of events. Belongs to one event loop.

    Args:
        kept: how many at most.
        now_ms: the time.
        is_shared: whether other control planes tell of the same tasks.
    """

    def __init__(
        self,
        kept: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        is_shared: bool = False,
    ) -> None:
        self._is_shared = is_shared
        self._told: dict[int, None] = {}
        self._ring: deque[Event] = deque(maxlen=kept)
        self._now_ms = now_ms
        self._floor = 0
        self._count = 0
        # All ids of this process's life begin alike and end with a number.
        self._prefix = str(uuid4())[:24]

    def add(
        self,
        kind: str,
        subject: Any,
        workspace: WorkspaceName | None = None,
        state: str = "",
        *,
        at_ms: int | None = None,
        key: str = "",
    ) -> None:
        """Add an event; may drop the oldest.

        With ``key`` its id is the same wherever it is told; ``at_ms`` is its time if not now.
        """
        now = max(self._now_ms() if at_ms is None else at_ms, self._floor)
        if self._ring and now < self._ring[-1].time:
            now = self._ring[-1].time  # a clock that was set back
        self._count += 1
        self._ring.append(Event(kind, self._count, now, workspace, subject, state, key))

    def id_of(self, event: Event) -> str:
        """Its id, a UUID."""
        if event.key:
            return str(UUID(bytes=hashlib.blake2b(event.key.encode(), digest_size=16).digest()))
        return f"{self._prefix}{event.number:012x}"

    def newest(self, workspace: WorkspaceName, after: int, size: int | None) -> list[Event]:
        """What is newer than ``after``, newest first, at most ``size``; all for None."""
        found: list[Event] = []
        for event in self._newer(after):
            if size is not None and len(found) >= size:
                break
            if event.workspace is None or event.workspace == workspace:
                found.append(event)
        return found

    def counts(self, workspace: WorkspaceName, after: int) -> dict[str, int]:
        """How many of each type are newer than ``after``."""
        return dict(Counter(event.type for event in self.newest(workspace, after, None)))

    def sync_time(self, otherwise: int) -> int:
        """The time of the newest event, which is told to somebody; ``otherwise`` without any."""
        if not self._ring:
            return otherwise
        newest = self._ring[-1].time
        self._floor = max(self._floor, newest + 1)
        if self._is_shared:
            self._told[newest] = None
            if len(self._told) > TIMES_KEPT:
                del self._told[next(iter(self._told))]
        return newest

    def _newer(self, after: int) -> Iterator[Event]:
        if self._is_shared and after not in self._told:
            after -= LOOK_BACK_MS
        oldest = self._now_ms() - KEPT_MS
        while self._ring and self._ring[0].time < oldest:
            self._ring.popleft()
        for event in reversed(self._ring):
            if event.time <= after:
                return
            yield event
