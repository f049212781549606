"""What a batch changes beside its rows, collected and written once before its commit.

Counts of tasks by workspace, group and state, and the lines of tasks' histories, are changed by
nearly every operation. Written one by one they would double the statements of a batch.

Where several control planes share a database, what is announced after the commit is written too,
as one row in the same transaction: the others read it there.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.changes import Cached, Change, Committed, Outdated
from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant
from taskyard.core.states import TERMINAL
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_histories
from taskyard.store.sql.recent_attempts import RecentAttempts

Key = tuple[str, str, str]
Line = tuple[int, Instant, str, AttemptId | None, str | None, str | None]
"""The task's ``seq``, when, what, and the rest of ``append_event``."""
NUMBERS_KEPT: Final = 10_000
"""Tasks whose latest line is remembered, so that its number need not be looked up."""
_FIRST: Final = "submitted"
"""What the first line of every task says."""
_LAST: Final = frozenset(state.value for state in TERMINAL)
"""What a line says behind which few others come."""
Savepoint = tuple[dict[Key, int], list[Line], int, int, int, set[int]]

_encode: Final = msgspec.json.Encoder().encode


class BatchCounts:
    """Collects what a batch changes. Used in the store server only.

    Operations that read or remove counts or histories call :meth:`flush` first.

    Args:
        keeps_changes: whether changes are written for other control planes. Only looked at where
            making one costs something.
    """

    def __init__(self, *, keeps_changes: bool = False) -> None:
        self.keeps_changes = keeps_changes
        self.is_careful = False
        """Whether the batch failed once, and nothing that is remembered may be believed."""
        self.recent = RecentAttempts()
        self._changes: list[Change] = []
        self._outdated: list[Outdated] = []
        self._deltas: defaultdict[Key, int] = defaultdict(int)
        self._lines: list[Line] = []
        self._held: set[int] = set()
        """Tasks whose rows this transaction has locked."""
        self._numbers: dict[int, int] = {}
        """Of the latest lines of tasks. Another writer may have added some since: then the batch
        is done again, without these."""

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
        *,
        is_held: bool = False,
    ) -> None:
        """Add a line to a task's history.

        With ``is_held`` the task is new in this transaction, or its row was locked or is changed by
        it: nobody else can add to its history meanwhile.
        """
        if is_held:
            self._held.add(seq)
        self._lines.append((seq, at, kind, attempt_id, actor, detail))

    def announce(self, change: Change) -> None:
        """Tell other control planes of a change; every one that is answered passes here once."""
        if self.keeps_changes:
            self._changes.append(change)

    def outdate(self, what: Cached, key: str = "") -> None:
        """Have all control planes read again what they keep in memory of this."""
        if self.keeps_changes:
            self._outdated.append(Outdated(what.value, key))

    def write_changes(self, connection: Connection) -> bool:
        """Write what is announced; whether there was anything. The last thing before a commit.

        Whoever waited for rows of another transaction has read them by then, so that positions
        follow the order in which changes built on each other.
        """
        if not self._changes and not self._outdated:
            return False
        outdated = tuple(dict.fromkeys(self._outdated))
        data = _encode(Committed(tuple(self._changes), outdated))
        connection.execute_later("changes.append", {"data": data})
        self._changes, self._outdated = [], []
        return True

    def flush(self, connection: Connection) -> None:
        """Write what was collected."""
        # In one order, so that several writers wait for each other and never in a circle.
        changed = sorted((*key, delta) for key, delta in self._deltas.items() if delta)
        connection.write_later("tasks.add_to_count", changed)
        # Where writers have rows of their own, retention does that when it adds them up.
        if not connection.is_shared:
            fewer = [row[:3] for row in changed if row[3] < 0]
            connection.write_later("tasks.drop_zero_counts", fewer)
        self._deltas.clear()
        lines, self._lines = self._lines, []
        lock_histories(connection, {line[0] for line in lines} - self._held)
        self._held = set()
        known, others = self._numbered(lines)
        connection.write_later("tasks.insert_event", known)
        at_once = connection.rows_at_once
        for start in range(0, len(others), at_once):
            some = others[start : start + at_once]
            connection.write_later("tasks.append_event", _counted(some))

    def _numbered(self, lines: Sequence[Line]) -> tuple[list[tuple[Any, ...]], list[Line]]:
        """Values of ``insert_event``, and those lines whose numbers are not known."""
        numbers, known, others = self._numbers, [], []
        for line in lines:
            seq, at, kind, *rest = line
            number = 1 if kind == _FIRST else numbers.get(seq, 0) + 1
            if number == 1 and kind != _FIRST:
                others.append(line)
                continue
            numbers[seq] = number
            known.append((seq, number, at, kind, *rest))
            if kind in _LAST:
                del numbers[seq]
        while len(numbers) > NUMBERS_KEPT:
            del numbers[next(iter(numbers))]
        return known, others

    def savepoint(self) -> Savepoint:
        """What was collected so far, for :meth:`restore`."""
        changed, outdated = len(self._changes), len(self._outdated)
        lines, held = self._lines, set(self._held)
        return dict(self._deltas), lines, len(lines), changed, outdated, held

    def restore(self, savepoint: Savepoint) -> None:
        """Undo what one operation collected, whose writes are rolled back."""
        deltas, lines, count, changed, outdated, self._held = savepoint
        if lines is not self._lines:
            # Some were written meanwhile, and are not any more.
            self._numbers.clear()
        self._lines = lines
        self._deltas.clear()
        self._deltas.update(deltas)
        del self._lines[count:], self._changes[changed:], self._outdated[outdated:]

    def discard(self) -> None:
        """Drop everything: the batch was rolled back."""
        self._deltas.clear()
        self._lines = []
        self._held = set()
        self._numbers.clear()
        self._changes, self._outdated = [], []
        self.is_careful = True
        self.recent.clear()


def _counted(lines: Sequence[Line]) -> list[tuple[Any, ...]]:
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
