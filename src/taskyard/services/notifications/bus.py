"""The announcement of committed changes inside one process.

Whoever commits calls :meth:`Bus.publish`. Where several control planes share a database, that says
nothing: the feed of each (``change_feed.py``) announces what all of them committed, its own changes
among them, in one order. Either way the scheduler, watchers, followers and webhooks hang off
it. Publishing never waits: a listener is called at once, a subscriber that reads too slowly loses
changes and learns how many (:class:`Gap`), and a waiter on one task costs a dictionary look-up.
Subscribers of other workspaces cost nothing, and of very many of one workspace a few are woken at a
time: what each of them does then would keep everybody else waiting.

A bus belongs to one event loop; nothing here may be called from another thread.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio
import structlog
from msgspec import Struct

from taskyard.core.changes import Change
from taskyard.core.errors import Unavailable
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.states import TERMINAL

LOOK_AGAIN_S: Final = 5.0
"""How long a waiter trusts that it is woken, where others announce what they committed."""

Listener = Callable[[Sequence[Change]], None]
"""Called with every batch as it is published; must return quickly and not wait."""

WOKEN_AT_ONCE: Final = 16
"""Subscribers of one workspace that are woken together, and after each pause."""
WAKING_PAUSE_S: Final = 0.004

T = TypeVar("T")

log = structlog.get_logger(__name__)


def _nothing() -> None:
    """Whoever listens misses nothing that matters."""


class Gap(Struct, frozen=True):
    """Stands in a subscription for changes that its reader was too slow to take, or nobody was
    told of.
    """

    missed: int
    """How many, as far as that is known; at least 1."""


class Subscription:
    """The changes one subscriber has yet to read; iterate over it. Made by :meth:`Bus.subscribe`.

    Iteration ends once the bus is closed and everything before that was read. One reader only.
    """

    def __init__(self, predicate: Callable[[Change], bool] | None, buffer: int) -> None:
        self._predicate = predicate
        self._buffer = buffer
        self._waiting: deque[Change] = deque()
        self._missed = 0
        self._closed = False
        self._wake: anyio.Event | None = None

    def _offer(self, changes: Iterable[Change]) -> bool:
        """Take what the predicate wants; whether there is something to read.

        After the first loss everything is lost until the reader has emptied the buffer: it then
        sees one gap in the right place instead of many small ones.
        """
        for change in changes:
            if self._predicate is not None and not self._predicate(change):
                continue
            if self._missed or len(self._waiting) >= self._buffer:
                self._missed += 1
            else:
                self._waiting.append(change)
        return bool(self._waiting or self._missed)

    def _miss(self) -> None:
        """Nobody knows what there was to take: at least one change."""
        self._missed += 1
        self._rouse()

    def _close(self) -> None:
        self._closed = True
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Change | Gap:
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._missed:
                missed, self._missed = self._missed, 0
                return Gap(missed)
            if self._closed:
                raise StopAsyncIteration
            self._wake = anyio.Event()
            try:
                await self._wake.wait()
            finally:
                self._wake = None


class Bus:
    """Announces committed changes to the subscribers in this process.

    Args:
        fed: a feed announces them, not whoever commits; it may miss some, and says so.
    """

    def __init__(self, *, fed: bool = False) -> None:
        self.fed = fed
        self._listeners: list[Listener] = []
        self._on_missed: list[Callable[[], None]] = []
        self._own: list[Listener] = []
        self._wide: dict[WorkspaceName | None, set[Subscription]] = {}
        """Subscribers to many tasks, by workspace; None for those of all."""
        self._drowsy: dict[WorkspaceName | None, dict[Subscription, None]] = {}
        """Those that have something to read and are to be woken, a few at a time."""
        self._narrow: dict[TaskId, set[Subscription]] = {}
        # Weak: an event lives as long as somebody waits for it, so that no waiter has to
        # sign off and tasks that never change again leave nothing behind.
        self._events: WeakValueDictionary[TaskId, anyio.Event] = WeakValueDictionary()
        self._closed = False
        self._waits: list[Callable[[], bool]] = []
        self.on_awaited: Callable[[], None] = _nothing
        """Called when somebody begins to wait for announcements. Must not raise."""

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for announcements at this moment, beyond those who count them."""
        if self._wide or self._narrow or self._events:
            return True
        return any(waits() for waits in self._waits)

    def awaited_while(self, waits: Callable[[], bool]) -> None:
        """Somebody waits by other means while this is true; tells :attr:`on_awaited` by itself."""
        self._waits.append(waits)

    def publish(self, changes: Sequence[Change]) -> None:
        """Announce what was committed here; where there is a feed, that does. Never raises.

        Even then those who wait for the end of a task need not wait for the feed as well: they
        depend on no order, and look at what is stored.
        """
        if not self.fed:
            self.announce(changes)
            return
        for listener in self._own:
            self._tell(listener, changes)
        for change in changes:
            if change.state in TERMINAL:
                self._wake_waiters(change.task_id)

    def announce(self, changes: Sequence[Change]) -> None:
        """Announce committed changes, in order. Never waits and never raises.

        A listener that raises is reported in the log; everybody else still hears.
        """
        for listener in tuple(self._listeners):
            self._tell(listener, changes)
        if self._wide:
            self._tell_wide(changes)
        if self._narrow or self._events:
            for change in changes:
                self._tell_task(change)

    @staticmethod
    def _tell(listener: Listener, changes: Sequence[Change]) -> None:
        try:
            listener(changes)
        except Exception:
            log.exception("bus_listener_failed", listener=repr(listener))

    def missed(self) -> None:
        """Have everybody look at what is stored: changes were missed. Never raises."""
        for look in tuple(self._on_missed):
            try:
                look()
            except Exception:
                log.exception("bus_listener_failed", listener=repr(look))
        for some in (*self._wide.values(), *self._narrow.values()):
            for subscription in some:
                subscription._miss()  # noqa: SLF001 - as in publish
        for event in list(self._events.values()):
            event.set()
        self._events.clear()

    def _tell_wide(self, changes: Sequence[Change]) -> None:
        for workspace in (None, *dict.fromkeys(change.workspace for change in changes)):
            found = self._wide.get(workspace)
            if found is None:
                continue
            # In this very order: a subscriber that was here before sees each change once.
            ready = [one for one in found if one._offer(changes)]  # noqa: SLF001 - filled by the bus
            for one in ready[:WOKEN_AT_ONCE]:
                one._rouse()  # noqa: SLF001 - as above
            if len(ready) > WOKEN_AT_ONCE:
                self._wake_later(workspace, ready[WOKEN_AT_ONCE:])

    def _wake_later(
        self, workspace: WorkspaceName | None, subscriptions: Iterable[Subscription]
    ) -> None:
        drowsy = self._drowsy.get(workspace)
        if drowsy is not None:
            drowsy.update(dict.fromkeys(subscriptions))
            return
        self._drowsy[workspace] = dict.fromkeys(subscriptions)
        asyncio.get_running_loop().call_later(WAKING_PAUSE_S, self._wake_some, workspace)

    def _wake_some(self, workspace: WorkspaceName | None) -> None:
        drowsy = self._drowsy[workspace]
        for one in list(islice(drowsy, WOKEN_AT_ONCE)):
            del drowsy[one]
            one._rouse()  # noqa: SLF001 - as in publish
        if drowsy:
            asyncio.get_running_loop().call_later(WAKING_PAUSE_S, self._wake_some, workspace)
        else:
            del self._drowsy[workspace]

    def _tell_task(self, change: Change) -> None:
        for subscription in self._narrow.get(change.task_id, ()):
            if subscription._offer((change,)):  # noqa: SLF001 - the bus fills its subscriptions
                subscription._rouse()  # noqa: SLF001 - as above
        self._wake_waiters(change.task_id)

    def _wake_waiters(self, task_id: TaskId) -> None:
        event = self._events.pop(task_id, None)
        if event is not None:
            event.set()

    def hear_own(self, listener: Listener) -> None:
        """Call this with what this process commits where a feed announces, before the feed does.

        It hears the same once more by the feed, if it listens, and perhaps what came before later.
        """
        self._own.append(listener)

    def listen(
        self, listener: Listener, missed: Callable[[], None] = _nothing
    ) -> Callable[[], None]:
        """Call ``listener`` with every batch from now on; answers with what ends that.

        ``missed`` is called when there was something that the listener was not told of, and never
        will be. It must return quickly.
        """
        self._listeners.append(listener)
        self._on_missed.append(missed)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
                self._on_missed.remove(missed)

        return stop

    @asynccontextmanager
    async def subscribe(
        self,
        *,
        workspace: WorkspaceName | None = None,
        group: GroupName | None = None,
        task_id: TaskId | None = None,
        predicate: Callable[[Change], bool] | None = None,
        buffer: int = 1000,
    ) -> AsyncIterator[Subscription]:
        """Changes from the moment of entering on, as an asynchronous iterator.

        ``workspace``, ``group``, ``task_id`` and ``predicate`` each narrow it down. At most
        ``buffer`` changes wait for the reader; see :class:`Gap`.
        """

        def wanted(change: Change) -> bool:
            return (
                (workspace is None or change.workspace == workspace)
                and (group is None or change.group == group)
                and (predicate is None or predicate(change))
            )

        everything = workspace is None and group is None and predicate is None
        subscription = Subscription(None if everything else wanted, buffer)
        if self._closed:
            subscription._close()  # noqa: SLF001 - as in publish
        if task_id is None:
            self._wide.setdefault(workspace, set()).add(subscription)
        else:
            self._narrow.setdefault(task_id, set()).add(subscription)
        self.on_awaited()
        try:
            yield subscription
        finally:
            if task_id is None:
                others = self._wide[workspace]
                others.discard(subscription)
                if not others:
                    del self._wide[workspace]
                self._drowsy.get(workspace, {}).pop(subscription, None)
            if task_id is not None and (rest := self._narrow.get(task_id)) is not None:
                rest.discard(subscription)
                if not rest:
                    del self._narrow[task_id]

    def changed(self, task_id: TaskId) -> anyio.Event:
        """An event that is set by the task's next change, or by :meth:`close`.

        Ask for it *before* looking at the task, so that no change falls in between. All waiters on
        one task share one event. Keep a reference to it while waiting.
        """
        event = self._events.get(task_id)
        if event is None:
            event = anyio.Event()
            if self._closed:
                event.set()
            else:
                self._events[task_id] = event
                self.on_awaited()
        return event

    async def wait_for(self, task_id: TaskId, look: Callable[[], Awaitable[T | None]]) -> T:
        """Call ``look`` now and after every change of the task until it answers with something.

        Where there is a feed, also after every :data:`LOOK_AGAIN_S`. The caller sets the deadline.
        Raises ``Unavailable`` if the bus is closed before.
        """
        while True:
            event = self.changed(task_id)
            found = await look()
            if found is not None:
                return found
            if self._closed:
                raise Unavailable("the service is stopping")
            await self.woken(event)

    async def woken(self, event: anyio.Event) -> None:
        """Wait for an event of :meth:`changed`, or until it is time to look again all the same."""
        if not self.fed:
            await event.wait()
            return
        with anyio.move_on_after(LOOK_AGAIN_S):
            await event.wait()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """End all subscriptions and wake all waiters, for a shutdown. May be called twice."""
        self._closed = True
        for some in (*self._wide.values(), *self._narrow.values()):
            for subscription in some:
                subscription._close()  # noqa: SLF001 - as in publish
        for event in list(self._events.values()):
            event.set()
        self._events.clear()
