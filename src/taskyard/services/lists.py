"""Numbered lists of tasks, kept in memory while in use, as durable as the store.

A list is read from the store once, when it is first asked for, and then follows the announced
changes. The status of an entry only moves forward, so it does not matter that a change may be told
of while the list is being read.
"""

from collections.abc import Callable, Sequence
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from taskyard.core.access.principals import Caller, Role
from taskyard.core.changes import Change
from taskyard.core.errors import NotFound, Overloaded, Unavailable
from taskyard.core.ids import TaskId
from taskyard.core.lists import ListEntry, ListKey, ListStatus, numbered
from taskyard.core.tasks import NewTask, Task, TaskSpec
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import Placement
from taskyard.ports.lists import Added, ListStore
from taskyard.services.access.permissions import require
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.task_list import TaskList
from taskyard.services.tasks.enqueue import outcome_of
from taskyard.services.tasks.tasks import Tasks, retried

LISTS_IN_MEMORY: Final = 4096
"""Lists nobody watches that are kept in memory at most."""
TIDY_EVERY_S: Final = 5.0

log = structlog.get_logger(__name__)


class Lists:
    """All lists that this process has loaded."""

    def __init__(
        self, store: ListStore, tasks: Tasks, dispatch: Dispatch, bus: Bus, clock: Clock
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._dispatch = dispatch
        self._bus = bus
        self._clock = clock
        self._known: dict[ListKey, int | None] = {}
        self._lists: dict[ListKey, TaskList] = {}
        self._doubtful: set[ListKey] = set()
        self.doubted: Callable[[ListKey], None] = self._doubtful.add
        """Called with a list that somebody else added to. It is read again by :meth:`refresh`."""
        bus.listen(self._on_changes, self._doubt_all)

    async def open(
        self, key: ListKey, owner: str, *, most: int, concurrency_limit: int | None
    ) -> None:
        """See that the list exists, with this many tasks running at once at most.

        Raises:
            TooManyLists: it is new, and its owner has ``most`` already.
        """
        if key in self._known and self._known[key] == concurrency_limit:
            return
        await self._store.open(key, owner, most=most, concurrency_limit=concurrency_limit)
        # Also if somebody else has just opened it: what is submitted now may be placed at once, and
        # has to be counted against the limit.
        await self._dispatch.limits_changed()
        self._known[key] = concurrency_limit

    async def add(
        self,
        caller: Caller,
        key: ListKey,
        spec: TaskSpec,
        variable: str | None = None,
        retry_of: TaskId | None = None,
    ) -> ListEntry:
        """Submit a task under the next number; it is in every later look.

        Args:
            caller: needs the right to write.
            key: the list.
            spec: what to do.
            variable: of its environment, set to the number.
            retry_of: the ended task that it repeats.

        Raises:
            as ``Tasks.submit``.
        """
        new = self._tasks.prepare(caller, numbered(spec, variable, 0))
        new = replace(new, retry_of=retry_of)
        self._tasks.admit(caller, 1)
        # Unless it is told of, nobody would know that the list has one more.
        with anyio.CancelScope(shield=True):
            added = await self._tasks.enqueue.store(
                new,
                lambda placement: self._added(key, new, variable, caller.actor, placement),
                lambda added: outcome_of(added.task, added.stored),
            )
        return _entry(added)

    async def _added(
        self,
        key: ListKey,
        new: NewTask,
        variable: str | None,
        actor: str,
        placement: Placement | None,
    ) -> Added:
        """Store a task under the next number, and show it before anything is told of it."""
        try:
            added = await self._store.add(key, new, variable, actor, placement)
        except Unavailable:
            # It may have come about after all.
            self._doubtful.add(key)
            raise
        shown = self._lists.get(key)
        if shown is not None:
            shown.add(_entry(added))
        return added

    async def retry(self, caller: Caller, task: Task) -> TaskId | None:
        """Retry a task of a list, under the next number; None if it belongs to none.

        Its environment keeps the number that it had. Raises as ``Tasks.retry``.
        """
        if task.spec.size is None:
            return None
        require(caller, Role.WRITE)
        key = ListKey(caller.workspace, task.spec.group)
        try:
            return (await self.add(caller, key, retried(task), retry_of=task.id)).task_id
        except NotFound:
            return None  # a group that is no list

    async def refresh(self, name: str | None) -> None:
        """Read a list again that others changed, ``WORKSPACE/GROUP``; all of them for None.

        Raises as the store does.
        """
        for key in list(self._lists):
            if name is None or name == f"{key.workspace}/{key.group}":
                self._doubtful.add(key)
        await self._read_doubtful()

    def forget_limits(self, _key: str | None = None) -> None:
        """Others may have given lists other limits: say them again when they are opened."""
        self._known.clear()

    async def _read_doubtful(self) -> None:
        for key in list(self._doubtful):
            doubted = self._lists.get(key)
            if doubted is None:
                self._doubtful.discard(key)
            elif doubted.ready.is_set():  # two reads at once would lose what happens between
                await self._read(doubted)

    def _doubt_all(self) -> None:
        """Changes were missed."""
        self._doubtful.update(self._lists)

    async def look(self, key: ListKey) -> TaskList:
        """The list; the object is live and goes on changing. Raises as the store does."""
        shown = self._lists.get(key)
        if shown is None:
            shown = self._lists[key] = TaskList(key)
            await self._read(shown)
        elif not shown.ready.is_set():
            await shown.ready.wait()
            if shown.failure is not None:
                raise shown.failure
        elif key in self._doubtful:
            await self._read(shown)
        return shown

    async def task(self, key: ListKey, number: int) -> Task:
        """One task of the list. Raises ``NotFound``, also for what the list does not show."""
        return await self._store.task(key, number)

    async def withdraw(self, caller: Caller, key: ListKey, number: int) -> None:
        """Take a task back that was never dispatched: it never runs.

        Raises ``NotFound`` if there is none, or it was dispatched; ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        with anyio.CancelScope(shield=True):
            now = self._clock.now()
            try:
                _, changes = await self._store.withdraw(key, number, now, caller.actor)
            except Unavailable:
                self._doubtful.add(key)
                raise
            self._drop(key, (number,))
            self._bus.publish(changes)

    async def flush(self, caller: Caller, key: ListKey, *, cancel: bool = False) -> None:
        """Take everything dispatched off the list; with ``cancel``, kill what of it runs.

        Raises ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        if cancel:
            # Before they leave the list: whoever has to ask again still finds them there.
            shown = await self._store.entries(key)
            await self._cancel(caller, [one for one in shown if one.status is ListStatus.RUNNING])
        with anyio.CancelScope(shield=True):
            try:
                numbers, running = await self._store.flush(key)
            except Unavailable:
                self._doubtful.add(key)
                raise
            self._drop(key, numbers)
        if cancel and running:
            # Those killed above have not all ended by now, and others may have begun.
            await self._tasks.cancel(caller, running)

    async def _cancel(self, caller: Caller, entries: Sequence[ListEntry]) -> None:
        if entries:
            await self._tasks.cancel(caller, [entry.task_id for entry in entries])

    async def run(self) -> None:
        """Until cancelled: remove finished tasks beyond what lists keep."""
        while True:
            await self._clock.sleep(TIDY_EVERY_S)
            try:
                await self.tidy()
            except (Unavailable, Overloaded) as error:
                log.warning("lists_not_tidied", reason=str(error))

    async def tidy(self) -> None:
        """Forget what lists dropped by themselves, and lists that are not in use.

        Lists that may be wrong are read again, for those who watch and never ask.
        """
        await self._read_doubtful()
        for key, shown in list(self._lists.items()):
            if dropped := shown.dropped:
                shown.dropped = []
                try:
                    await self._store.forget(key, dropped)
                except Unavailable:
                    shown.dropped += dropped
                    raise
        unwatched = [key for key, shown in self._lists.items() if not shown.watchers]
        for key in unwatched[LISTS_IN_MEMORY:]:
            del self._lists[key]

    async def _read(self, shown: TaskList) -> None:
        self._doubtful.discard(shown.key)
        shown.begin()
        try:
            entries = await self._store.entries(shown.key)
        except BaseException as error:
            # Waiters get the error; the next one reads it again.
            shown.fail(error)
            if shown.entries or shown.watchers:
                self._doubtful.add(shown.key)
            else:
                self._lists.pop(shown.key, None)
            raise
        shown.fill(entries)

    def _drop(self, key: ListKey, numbers: Sequence[int]) -> None:
        shown = self._lists.get(key)
        if shown is not None:
            shown.remove(numbers)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        lists = self._lists
        if not lists:
            return
        for change in changes:
            shown = lists.get(ListKey(change.workspace, change.group))
            if shown is None:
                continue
            shown.apply(change)
            if self._bus.fed and change.kind == "submitted" and not shown.has(change.seq):
                self.doubted(shown.key)


def _entry(added: Added) -> ListEntry:
    task = added.task
    return ListEntry(
        added.number, added.stored.seq, task.id, task.spec.name or "", task.spec.size or ""
    )
