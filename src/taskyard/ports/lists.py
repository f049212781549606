"""The list port: numbers of tasks in a group, as durable as the tasks themselves."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.changes import Change
from taskyard.core.errors import Conflict
from taskyard.core.ids import TaskId
from taskyard.core.instants import Instant
from taskyard.core.lists import ListEntry, ListKey
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import Submitted


class TooManyLists(Conflict):
    """The owner has as many lists as it may have."""


class Added(Struct, frozen=True):
    """A task that was stored and numbered in one transaction."""

    number: int
    task: NewTask
    stored: Submitted


class ListStore(Protocol):
    """Raises as the store ports do."""

    async def open(
        self, key: ListKey, owner: str, *, most: int, concurrency_limit: int | None
    ) -> bool:
        """Make the list unless it is there, and limit its group; answers whether that is news.

        A limit of the group that came from elsewhere stays; otherwise it follows what is given.

        Raises:
            TooManyLists: it is new, and its owner has ``most`` already.
        """
        ...

    async def add(
        self,
        key: ListKey,
        task: NewTask,
        variable: str | None,
        actor: str,
        placement: Placement | None = None,
    ) -> Added:
        """Store a task under the next number, or use no number up.

        Args:
            key: the list.
            task: what to store.
            variable: of its environment, set to the number; see ``core.lists.numbered``.
            actor: who adds it.
            placement: where it goes at once, as in ``TaskStore.submit_placed``.

        Raises:
            NotFound: there is no such list.
            Conflict: the task's idempotency key stands for another task already.
        """
        ...

    async def entries(self, key: ListKey) -> list[ListEntry]:
        """Everything the list shows, in order of number."""
        ...

    async def task(self, key: ListKey, number: int) -> Task:
        """Raises ``NotFound``, also when the list does not show it any more."""
        ...

    async def withdraw(
        self, key: ListKey, number: int, now: Instant, actor: str
    ) -> tuple[TaskId, list[Change]]:
        """Cancel a task that was never dispatched, and take it off the list.

        Raises ``NotFound`` if there is no such task, or it was dispatched.
        """
        ...

    async def flush(self, key: ListKey) -> tuple[list[int], list[TaskId]]:
        """Take everything dispatched off the list; answers its numbers, and what of it runs."""
        ...

    async def forget(self, key: ListKey, numbers: Sequence[int]) -> None:
        """Take these off the list; unknown ones are ignored."""
        ...
