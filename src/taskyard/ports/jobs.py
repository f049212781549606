"""The job port: definitions, their executions, and what they owe, in shared transactions."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.changes import Change
from taskyard.core.ids import GroupName, TaskId, Term, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.jobs import Execution, Job, JobDefinition, JobGroup, JobKey, JobLine, JobMoment
from taskyard.core.notifications.messages import Message
from taskyard.ports.dispatching import PlacedAttempt, Placement
from taskyard.ports.store import CancelOutcome


class Start(Struct, frozen=True):
    """When a stored job starts."""

    at: Instant | None = None
    """None starts it now, as an execution made with it."""


class Stored(Struct, frozen=True):
    """What putting a job led to."""

    job: Job
    created: bool
    execution: TaskId | None
    """The one made at once, if any."""
    changes: list[Change]
    placed: PlacedAttempt | None = None
    """The attempt that the execution was stored with."""


class Owed(Struct, frozen=True):
    """An execution about which something has yet to be done, with its job."""

    job: Job
    execution: Execution


class JobCounts(Struct, frozen=True):
    """Totals of a workspace."""

    groups: int
    jobs: int
    delayed: int
    """Jobs that start by themselves later."""
    next_at: Instant | None
    """When the first of them does."""
    plain_pending: int
    mail_pending: int


class JobStore(Protocol):
    """Raises as the store ports do; everything written is on disk when a method returns."""

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
        """Add a job, or replace the definition of the one that is there.

        A replaced job has its budget of retries whole again, and its pending start (a time, a
        rule, a retry's back-off) cancelled. Members of ``details`` named in ``kept`` stay as they
        were where the new definition has none. An execution that is made at once is stored with
        the placement, as by ``TaskStore.submit_placed``.
        """
        ...

    async def job(self, key: JobKey) -> Job:
        """Raises ``NotFound``, with kind ``group`` when there is no such group."""
        ...

    async def jobs(self, workspace: WorkspaceName, group: GroupName) -> list[JobLine]:
        """All of a group, latest modified first. Raises ``NotFound`` for an unknown group."""
        ...

    async def groups(
        self, workspace: WorkspaceName, words: Sequence[str] | None, offset: int, limit: int
    ) -> tuple[list[JobGroup], int]:
        """Groups that hold jobs, oldest first, and how many there are in all.

        With ``words``, those whose name has any of them: whole runs of letters, digits and
        underscores, case-folded by the caller.
        """
        ...

    async def executions(self, job: Job, limit: int) -> list[Execution]:
        """The newest ones, newest first; 1000 at most, whatever the limit."""
        ...

    async def execution(self, job: Job, task_id: TaskId) -> Execution:
        """Raises ``NotFound``."""
        ...

    async def stop(
        self, key: JobKey, task_id: TaskId | None, now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """Let no more retries be granted, and stop an execution.

        A retry that was granted before is an execution of its own, and stays. With None the job
        itself is stopped: whatever it would start later, such a retry included, and its last
        execution. Raises ``NotFound`` as :meth:`job`, with kind ``execution`` if it has none such.
        """
        ...

    async def rerun(
        self, key: JobKey, now: Instant, actor: str
    ) -> tuple[TaskId, list[CancelOutcome], list[Change]]:
        """Run a job once more, now; its last execution is stopped if it runs.

        Raises ``NotFound`` (kind ``execution`` if it has none), or ``Conflict`` while a start of
        it is pending.
        """
        ...

    async def recurring(self, workspace: WorkspaceName, limit: int) -> list[Job]:
        """Jobs whose rule is in force, latest modified first."""
        ...

    async def waiting(self, workspace: WorkspaceName, limit: int) -> list[Job]:
        """Jobs that start by themselves later, the next one first."""
        ...

    async def counts(self, workspace: WorkspaceName) -> JobCounts:
        """For displays."""
        ...

    async def next_due(self) -> Instant | None:
        """When a job starts next by itself."""
        ...

    async def start_due(self, now: Instant, limit: int, term: Term | None = None) -> list[Change]:
        """Make the executions that are due, earliest first, and move their jobs on.

        Each start is made once, whoever else looks. A job that cannot be started is put aside.
        Raises ``NotLeading`` if ``term`` has ended; without one it is done whoever leads.
        """
        ...

    async def owed(self, after: int, limit: int) -> list[tuple[int, TaskId]]:
        """Executions of all workspaces that run or ended and were not dealt with to the end.

        In order of position, behind position ``after``. Reporting a begin leaves them here.
        """
        ...

    async def look(self, task_id: TaskId) -> Owed | None:
        """An execution that has not been dealt with to the end; None for anything else."""
        ...

    async def complete(
        self,
        task_id: TaskId,
        moment: JobMoment,
        messages: Sequence[Message],
        now: Instant,
        term: Term | None = None,
    ) -> tuple[list[Change], int]:
        """Store what follows from a moment: messages, and with the end a retry if one is granted.

        However often it is called, each follows once. Answers with the changes, and how many
        messages are new: none for what was dealt with to the end, or is no execution.

        Raises ``IllegalTransition`` for the end of an execution that has not ended, and
        ``NotLeading`` as :meth:`start_due`.
        """
        ...


class Reporter(Protocol):
    """Formats notifications about an execution; each dialect with jobs provides one."""

    async def messages(self, owed: Owed, moment: JobMoment) -> list[Message]:
        """What to send about this moment."""
        ...
