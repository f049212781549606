"""Storing new tasks: the hot path of the store.

1. Submits are gathered (``CommitQueue.gather``): one :class:`Submits` stores all of a batch.
2. Each submit is prepared first, and nothing is written meanwhile. It gets rows and positions
   (``seq``) for all of its tasks, or an error that is its own; a position that is not used leaves
   a gap, which is allowed.
3. An idempotency key is looked up among the other tasks of its submit, then among those prepared
   before it in the batch, then in the table. A known key answers with its task and stores nothing.
   Another writer's task may come in between: the insert leaves out what is taken, and whoever
   asked for that is answered with the task that was faster, or refused if only its id is taken.
4. A task that comes with a placement is stored as running, with its first attempt, if the chosen
   worker's incarnation still takes tasks and the task has not expired. Otherwise it is stored as
   queued: the scheduler places it later.
5. Then all rows are written, many to a statement: tasks, attempts, labels. Counts and histories
   go through ``BatchCounts``. Nothing here may raise, as gathered items have no savepoint.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from taskyard.core.attempts import Attempt
from taskyard.core.changes import Change
from taskyard.core.errors import Conflict, InvalidInput, TaskyardError
from taskyard.core.ids import IncarnationId, Term, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import Submitted
from taskyard.store.sql.connection import Answer, Connection
from taskyard.store.sql.leadership import ask_leads
from taskyard.store.sql.rows import SPEC, attempt_row, storable_row
from taskyard.store.sql.transactions import Session

Keys = dict[tuple[WorkspaceName, str | None], Submitted]
"""Idempotency keys of a batch that are not in the table yet."""


Chosen = tuple[WorkerId, IncarnationId, Term | None]


class Submit(NamedTuple):
    """One submit: its tasks are stored all or none."""

    tasks: Sequence[NewTask]
    actor: str | None
    placement: Placement | None = None
    """Where the only task goes at once."""


class Fresh(NamedTuple):
    """A new task with the rows it is stored as."""

    seq: int
    task: NewTask
    row: tuple[Any, ...]
    actor: str | None
    attempt: Attempt | None
    submit: int
    """Whose it is: the number of the submit in its batch."""
    place: int
    """Of the task in its submit."""


class Submits:
    """The submits of one transaction; what can be wrong with them is found before any is written.

    Args:
        connection: inside the transaction.
        session: counts.
    """

    def __init__(self, connection: Connection, session: Session) -> None:
        self._connection = connection
        self._session = session
        self._seqs: Iterator[int] = iter(())
        self._fresh: list[Fresh] = []
        self._keys: Keys = {}
        self._workers: dict[Chosen, bool] = {}
        self._asked: dict[Chosen, list[Answer]] = {}
        self._outcomes: list[list[Submitted] | TaskyardError] = []

    def store(self, submits: Sequence[Submit]) -> list[list[Submitted] | TaskyardError]:
        """Store what can be stored; one outcome for each submit."""
        outcomes = self._outcomes
        for submit in submits:
            if submit.placement is not None:
                self._ask_worker(submit.placement)
        count = sum(len(submit.tasks) for submit in submits)
        self._seqs = self._connection.positions(count)
        for submit in submits:
            try:
                outcomes.append(self._prepare(submit))
            except TaskyardError as error:
                outcomes.append(error)
            except UnicodeEncodeError:
                outcomes.append(InvalidInput("", "contains text that is not valid Unicode"))
        self._write()
        if self._session.counts.keeps_changes:
            self._announce()
        return outcomes

    def _prepare(self, submit: Submit) -> list[Submitted]:
        """Rows for one submit, all or none of them kept; keys known are looked up."""
        results: list[Submitted] = []
        rows: list[Fresh] = []
        new_keys: Keys = {}
        placement = submit.placement
        if placement is not None and not self._takes_tasks(placement):
            placement = None
        for task in submit.tasks:
            key = (task.workspace, task.spec.idempotency_key)
            if key[1] is not None:
                known = new_keys.get(key) or self._keys.get(key) or known_by(self._connection, key)
                if known is not None:
                    results.append(known)
                    continue
            attempt = None
            if placement is not None and not _has_expired(task):
                attempt = assigned(placement, task, task.created_at)
            seq = next(self._seqs)
            attempt_id = None if attempt is None else attempt.id
            row = storable_row(seq, task, attempt_id)
            mine = len(self._outcomes), len(results)
            rows.append(Fresh(seq, task, row, submit.actor, attempt, *mine))
            stored = Submitted(task.id, task.state, seq, created=True, attempt=attempt)
            results.append(stored)
            if key[1] is not None:
                new_keys[key] = msgspec.structs.replace(stored, created=False, attempt=None)
        self._fresh += rows
        self._keys |= new_keys
        return results

    def _takes_tasks(self, placement: Placement) -> bool:
        """Whether a worker is still the one that was chosen, and not draining; by a leader."""
        chosen = (placement.worker_id, placement.incarnation, placement.term)
        known = self._workers.get(chosen)
        if known is None:
            answers = self._asked[chosen]
            known = all(answer.fetchone() is not None for answer in answers)
            self._workers[chosen] = known
        return known

    def _ask_worker(self, placement: Placement) -> None:
        """What :meth:`_takes_tasks` looks at; asked for together with the positions."""
        chosen = (placement.worker_id, placement.incarnation, placement.term)
        if chosen not in self._asked:
            term = ask_leads(self._connection, placement.term)
            worker = self._connection.ask("dispatch.worker_ready", chosen[:2])
            self._asked[chosen] = [worker] if term is None else [term, worker]

    def _announce(self) -> None:
        counts = self._session.counts
        for seq, task, _, _, attempt, *_ in self._fresh:
            stored = Submitted(task.id, task.state, seq, created=True, attempt=attempt)
            counts.announce(stored.change(task))
            if attempt is not None:
                counts.announce(Change.assigned(Task.placed(task, seq, attempt), attempt))

    def _write(self) -> None:
        self._insert_tasks()
        fresh, counts = self._fresh, self._session.counts
        placed = [(one.seq, one.attempt) for one in fresh if one.attempt is not None]
        attempts = [attempt_row(seq, attempt) for seq, attempt in placed]
        self._connection.write_later("dispatch.insert_attempt", attempts)
        labels = [
            (task.workspace, label, value, seq)
            for seq, task, *_ in fresh
            for label, value in task.spec.labels.items()
        ]
        self._connection.write_later("tasks.insert_label", labels)
        for seq, task, row, actor, attempt, *_ in fresh:
            state = task.state if attempt is None else TaskState.RUNNING
            counts.add(task.workspace, task.spec.group, state)
            counts.event(seq, "submitted", task.created_at, actor=actor, is_held=True)
            if attempt is not None:
                at, detail = attempt.assigned_at, destination(attempt)
                counts.event(seq, "assigned", at, attempt.id, detail=detail, is_held=True)
                spec = task.spec
                counts.recent.keep(
                    attempt, seq, spec.group, spec.priority, spec.expires_at, row[SPEC]
                )

    def _insert_tasks(self) -> None:
        fresh = self._fresh
        if self._connection.is_shared and self._keys:
            # Two writers that store the same keys wait for each other, and never in a circle.
            fresh = sorted(fresh, key=_key_of)
        rows = [one.row for one in fresh]
        if not self._session.counts.is_careful:
            # If another writer was faster, the batch is done again, and finds out what came of it.
            self._connection.write_surely("tasks.insert_task", rows)
            return
        if self._connection.write_many("tasks.insert_task", rows) == len(rows):
            return
        there = {one.seq for one in self._fresh if self._is_stored(one)}
        for one in self._fresh:
            if one.seq not in there:
                self._settle_lost(one)
        kept = []
        for one in self._fresh:
            if one.seq in there and not isinstance(self._outcomes[one.submit], TaskyardError):
                kept.append(one)
            elif one.seq in there:  # of a submit that is refused as a whole
                self._connection.execute("tasks.delete_task", {"seq": one.seq})
        self._fresh = kept

    def _is_stored(self, fresh: Fresh) -> bool:
        row = self._connection.execute("dispatch.place_of", {"seq": fresh.seq}).fetchone()
        return row is not None

    def _settle_lost(self, lost: Fresh) -> None:
        """Answer with the task that has the key of one not stored, or refuse its submit."""
        task = lost.task
        key = (task.workspace, task.spec.idempotency_key)
        winner = None if key[1] is None else known_by(self._connection, key)
        if winner is None:
            self._outcomes[lost.submit] = Conflict(f"there is a task {task.id} already")
        for outcome in self._outcomes:
            if isinstance(outcome, TaskyardError) or winner is None:
                continue
            # Those behind it in the batch with the same key were told of the lost one as well.
            outcome[:] = [winner if told.seq == lost.seq else told for told in outcome]


def _key_of(fresh: Fresh) -> tuple[str, str, str]:
    task = fresh.task
    return task.workspace, task.spec.idempotency_key or "", task.id


def assigned(placement: Placement, task: NewTask | Task, now: Instant, number: int = 1) -> Attempt:
    """The attempt that a placement makes."""
    return Attempt(
        id=placement.attempt_id,
        task_id=task.id,
        workspace=task.workspace,
        number=number,
        worker_id=placement.worker_id,
        incarnation=placement.incarnation,
        lease_token=placement.lease_token,
        lease_expires_at=placement.lease_expires_at,
        resources=task.spec.resources.granted(placement.allotted),
        state=AttemptState.ASSIGNED,
        assigned_at=now,
    )


def _has_expired(task: NewTask) -> bool:
    return task.spec.expires_at is not None and task.spec.expires_at <= task.created_at


def destination(attempt: Attempt) -> str:
    """How a task's history names the worker."""
    return f"to {attempt.worker_id}"


def known_by(connection: Connection, key: tuple[WorkspaceName, str | None]) -> Submitted | None:
    """The task that an idempotency key stands for; None if it is not known."""
    parameters = {"workspace": key[0], "key": key[1]}
    try:
        row = connection.execute("tasks.task_by_key", parameters).fetchone()
    except UnicodeEncodeError as error:
        raise InvalidInput("idempotency_key", "is not valid Unicode") from error
    return None if row is None else Submitted(row[0], TaskState(row[1]), row[2], created=False)
