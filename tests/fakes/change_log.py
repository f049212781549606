"""A change log in memory, which can be away, behind or damaged."""

from msgspec.structs import replace

from taskyard.core.changes import Change, Committed, Outdated
from taskyard.core.errors import Unavailable
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.ports.changes import Counts, LoggedCommit, LogPage, LogPosition, LogPruned


class MemoryChangeLog:
    """Implements ``ports.changes.ChangeLog``; a position is the number of what was read last."""

    def __init__(self) -> None:
        self.commits: list[LoggedCommit] = []
        self.counts: Counts = {(WorkspaceName("main"), TaskState.QUEUED): 1}
        self.is_away = False
        self.reads = 0

    def commit(self, *changes: Change, outdated: tuple[Outdated, ...] = ()) -> None:
        """Somebody commits this."""
        number = self.commits[-1].number + 1 if self.commits else 1
        self.commits.append(LoggedCommit(number, Instant(number), Committed(changes, outdated)))

    def damage(self) -> None:
        """The latest commit cannot be read."""
        self.commits[-1] = replace(self.commits[-1], committed=None)

    def drop(self, count: int) -> None:
        """The oldest commits are gone."""
        del self.commits[:count]

    async def last(self) -> tuple[LogPosition, Counts]:
        """See the port."""
        self._check()
        number = self.commits[-1].number if self.commits else 0
        return LogPosition(str(number)), dict(self.counts)

    async def after(self, position: LogPosition, limit: int) -> LogPage:
        """See the port."""
        self.reads += 1
        self._check()
        last = int(position)
        if self.commits and self.commits[0].number > last + 1:
            raise LogPruned
        found = [one for one in self.commits if one.number > last][:limit]
        at = LogPosition(str(found[-1].number if found else last))
        return LogPage(found, at, is_full=len(found) == limit)

    async def prune(self, limit: int) -> int:
        """See the port."""
        self._check()
        count = min(limit, len(self.commits))
        self.drop(count)
        return count

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("the database is away")
