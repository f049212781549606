"""Attempts that were stored a moment ago, so that their ends need not read them.

Most calls and commands are over in a moment, and whoever stored such an attempt knows all that its
end is decided by. Another writer may have changed it since: whatever is decided by these rows is
written on condition that they are still so (``Connection.write_surely``); if not, the batch is done
again by rows that are read and locked.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeGuard

from taskyard.core.attempts import Attempt, Ended, Progress, Report, Started
from taskyard.core.ids import AttemptId, WorkerId
from taskyard.core.states import AttemptState, TaskState
from taskyard.store.sql.connection import Row
from taskyard.store.sql.rows import SHORT_SPEC

KEPT: Final = 2_000
"""Attempts at most; with specifications of 4096 characters, these take 8 MB."""
_WEBHOOKS: Final = '"webhooks"'


class RecentAttempts:
    """Rows of ``dispatch.attempts_with_tasks`` that need not be asked for. In the store server."""

    def __init__(self) -> None:
        self._rows: dict[AttemptId, Row] = {}

    def keep(
        self, attempt: Attempt, seq: int, group: str, priority: int, expires_at: Any, spec: str
    ) -> None:
        """Remember one that is stored now, with its task; ``spec`` is the column of that.

        Not if deliveries follow its end: they quote the rows, which are read then anyway.
        """
        if len(spec) > SHORT_SPEC or _WEBHOOKS in spec:
            return
        rows = self._rows
        rows[attempt.id] = (
            attempt.lease_token,
            attempt.state.value,
            attempt.number,
            None,
            None,
            seq,
            attempt.task_id,
            attempt.workspace,
            group,
            TaskState.RUNNING.value,
            priority,
            attempt.id,
            None,
            0,
            expires_at,
            spec,
            attempt.id,
            attempt.worker_id,
        )
        while len(rows) > KEPT:
            del rows[next(iter(rows))]

    def take(
        self, reports: Sequence[Report], worker_id: WorkerId | None = None
    ) -> dict[AttemptId, Row]:
        """Rows that do for these reports, and are forgotten: of attempts that began and succeeded.

        Other ends depend on more: whether a kill was asked for, and how often the task has failed.
        Of one worker's attempts, if that is given.
        """
        if not self._rows:
            return {}
        ends: dict[AttemptId, Ended] = {}
        begun: set[AttemptId] = set()
        others: set[AttemptId] = set()
        for report in reports:
            attempt_id = report.attempt_id
            row = self._rows.get(attempt_id)
            if row is None or row[0] != report.lease_token or worker_id not in (None, row[17]):
                others.add(attempt_id)
            elif isinstance(report, Started):
                begun.add(attempt_id)
            elif attempt_id not in ends and _is_success(report):
                ends[attempt_id] = report
            else:
                others.add(attempt_id)
        found = {
            attempt_id: self._rows[attempt_id]
            for attempt_id, end in ends.items()
            if attempt_id not in others and (end.started_at is not None or attempt_id not in begun)
        }
        for report in reports:
            self._rows.pop(report.attempt_id, None)
        return found

    def clear(self) -> None:
        """Forget all: the batch was undone, and some may not be so."""
        self._rows.clear()


def _is_success(report: Ended | Progress) -> TypeGuard[Ended]:
    return isinstance(report, Ended) and report.state is AttemptState.SUCCEEDED
