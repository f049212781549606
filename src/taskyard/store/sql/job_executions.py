"""Executions of jobs: each is a task, made and cancelled inside the transaction of its job."""

from taskyard.core.changes import Change
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import TaskId
from taskyard.core.instants import Instant
from taskyard.core.jobs import Job, execution_of
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import Submitted
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.submits import Submit
from taskyard.store.sql.tasks import SqlTasks
from taskyard.store.sql.transitions import ready, stored_task_of


class JobExecutions:
    """Makes and cancels the tasks of jobs."""

    def __init__(self, tasks: SqlTasks) -> None:
        self._tasks = tasks

    def add(
        self,
        connection: Connection,
        job: Job,
        start_at: Instant | None,
        now: Instant,
        actor: str | None,
        address: str | None,
    ) -> Change:
        """Make the job's next execution; at once if ``start_at`` is None."""
        new, stored = self.store(connection, job, start_at, now, actor, address)
        spec = new.spec
        subject = stored_task_of(stored.seq, new.id, new.workspace, new.state, spec, spec.priority)
        waiting = ready(subject, now) if new.state is TaskState.QUEUED else None
        return Change.submitted(new, stored.seq, at=now, ready=waiting)

    def store(
        self,
        connection: Connection,
        job: Job,
        start_at: Instant | None,
        now: Instant,
        actor: str | None,
        address: str | None,
        placement: Placement | None = None,
    ) -> tuple[NewTask, Submitted]:
        """The same; answers with its task as it was stored."""
        (number,) = connection.execute("jobs.next_execution", {"seq": job.seq}).fetchone()
        new = execution_of(job.key, job.definition, number, now, start_at)
        (outcome,) = self._tasks.submit_all(connection, [Submit((new,), actor, placement)])
        if isinstance(outcome, TaskyardError):
            raise outcome
        (stored,) = outcome
        values = {
            "job_seq": job.seq,
            "number": number,
            "task_seq": stored.seq,
            "address": address,
        }
        connection.execute("jobs.insert_execution", values)
        return new, stored

    def cancel_scheduled(
        self,
        connection: Connection,
        job: Job,
        now: Instant,
        actor: str,
        changes: list[Change],
    ) -> None:
        """Cancel those executions of a job that have not begun yet; adds to ``changes``."""
        for task_id, state in open_executions(connection, job).items():
            if state is TaskState.SCHEDULED:
                workspace = job.key.workspace
                self._tasks.cancel_one(connection, workspace, task_id, now, actor, changes)


def open_executions(connection: Connection, job: Job) -> dict[TaskId, TaskState]:
    """Executions of a job that have not ended."""
    rows = connection.execute("jobs.open_executions", {"job_seq": job.seq}).fetchall()
    return {TaskId(task_id): TaskState(state) for task_id, state in rows}
