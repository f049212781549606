"""Counts of tasks by workspace, group and state, kept in the same transaction as the tasks."""

import sqlite3
from collections import defaultdict
from typing import Final

from taskyard.store.sqlite.database import queries

_QUERIES: Final = queries("tasks")
Key = tuple[str, str, str]


class Counters:
    """Gathers what a batch changes and writes it once, before the commit.

    Used on the writer's thread only.
    """

    def __init__(self) -> None:
        self._deltas: defaultdict[Key, int] = defaultdict(int)

    def add(self, workspace: str, group: str, state: str, delta: int = 1) -> None:
        """So many tasks more (or fewer) in a state."""
        self._deltas[workspace, group, state] += delta

    def move(self, workspace: str, group: str, was: str, state: str) -> None:
        """One task went from one state to another."""
        if was != state:
            self.add(workspace, group, was, -1)
            self.add(workspace, group, state, 1)

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what was gathered."""
        for key, delta in self._deltas.items():
            if delta:
                connection.execute(_QUERIES.add_to_count.sql, (*key, delta))
            if delta < 0:
                connection.execute(_QUERIES.drop_zero_counts.sql, key)
        self._deltas.clear()

    def mark(self) -> dict[Key, int]:
        """What was gathered so far, for :meth:`back_to`."""
        return dict(self._deltas)

    def back_to(self, mark: dict[Key, int]) -> None:
        """One operation of the batch was undone."""
        self._deltas.clear()
        self._deltas.update(mark)

    def forget(self) -> None:
        """The batch was undone."""
        self._deltas.clear()
