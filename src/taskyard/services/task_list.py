"""One list of tasks in memory: what it shows now, and who wants to know when that changes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio

from taskyard.core.changes import Change
from taskyard.core.errors import Unavailable
from taskyard.core.lists import ListEntry, ListKey, ListStatus, status_of

FINISHED_KEPT: Final = 1000
"""Finished tasks a list shows at most; the oldest go first."""
_RANK: Final = {status: rank for rank, status in enumerate(ListStatus)}

Watcher = Callable[[], None]
"""Told at once that the list changed; must return quickly."""


class TaskList:
    """The entries of a list by number. Belongs to one event loop."""

    def __init__(self, key: ListKey) -> None:
        self.key = key
        self.entries: dict[int, ListEntry] = {}
        """In ascending order of number."""
        self.revision = 0
        """Counts changes."""
        self.watchers: set[Watcher] = set()
        self.dropped: list[int] = []
        """Numbers this list let go of by itself, which the store still has."""
        self.ready = anyio.Event()
        """Set once it was read, or could not be."""
        self.failure: Unavailable | None = None
        self._numbers: dict[int, int] = {}
        self._finished: dict[int, None] = {}
        self._removed: set[int] = set()
        """Removed before it was told that they were added."""
        self._early: list[Callable[[], None]] | None = []
        """What happened while it was being read; None from then on."""

    def begin(self) -> None:
        """It is about to be read, once more perhaps; until then it shows what it showed."""
        self._early = []
        if self.ready.is_set():
            # Who asks from now on has to see what happens from now on.
            self.ready = anyio.Event()
        self.failure = None

    def fill(self, entries: Iterable[ListEntry]) -> None:
        """Begin with what the store holds, then catch up with what happened meanwhile."""
        early, self._early = self._early or [], None
        self.entries.clear()
        self._removed.clear()
        self._numbers.clear()
        self._finished.clear()
        for entry in entries:
            self._put(entry)
        for happened in early:
            happened()
        self._changed()
        self.ready.set()

    def fail(self, error: BaseException) -> None:
        """The list could not be read; those waiting for it get the error."""
        self.failure = error if isinstance(error, Unavailable) else Unavailable(str(error))
        self.ready.set()

    def add(self, entry: ListEntry) -> None:
        """One more task; nothing if it is there already."""
        if self._early is not None:
            self._early.append(lambda: self.add(entry))
        elif entry.number in self._removed:
            self._removed.discard(entry.number)
        elif entry.number not in self.entries:
            is_late = bool(self.entries) and entry.number < next(reversed(self.entries))
            self._put(entry)
            if is_late:
                self.entries = dict(sorted(self.entries.items()))
            self._changed()

    def has(self, seq: int) -> bool:
        """Whether it lists the task at this position."""
        return seq in self._numbers

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove these from view; unknown ones are ignored."""
        if self._early is not None:
            self._early.append(lambda: self.remove(numbers))
            return
        for number in numbers:
            if number not in self.entries:
                self._removed.add(number)
            self._pop(number)
        if numbers:
            self._changed()

    def apply(self, change: Change) -> None:
        """Follow a committed change of a task; of one that is not listed, do nothing."""
        if self._early is not None:
            self._early.append(lambda: self.apply(change))
            return
        number = self._numbers.get(change.seq)
        if number is None:
            return
        entry = self.entries[number]
        was_dispatched = entry.status is not ListStatus.QUEUED
        status = status_of(change.state, was_dispatched=was_dispatched)
        if status is None or change.kind == "deleted":
            self._pop(number)
        elif _RANK[status] > _RANK[entry.status] and not entry.status.is_finished:
            entry.status = status
            if status.is_finished:
                self._finish(number)
        else:
            return
        self._changed()

    def _put(self, entry: ListEntry) -> None:
        self.entries[entry.number] = entry
        self._numbers[entry.seq] = entry.number
        if entry.status.is_finished:
            self._finish(entry.number)

    def _pop(self, number: int) -> None:
        entry = self.entries.pop(number, None)
        if entry is not None:
            del self._numbers[entry.seq]
            self._finished.pop(number, None)

    def _finish(self, number: int) -> None:
        self._finished[number] = None
        if len(self._finished) > FINISHED_KEPT:
            # Dispatched in the order of their numbers, so the lowest one is the oldest.
            oldest = min(self._finished)
            self._pop(oldest)
            self.dropped.append(oldest)

    def _changed(self) -> None:
        self.revision += 1
        for watcher in tuple(self.watchers):
            watcher()
