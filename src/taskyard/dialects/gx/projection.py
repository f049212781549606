"""The task list of each watched workspace: encoded once per change, however many streams show it.

A feed belongs to one workspace while somebody watches it. It hears of changes at once, gathers
those that come close together, and notifies all its streams when there is something to send: after
a change, and each second without one. A stream takes the text that is current when it can take
one; what came and went in between is skipped, never queued.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary, proxy

import msgspec

from taskyard.core.lists import ListKey, ListStatus
from taskyard.dialects.gx.schemas import TaskAnswer
from taskyard.services.engine import Engine
from taskyard.services.task_list import TaskList

TICK_S: Final = 1.0
GATHER_S: Final = 0.02
"""Changes so close together are shown as one."""
APART_S: Final = 0.1
"""The least time between two texts outside of the ticks."""
_encode: Final = msgspec.json.Encoder().encode
_TAILS: Final = {status: f'"{status.value}"}}'.encode() for status in ListStatus}

Notify = Callable[[], None]
"""Called when there is something to send."""


class Snapshot:
    """The encoded list of a workspace, encoded again only when it has changed."""

    def __init__(self, shown: TaskList) -> None:
        self.shown = shown
        self._heads: dict[int, bytes] = {}
        self._revision = -1
        self._json = b"[]"

    @property
    def json(self) -> bytes:
        """The list as it is now, a JSON array."""
        if self._revision != self.shown.revision:
            self._revision = self.shown.revision
            self._json = self._encoded()
        return self._json

    def _encoded(self) -> bytes:
        entries, heads = self.shown.entries, self._heads
        if len(heads) > 2 * len(entries) + 64:
            self._heads = heads = {n: head for n, head in heads.items() if n in entries}
        parts = []
        for number, entry in entries.items():
            head = heads.get(number)
            if head is None:
                whole = _encode(TaskAnswer(number, entry.name, entry.size, ""))
                head = heads[number] = whole[:-3]
            parts.append(head + _TAILS[entry.status])
        return b"[" + b",".join(parts) + b"]"


class Snapshots:
    """The snapshots of all lists in memory, shared by all routes."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[TaskList, Snapshot] = WeakKeyDictionary()

    def of(self, shown: TaskList) -> Snapshot:
        """Those of one list."""
        found = self._of.get(shown)
        if found is None:
            found = self._of[shown] = Snapshot(proxy(shown))
        return found


class WorkspaceFeed:
    """One workspace as its streams see it."""

    def __init__(
        self, shown: TaskList, snapshot: Snapshot, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.shown = shown
        self._loop = loop
        self._snapshot = snapshot
        self._streams: dict[Notify, None] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._notified_at = 0.0
        self._revision = -1
        self._text = "[]"

    @property
    def text(self) -> str:
        """The list as it is now, for a text frame."""
        if self._revision != self.shown.revision:
            self._revision = self.shown.revision
            self._text = self._snapshot.json.decode()
        return self._text

    def __len__(self) -> int:
        return len(self._streams)

    def enter(self, notify: Notify) -> None:
        """One more stream wants to be notified."""
        if not self._streams:
            self.shown.watchers.add(self._changed)
            self._tick = self._loop.call_later(TICK_S, self._ticked)
        self._streams[notify] = None

    def leave(self, notify: Notify) -> None:
        """A stream is gone."""
        self._streams.pop(notify, None)
        if not self._streams:
            self.shown.watchers.discard(self._changed)
            for timer in (self._tick, self._soon):
                if timer is not None:
                    timer.cancel()
            self._tick = self._soon = None

    def _changed(self) -> None:
        if self._soon is None:
            wait_s = max(GATHER_S, self._notified_at + APART_S - self._loop.time())
            self._soon = self._loop.call_later(wait_s, self._show)

    def _show(self) -> None:
        self._soon = None
        self._notify()

    def _ticked(self) -> None:
        self._tick = self._loop.call_later(TICK_S, self._ticked)
        self._notify()

    def _notify(self) -> None:
        self._notified_at = self._loop.time()
        for notify in tuple(self._streams):
            notify()


class WorkspaceFeeds:
    """The feeds of all workspaces that are watched."""

    def __init__(self, engine: Engine, snapshots: Snapshots) -> None:
        self._engine = engine
        self._snapshots = snapshots
        self._by_key: dict[ListKey, WorkspaceFeed] = {}

    async def of(self, key: ListKey) -> WorkspaceFeed:
        """That of one workspace. Raises as the store does."""
        shown = await self._engine.lists.look(key)
        feed = self._by_key.get(key)
        if feed is None or feed.shown is not shown:
            loop = asyncio.get_running_loop()
            feed = self._by_key[key] = WorkspaceFeed(shown, self._snapshots.of(shown), loop)
        return feed

    def leave(self, key: ListKey, feed: WorkspaceFeed, notify: Notify) -> None:
        """A stream is gone, and with the last one its feed."""
        feed.leave(notify)
        if not len(feed) and self._by_key.get(key) is feed:
            del self._by_key[key]
