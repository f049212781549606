"""Changes of counts and histories, collected over a batch and written once before its commit.

Counts of tasks by workspace, group and state, and the lines of tasks' histories, are changed by
nearly every operation. Written one by one they would double the statements of a batch.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant
from taskyard.store.sql.connection import Connection

Key = tuple[str, str, str]
Line = tuple[int, Instant, str, AttemptId | None, str | None, str | None]
"""The task's ``seq``, when, what, and the rest of ``append_event``."""
Savepoint = tuple[dict[Key, int], list[Line], int]


class BatchCounts:
    """Collects what a batch changes. Used in the store server only.

    Operations that read or remove counts or histories call :meth:`flush` first.
    """

    def __init__(self) -> None:
        self._deltas: defaultdict[Key, int] = defaultdict(int)
        self._lines: list[Line] = []

    def add(self, workspace: str, group: str, state: str, delta: int = 1) -> None:
        """Count ``delta`` more (or fewer) tasks in a state."""
        self._deltas[workspace, group, state] += delta

    def transition(self, workspace: str, group: str, was: str, state: str) -> None:
        """Count a task that changed its state."""
        if was != state:
            self.add(workspace, group, was, -1)
            self.add(workspace, group, state, 1)

    def event(
        self,
        seq: int,
        kind: str,
        at: Instant,
        attempt_id: AttemptId | None = None,
        actor: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Add a line to a task's history."""
        self._lines.append((seq, at, kind, attempt_id, actor, detail))

    def flush(self, connection: Connection) -> None:
        """Write what was collected."""
        changed = [(*key, delta) for key, delta in self._deltas.items() if delta]
        connection.write_many("tasks.add_to_count", changed)
        for *key, delta in changed:
            if delta < 0:
                connection.execute("tasks.drop_zero_counts", key)
        self._deltas.clear()
        lines = self._lines
        self._lines = []
        at_once = connection.rows_at_once
        for start in range(0, len(lines), at_once):
            some = lines[start : start + at_once]
            connection.write_many("tasks.append_event", _numbered(some))

    def savepoint(self) -> Savepoint:
        """What was collected so far, for :meth:`restore`."""
        return dict(self._deltas), self._lines, len(self._lines)

    def restore(self, savepoint: Savepoint) -> None:
        """Undo what one operation collected, whose writes are rolled back."""
        deltas, self._lines, count = savepoint
        self._deltas.clear()
        self._deltas.update(deltas)
        del self._lines[count:]

    def discard(self) -> None:
        """Drop everything: the batch was rolled back."""
        self._deltas.clear()
        self._lines = []


def _numbered(lines: Sequence[Line]) -> list[tuple[Any, ...]]:
    """Values of ``append_event``: task, task, how many lines on from its last, and the rest.

    A statement does not see the rows it inserts, so that lines of one task have to be counted.
    """
    counts: dict[int, int] = {}
    rows = []
    for line in lines:
        seq = line[0]
        counts[seq] = count = counts.get(seq, 0) + 1
        rows.append((seq, seq, count, *line[1:]))
    return rows
