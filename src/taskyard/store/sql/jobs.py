"""Jobs and their executions."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from taskyard.core.changes import Cached, Change
from taskyard.core.errors import (
    Conflict,
    IllegalTransition,
    NotFound,
    Unavailable,
)
from taskyard.core.ids import GroupName, TaskId, Term, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.jobs import (
    Execution,
    Job,
    JobDefinition,
    JobGroup,
    JobKey,
    JobLine,
    JobMoment,
    retry_at,
    start_after,
)
from taskyard.core.notifications.messages import DeliveryKind, Message
from taskyard.core.states import TERMINAL, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.dispatching import PlacedAttempt, Placement
from taskyard.ports.jobs import JobCounts, Owed, Start, Stored
from taskyard.ports.store import CancelOutcome
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.job_executions import JobExecutions, open_executions
from taskyard.store.sql.job_rows import (
    check_group,
    definition_text,
    execution_at,
    find_execution,
    find_job,
    insert_job,
    job_at,
    job_of,
    job_to_change,
    key_values,
    last_execution,
    text_of,
)
from taskyard.store.sql.leadership import check_term
from taskyard.store.sql.locks import lock_job
from taskyard.store.sql.parking import guarded, put_aside, readmit
from taskyard.store.sql.tasks import SqlTasks
from taskyard.store.sql.transactions import Repository, Session, writes
from taskyard.store.sql.webhooks import enqueue_messages

MOST_EXECUTIONS: Final = 1000


class SqlJobs(Repository):
    """Implements ``ports.jobs.JobStore``."""

    def __init__(self, session: Session, tasks: SqlTasks) -> None:
        super().__init__(session)
        self._tasks = tasks
        self._executions = JobExecutions(tasks)

    @writes
    async def put(
        self,
        key: JobKey,
        definition: JobDefinition,
        start: Start,
        ticket: str,
        kept: Sequence[str],
        now: Instant,
        actor: str,
        placement: Placement | None = None,
    ) -> Stored:
        """See the port."""

        def write(connection: Connection) -> Stored:
            changes: list[Change] = []
            values = {
                **key_values(key),
                "now": now,
                "next_at": start.at,
                "recurring": int(definition.cron is not None),
                "ticket": ticket,
                "definition": definition_text(definition),
            }
            known = job_to_change(connection, key)
            seq = insert_job(connection, key, values) if known is None else known.seq
            if seq is None:  # somebody else was faster
                known = job_to_change(connection, key)
                if known is None:
                    raise Unavailable("the job was removed while it was put; put it again")
                seq = known.seq
            if known is not None:
                values["definition"] = definition_text(definition, known.definition, kept)
                connection.execute("jobs.replace_job", {**values, "seq": seq})
                readmit(connection, "job", seq)
                self._executions.cancel_scheduled(connection, known, now, actor, changes)
            task_id = placed = None
            if start.at is not None:
                self._session.counts.outdate(Cached.JOBS)
            else:
                job = job_at(connection, seq)
                address = definition.address
                new, stored = self._executions.store(
                    connection, job, None, now, actor, address, placement
                )
                changes.append(stored.change(new))
                if stored.attempt is not None:
                    task = Task.placed(new, stored.seq, stored.attempt)
                    placed = PlacedAttempt(stored.attempt, task)
                    changes.append(placed.change)
                task_id = new.id
            return Stored(job_at(connection, seq), known is None, task_id, changes, placed)

        return await self._session.write(write)

    async def job(self, key: JobKey) -> Job:
        """See the port."""
        return await self._session.read(lambda connection: find_job(connection, key))

    async def jobs(self, workspace: WorkspaceName, group: GroupName) -> list[JobLine]:
        """See the port."""
        place = {"workspace": workspace, "group_name": group}

        def read(connection: Connection) -> list[JobLine]:
            check_group(connection, place)
            return [JobLine(*row) for row in connection.execute("jobs.jobs_of_group", place)]

        return await self._session.read(read)

    async def groups(
        self, workspace: WorkspaceName, words: Sequence[str] | None, offset: int, limit: int
    ) -> tuple[list[JobGroup], int]:
        """See the port."""
        page, total = "jobs.job_groups_page", "jobs.job_groups_total"
        values: dict[str, Any] = {"workspace": workspace, "limit": limit, "offset": offset}
        if words is not None:
            page, total = "jobs.job_groups_found", "jobs.job_groups_found_total"
            values["words"] = text_of(list(words))

        def read(connection: Connection) -> tuple[list[JobGroup], int]:
            (count,) = connection.execute(total, values).fetchone()
            return [JobGroup(*row) for row in connection.execute(page, values)], count

        return await self._session.read(read)

    async def executions(self, job: Job, limit: int) -> list[Execution]:
        """See the port."""
        values = {"job_seq": job.seq, "limit": min(limit, MOST_EXECUTIONS)}

        def read(connection: Connection) -> list[Execution]:
            rows = connection.execute("jobs.executions_of_job", values).fetchall()
            return [execution_at(connection, row) for row in rows]

        return await self._session.read(read)

    async def execution(self, job: Job, task_id: TaskId) -> Execution:
        """See the port."""

        def read(connection: Connection) -> Execution:
            return find_execution(connection, job, task_id)

        return await self._session.read(read)

    @writes
    async def stop(
        self, key: JobKey, task_id: TaskId | None, now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[CancelOutcome], list[Change]]:
            lock_job(connection, key)
            job = find_job(connection, key)
            changes: list[Change] = []
            outcomes: list[CancelOutcome] = []
            if task_id is not None:
                last: TaskId | None = find_execution(connection, job, task_id).task.id
            else:
                connection.execute("jobs.stop_starting", {"seq": job.seq})
                readmit(connection, "job", job.seq)
                self._executions.cancel_scheduled(connection, job, now, actor, changes)
                last = last_execution(connection, job)
            spent = {"seq": job.seq, "retry_count": job.definition.retries + 1, "now": now}
            connection.execute("jobs.spend_retries", spent)
            if last is not None:
                outcomes.append(
                    self._tasks.cancel_one(connection, key.workspace, last, now, actor, changes)
                )
            return outcomes, changes

        return await self._session.write_urgently(write)

    @writes
    async def rerun(
        self, key: JobKey, now: Instant, actor: str
    ) -> tuple[TaskId, list[CancelOutcome], list[Change]]:
        """See the port."""

        def write(
            connection: Connection,
        ) -> tuple[TaskId, list[CancelOutcome], list[Change]]:
            lock_job(connection, key)
            job = find_job(connection, key)
            last = last_execution(connection, job)
            if last is None:
                raise NotFound("execution", key.id)
            states = open_executions(connection, job)
            if job.next_at is not None or TaskState.SCHEDULED in states.values():
                raise Conflict("a start of this job is pending")
            changes: list[Change] = []
            outcomes: list[CancelOutcome] = []
            if states.get(last) is TaskState.RUNNING:
                outcomes.append(
                    self._tasks.cancel_one(connection, key.workspace, last, now, actor, changes)
                )
            change = self._executions.add(connection, job, None, now, actor, None)
            changes.append(change)
            return change.task_id, outcomes, changes

        return await self._session.write(write)

    async def recurring(self, workspace: WorkspaceName, limit: int) -> list[Job]:
        """See the port."""
        values = {"workspace": workspace, "limit": limit}

        def read(connection: Connection) -> list[Job]:
            return [job_of(row) for row in connection.execute("jobs.recurring_jobs", values)]

        return await self._session.read(read)

    async def waiting(self, workspace: WorkspaceName, limit: int) -> list[Job]:
        """See the port."""
        values = {"workspace": workspace, "limit": limit}

        def read(connection: Connection) -> list[Job]:
            return [job_of(row) for row in connection.execute("jobs.waiting_jobs", values)]

        return await self._session.read(read)

    async def counts(self, workspace: WorkspaceName) -> JobCounts:
        """See the port."""
        values: dict[str, Any] = {"workspace": workspace}

        def read(connection: Connection) -> JobCounts:
            (groups,) = connection.execute("jobs.job_groups_total", values).fetchone()
            (jobs,) = connection.execute("jobs.jobs_total", values).fetchone()
            delayed, next_at = connection.execute("jobs.delayed_jobs", values).fetchone()
            pending = []
            for kind in (DeliveryKind.PLAIN, DeliveryKind.MAIL):
                sql, of_kind = "jobs.pending_of_kind", {**values, "kind": kind.value}
                pending.append(connection.execute(sql, of_kind).fetchone()[0])
            return JobCounts(groups, jobs, delayed, next_at, *pending)

        return await self._session.read(read)

    async def next_due(self) -> Instant | None:
        """See the port."""
        (found,) = await self._session.read(lambda c: c.execute("jobs.next_due_job").fetchone())
        return None if found is None else Instant(found)

    @writes
    async def start_due(self, now: Instant, limit: int, term: Term | None = None) -> list[Change]:
        """See the port."""

        def write(connection: Connection) -> list[Change]:
            check_term(connection, term)
            rows = connection.execute("jobs.due_jobs", {"now": now, "limit": limit}).fetchall()
            changes = []
            for row in rows:
                start = partial(self._start, connection, row, now)
                done = guarded(connection, self._session.counts, start)
                if isinstance(done, Exception):
                    put_aside(connection, "job", row[0], row[1], done, now)
                else:
                    changes += done
            return changes

        return await self._session.write(write)

    async def owed(self, after: int, limit: int) -> list[tuple[int, TaskId]]:
        """See the port."""
        values = {"after": after, "limit": limit}
        rows = await self._session.read(lambda c: c.execute("jobs.owed", values).fetchall())
        return [(seq, TaskId(task_id)) for seq, task_id in rows]

    async def look(self, task_id: TaskId) -> Owed | None:
        """See the port."""

        def read(connection: Connection) -> Owed | None:
            row = connection.execute("jobs.execution_of_task", {"task_id": task_id}).fetchone()
            if row is None or row[2]:
                return None
            return Owed(job_at(connection, row[20]), execution_at(connection, row))

        return await self._session.read(read)

    @writes
    async def complete(
        self,
        task_id: TaskId,
        moment: JobMoment,
        messages: Sequence[Message],
        now: Instant,
        term: Term | None = None,
    ) -> tuple[list[Change], int]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[Change], int]:
            check_term(connection, term)
            values = {"task_id": task_id}
            row = connection.execute("jobs.execution_of_task", values).fetchone()
            if row is None or row[2]:
                return [], 0
            # Whoever stops the job, or deals with the same execution, comes before or after.
            lock_job(connection, job_at(connection, row[20]).key)
            row = connection.execute("jobs.execution_of_task", values).fetchone()
            if row is None or row[2]:
                return [], 0
            job, execution = job_at(connection, row[20]), execution_at(connection, row)
            task = execution.task
            if moment is JobMoment.ENDED and task.state not in TERMINAL:
                raise IllegalTransition("execution", task.state, "be settled")
            count = enqueue_messages(connection, job.key.workspace, task_id, messages, now)
            if moment is JobMoment.BEGAN:
                return [], count
            settled = connection.execute("jobs.settle_execution", {"task_seq": task.seq})
            start_at = retry_at(job, task, now) if settled.rowcount else None
            if start_at is None:
                return [], count
            connection.execute("jobs.count_retry", {"seq": job.seq})
            return [self._executions.add(connection, job, start_at, now, None, None)], count

        return await self._session.write_urgently(write)

    def _start(self, connection: Connection, row: Sequence[Any], now: Instant) -> list[Change]:
        """Start a job that is due, inside a transaction; not one that was started meanwhile."""
        job = job_of(row)
        moved = {"seq": job.seq, "next_at": start_after(job, now), "was": job.next_at}
        if not connection.execute("jobs.move_job_on", moved).rowcount:
            return []
        readmit(connection, "job", job.seq)
        return [self._executions.add(connection, job, None, now, None, None)]
