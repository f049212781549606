"""The change log: what every commit changed, read by all control planes of one database.

A position is a moment in the life of the database. What is read behind it are the commits that
came later; each is read once, as soon as it can be seen, however long others take. Commits that
build on each other are read in that order; those that do not may come in any.
"""

from typing import Final, NewType, Protocol

from msgspec import Struct

from taskyard.core.changes import Committed
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState

LogPosition = NewType("LogPosition", str)
"""Opaque, and meaningful to every control plane of the database."""
KEPT_S: Final = 60.0
"""How long commits are kept at least. Who is behind by more has missed some."""

Counts = dict[tuple[WorkspaceName, TaskState], int]
"""Tasks by workspace and state."""


class LogPruned(TaskyardError):
    """Some of what is behind the position may be gone: look at everything again."""


class LoggedCommit(Struct, frozen=True):
    """One commit."""

    number: int
    """Greater than that of every commit it builds on. The same for all who read it."""
    at: Instant
    """When it was written, by the clock of the database."""
    committed: Committed | None
    """None if it cannot be read, as one that another release wrote."""


class LogPage(Struct, frozen=True):
    """What was read."""

    commits: list[LoggedCommit]
    position: LogPosition
    """Where to go on."""
    is_full: bool = False
    """Whether there was more than the limit."""


class ChangeLog(Protocol):
    """Raises ``Unavailable`` while the database is away."""

    async def last(self) -> tuple[LogPosition, Counts]:
        """The present end of the log, and how many tasks there are at this very moment."""
        ...

    async def after(self, position: LogPosition, limit: int) -> LogPage:
        """Commits behind a position, at most ``limit``.

        Raises:
            LogPruned: it is older than ``KEPT_S``.
        """
        ...

    async def prune(self, limit: int) -> int:
        """Remove commits older than twice ``KEPT_S``, at most ``limit``; answers with how many."""
        ...
