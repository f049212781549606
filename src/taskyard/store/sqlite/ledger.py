"""What a whole batch changes in counts and histories, gathered and written once before the commit.

Counts of tasks by workspace, group and state, and the lines of tasks' histories, are changed by
nearly every operation. Written one by one they would double the statements of a batch.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant
from taskyard.store.sqlite.batches import chunks, write_many
from taskyard.store.sqlite.database import queries

_QUERIES: Final = queries("tasks")
Key = tuple[str, str, str]
Line = tuple[int, Instant, str, AttemptId | None, str | None, str | None]
"""The task's ``seq``, when, what, and the rest of ``append_event``."""
Mark = tuple[dict[Key, int], list[Line], int]


class Ledger:
    """Gathers what a batch changes. Used on the writer's thread only.

    Whoever reads or removes counts or histories inside a batch flushes first.
    """

    def __init__(self) -> None:
        self._deltas: defaultdict[Key, int] = defaultdict(int)
        self._lines: list[Line] = []

    def add(self, workspace: str, group: str, state: str, delta: int = 1) -> None:
        """So many tasks more (or fewer) in a state."""
        self._deltas[workspace, group, state] += delta

    def move(self, workspace: str, group: str, was: str, state: str) -> None:
        """One task went from one state to another."""
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
        """One more line in a task's history."""
        self._lines.append((seq, at, kind, attempt_id, actor, detail))

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what was gathered."""
        changed = [(*key, delta) for key, delta in self._deltas.items() if delta]
        write_many(connection, _QUERIES.add_to_count.sql, changed)
        for *key, delta in changed:
            if delta < 0:
                connection.execute(_QUERIES.drop_zero_counts.sql, key)
        self._deltas.clear()
        lines = self._lines
        self._lines = []
        for some in chunks(lines):
            write_many(connection, _QUERIES.append_event.sql, _numbered(some))

    def mark(self) -> Mark:
        """What was gathered so far, for :meth:`back_to`."""
        return dict(self._deltas), self._lines, len(self._lines)

    def back_to(self, mark: Mark) -> None:
        """One operation of the batch was undone, and what it may have flushed with it."""
        deltas, self._lines, count = mark
        self._deltas.clear()
        self._deltas.update(deltas)
        del self._lines[count:]

    def forget(self) -> None:
        """The batch was undone."""
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
