"""Applies what workers report about attempts, each only if its lease still holds.

1. The rows of all reported attempts and their tasks are read with one statement, but for those that
   are remembered (``recent_attempts.py``). A row is read again once a report in the same batch has
   changed its task.
2. A report whose lease token is not the attempt's, or whose attempt has ended or is not its task's
   current one, is refused: a line in the history, and no change.
3. A report that was applied before is accepted and changes nothing: its answer was lost.
4. A start that is followed by the attempt's end in the same batch is left to that end.
5. An end closes the attempt, then moves its task by the verdict: succeeded, failed, cancelled, or
   waiting for a retry. Its result and inline output are stored in the same transaction.
6. Ends are collected and written together (:class:`Ends`), and at once if deliveries quote them.
7. A task that changed between its reading and its writing fails the whole operation: nothing of it
   is stored, and the workers report again.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from taskyard.core.attempts import Ended, Progress, Report, Started
from taskyard.core.changes import Change
from taskyard.core.errors import Unavailable
from taskyard.core.functions.functions import CallResult
from taskyard.core.ids import AttemptId, GroupName, LeaseToken, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.outcome import verdict
from taskyard.core.states import (
    ATTEMPT_ENDS,
    ATTEMPT_TRANSITIONS,
    ENDED_ATTEMPT,
    AttemptEvent,
    AttemptState,
    TaskState,
    next_attempt_state,
)
from taskyard.core.tasks import FunctionCall
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.rows import outcome_text, spec_or_plain, storable_text, text
from taskyard.store.sql.transitions import (
    StateRow,
    enqueue_webhooks,
    stored_task_of,
    transition,
)

_decoded: Final = msgspec.json.Decoder(list[list[Any]]).decode


class Ends:
    """Ends of attempts, and what follows for their tasks, that are not written yet.

    Args:
        connection: inside the transaction.
        is_careful: see ``BatchCounts.is_careful``.
    """

    def __init__(self, connection: Connection, *, is_careful: bool) -> None:
        self._connection = connection
        self._is_careful = is_careful
        self.attempts: list[tuple[int, tuple[Any, ...]]] = []
        """``seq`` of the task, and values of ``end_attempt``."""
        self.tasks: list[StateRow] = []
        self.output: dict[str, int] = {}
        """Bytes of output that are kept of them, by workspace."""

    def write(self) -> None:
        """Write them; raises ``Unavailable`` unless every task was as it had been read.

        In the order of the tasks, as all lock them: what was remembered is not locked yet.
        """
        attempts, self.attempts = [row for _, row in sorted(self.attempts, key=_seq_of)], []
        tasks, self.tasks = sorted(self.tasks, key=_seq_of), []
        self._connection.write_later("dispatch.end_attempt", attempts)
        output, self.output = self.output, {}
        if self._connection.is_shared:
            # Elsewhere a trigger counts them.
            self._connection.write_later("shards.add_output", sorted(output.items()))
        if not self._is_careful:
            self._connection.write_surely("tasks.leave_attempt", tasks)
        elif self._connection.write_many("tasks.leave_attempt", tasks) != len(tasks):
            raise Unavailable("tasks changed while the ends of their attempts were stored")


def _seq_of(row: tuple[Any, ...]) -> int:
    seq: int = row[0]
    return seq


def apply_reports(
    connection: Connection,
    counts: BatchCounts,
    reports: Sequence[Report],
    now: Instant,
    chances: Sequence[float],
    worker_id: WorkerId | None = None,
) -> tuple[list[Change], list[LeaseToken]]:
    """Apply reports in order; answers with the changes, and the leases that did not hold.

    Those of other workers than ``worker_id`` do not, and leave no trace.
    """
    reports = [_storable(report) for report in reports]
    changes: list[Change] = []
    refused: list[LeaseToken] = []
    results: list[tuple[Any, ...]] = []
    rows = counts.recent.take(reports, worker_id)
    unknown = {report.attempt_id for report in reports} - rows.keys()
    if unknown:
        rows.update(_rows(connection, unknown, worker_id))
    stale: set[AttemptId] = set()
    ends = Ends(connection, is_careful=counts.is_careful)
    ending = {
        (report.attempt_id, report.lease_token)
        for report in reports
        if isinstance(report, Ended) and report.started_at is not None
    }
    for report, chance in zip(reports, chances, strict=True):
        if report.attempt_id in stale:
            ends.write()
            rows.update(_rows(connection, {report.attempt_id}, worker_id))
        row = rows.get(report.attempt_id)
        key = (report.attempt_id, report.lease_token)
        passing = isinstance(report, Started) and key in ending
        found, holds = _apply(connection, counts, report, row, now, chance, ends, passing=passing)
        if found and isinstance(report, Ended):
            if report.result is not None:
                results.append(_result_row(report, report.result))
            if report.blob is not None:
                _keep_blob(connection, report.blob, row, now)
        if found:
            changes += found
            stale.add(report.attempt_id)
        if not holds:
            refused.append(report.lease_token)
    ends.write()
    connection.write_later("functions.insert_result", results)
    return changes, refused


def _storable(report: Report) -> Report:
    """A report as any column holds it: what work says must not keep its end from being stored."""
    if isinstance(report, Ended):
        message, signal = storable_text(report.message), storable_text(report.signal)
        if message is not report.message or signal is not report.signal:
            return msgspec.structs.replace(report, message=message, signal=signal)
    elif isinstance(report, Progress):
        said = storable_text(report.text)
        if said is not report.text:
            return msgspec.structs.replace(report, text=said)
    return report


def _result_row(report: Ended, result: CallResult) -> tuple[Any, ...]:
    """The values of ``insert_result``."""
    return (
        report.attempt_id,
        result.status,
        text(result.headers),
        result.size_bytes,
        result.body,
    )


def _keep_blob(connection: Connection, blob: bytes, row: Row | None, now: Instant) -> None:
    work = spec_or_plain(row[15]).work if row is not None else None
    if not isinstance(work, FunctionCall):
        return
    parameters = {"function_id": work.function_id, "now": now, "data": blob}
    sql = "functions.put_blob" if blob else "functions.delete_blob"
    connection.execute(sql, parameters)


def _rows(
    connection: Connection,
    attempt_ids: Collection[AttemptId],
    worker_id: WorkerId | None = None,
) -> dict[AttemptId, Row]:
    """What is stored of these attempts and their tasks, by attempt; of one worker's if given."""
    asked = connection.execute("dispatch.attempts_with_tasks", (text(list(attempt_ids)),))
    found = _decoded(asked.fetchone()[0])
    return {row[16]: row for row in found if worker_id is None or row[17] == worker_id}


def _apply(
    connection: Connection,
    counts: BatchCounts,
    report: Report,
    row: Row | None,
    now: Instant,
    chance: float,
    ends: Ends,
    *,
    passing: bool,
) -> tuple[Sequence[Change], bool]:
    """Apply one report; answers with the changes, if any, and whether the lease held.

    A report that was applied before changes nothing and is no refusal: its answer got lost. A
    start that is ``passing`` is followed by the end in the same batch, which tells it.
    """
    if row is None:
        return (), False
    token, state, seq, current = row[0], AttemptState(row[1]), row[5], row[11]
    if isinstance(report, Progress):
        return _note_progress(connection, counts, report, row), token == report.lease_token
    if token == report.lease_token and _applied_before(report, state):
        return (), True
    if token != report.lease_token or row[3] is not None or current != report.attempt_id:
        kind = "an end" if isinstance(report, Ended) else "a start"
        counts.event(
            seq,
            "refused",
            now,
            report.attempt_id,
            detail=f"late report of {kind}: the lease did not hold any more",
            is_held=True,
        )
        return (), False
    if isinstance(report, Started):
        return () if passing else _start(connection, counts, report, row), True
    return _end(connection, counts, report, row, now, chance, ends), True


def _note_progress(
    connection: Connection, counts: BatchCounts, report: Progress, row: Row
) -> Sequence[Change]:
    """Overwrite how far an attempt is; no line in its history, as there may be many."""
    parameters = {
        "fraction": report.fraction,
        "text": report.text,
        "attempt_id": report.attempt_id,
        "lease_token": report.lease_token,
    }
    if connection.execute("functions.set_progress", parameters).rowcount != 1:
        return ()
    change = _running("progress", report.at, report.attempt_id, row)
    counts.announce(change)
    return (change,)


def _applied_before(report: Started | Ended, state: AttemptState) -> bool:
    """Whether an attempt in this state has heard this report before, under the same lease."""
    if isinstance(report, Ended):
        return state is report.state
    return state in ENDED_ATTEMPT and state is not AttemptState.LOST


def _start(
    connection: Connection, counts: BatchCounts, report: Started, row: Row
) -> Sequence[Change]:
    if AttemptEvent.START not in ATTEMPT_TRANSITIONS[AttemptState(row[1])]:
        return ()
    handle = text(report.handle) if report.handle else None
    parameters = (report.at, handle, report.attempt_id, report.lease_token)
    connection.execute_later("dispatch.start_attempt", parameters)
    return (_started(connection, counts, report.at, report.attempt_id, row),)


def _started(
    connection: Connection,
    counts: BatchCounts,
    at: Instant,
    attempt_id: AttemptId,
    row: Row,
) -> Change:
    """Note in its task's history that an attempt began."""
    counts.event(row[5], "started", at, attempt_id, is_held=True)
    change = _running("started", at, attempt_id, row)
    # Reading the whole specification costs more than all the rest, and few have webhooks.
    asks = '"webhooks"' in row[15] and spec_or_plain(row[15]).webhooks
    if asks:
        change = enqueue_webhooks(connection, change)
    counts.announce(change)
    return change


def _running(kind: str, at: Instant, attempt_id: AttemptId, row: Row) -> Change:
    """Something happened to an attempt that leaves its task running."""
    return Change(
        kind=kind,
        at=at,
        task_id=row[6],
        seq=row[5],
        workspace=row[7],
        group=row[8],
        state=TaskState.RUNNING,
        was=TaskState.RUNNING,
        attempt_id=attempt_id,
        attempt_number=row[2],
    )


def _end(
    connection: Connection,
    counts: BatchCounts,
    report: Ended,
    row: Row,
    now: Instant,
    chance: float,
    ends: Ends,
) -> list[Change]:
    """Store how an attempt ended, and do to its task what follows from it.

    An end that says when the work began tells the start too, unless that was reported before.

    Raises:
        IllegalTransition: the table has no such end for the attempt's state.
    """
    was = AttemptState(row[1])
    next_attempt_state(was, ATTEMPT_ENDS[report.state])
    changes = []
    if was is AttemptState.ASSIGNED and report.started_at is not None:
        changes.append(_started(connection, counts, report.started_at, report.attempt_id, row))
    values = (
        report.attempt_id,
        report.lease_token,
        report.state.value,
        report.started_at,
        report.at,
        report.exit_code,
        report.signal,
        report.reason,
        report.message,
        outcome_text(report),
    )
    ends.attempts.append((row[5], values))
    kept = report.stdout.stored_bytes + report.stderr.stored_bytes + report.order_bytes
    if kept:
        ends.output[row[7]] = ends.output.get(row[7], 0) + kept
    for stream, data in report.inline_output.items():
        connection.execute_later("dispatch.insert_inline_output", (report.attempt_id, stream, data))
    spec = spec_or_plain(row[15])
    decided = verdict(
        report,
        spec,
        attempt_number=row[2],
        failures_before=row[13],
        kill_requested=row[12] is not None,
        now=now,
        chance=chance,
    )
    subject = stored_task_of(row[5], row[6], row[7], row[9], spec, row[10], GroupName(row[8]))
    if subject.webhooks:
        ends.write()  # Deliveries quote the attempt as it is stored.
    moved = transition(
        connection,
        counts,
        subject,
        decided.event,
        decided.kind,
        now,
        start_at=decided.start_at,
        reason=decided.reason,
        message=decided.message,
        failed=decided.failed,
        attempt_id=report.attempt_id,
        attempt_number=row[2],
        later=ends.tasks,
    )
    return [*changes, moved]


def lose_attempt(
    connection: Connection,
    counts: BatchCounts,
    attempt_id: AttemptId,
    lease_token: LeaseToken,
    worker_id: str,
    now: Instant,
) -> Change | None:
    """End an attempt whose worker is gone; its token is void from here on."""
    row = _rows(connection, {attempt_id}).get(attempt_id)
    if row is None or row[11] != attempt_id:
        return None
    lost = Ended.lost(attempt_id, lease_token, now, worker_id)
    ends = Ends(connection, is_careful=counts.is_careful)
    (change,) = _end(connection, counts, lost, row, now, 0.5, ends)
    ends.write()
    return change
