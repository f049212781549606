"""The store ports: the durable truth, split by aggregate; here, tasks as their owners see them.

Every method that writes returns only after its commit. Writes that arrive together may share one
transaction (group commit); each still succeeds or fails alone. All of them may raise
``StorageFull`` or ``Unavailable``, and ``InvalidInput`` if they are given text that is not valid
Unicode or numbers beyond 64 bits. Every method that changes a task answers with the
:class:`Change` records to announce.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt
from taskyard.core.changes import Change, Event
from taskyard.core.cron import CatchUp
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    TaskId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.scheduling.requirements import ready_task
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Placement


class Submitted(Struct, frozen=True):
    """Outcome of one submit."""

    task_id: TaskId
    state: TaskState
    seq: int
    created: bool
    """False: the idempotency key was known, and this is the task it stands for."""
    attempt: Attempt | None = None
    """The attempt it was stored with, if it was placed at once."""

    def change(self, new: NewTask) -> Change:
        """What to announce of a task that was created."""
        waits = new.state is TaskState.QUEUED and self.attempt is None
        return Change.submitted(new, self.seq, ready=ready_task(new, self.seq) if waits else None)


class TaskQuery(Struct, frozen=True):
    """Which tasks to list, newest first unless ``oldest_first``."""

    workspace: WorkspaceName
    states: frozenset[TaskState] = frozenset()
    """Any of these; all states when empty."""
    group: GroupName | None = None
    labels: dict[str, str] = {}
    """All of these pairs."""
    text: str | None = None
    """Case-insensitive part of name, group, id or command, or of the name of a function that is
    called; in commands, quotes, backslashes and the kind of white space do not count."""
    created_after: Instant | None = None
    created_before: Instant | None = None
    schedule_id: TaskId | None = None
    oldest_first: bool = False
    limit: int = 50
    after_seq: int | None = None
    """Continue behind this ``seq`` (the cursor of the page before)."""


class TaskPage(Struct, frozen=True):
    """One page of tasks."""

    tasks: list[Task]
    next_seq: int | None
    """Cursor for the next page; None at the end. A page may be short, even empty, and still have
    a next one when a rare match needed a longer search than one page is granted."""
    ran_s: dict[TaskId, float] = {}
    """Seconds for which the ended attempts of these tasks ran, added up, without the time in which
    they waited; tasks without such attempts are left out."""


class CancelOutcome(Struct, frozen=True):
    """What a request to cancel one task led to."""

    task_id: TaskId
    outcome: str
    """``cancelled`` (it was waiting), ``killing`` (it runs; the kill is under way), ``ended`` (it
    had ended before), ``unknown``."""
    attempt: Attempt | None = None
    """The attempt to kill, with ``killing``."""
    kill_signal: str = "SIGTERM"
    kill_grace_s: float = 0.0
    """How its task asks to be killed."""


class TaskStore(Protocol):
    """Tasks as their owners see them. Someone else's task is an unknown one."""

    async def submit(self, tasks: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """Store new tasks, all or none, in order. Raises ``Conflict`` if an id is taken already."""
        ...

    async def submit_placed(
        self, task: NewTask, actor: str | None, placement: "Placement"
    ) -> Submitted:
        """Store a new task that is queued together with the attempt it goes to at once.

        Without an attempt, as :meth:`submit`, if the worker is not the one it was, or does not
        take tasks. ``placement.seq`` is ignored.
        """
        ...

    async def task(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """Raises ``NotFound``."""
        ...

    async def task_by_key(self, workspace: WorkspaceName, key: str) -> Task:
        """The task that an idempotency key stands for. Raises ``NotFound``."""
        ...

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """A page in stable order; cost does not depend on how many tasks there are."""
        ...

    async def counts(
        self, workspace: WorkspaceName, group: GroupName | None = None
    ) -> dict[TaskState, int]:
        """How many tasks there are in each state that has any, from kept counters."""
        ...

    async def attempts(self, workspace: WorkspaceName, task_id: TaskId) -> list[Attempt]:
        """All attempts, first to last. Raises ``NotFound``."""
        ...

    async def attempt(self, workspace: WorkspaceName, attempt_id: AttemptId) -> Attempt:
        """One attempt by id. Raises ``NotFound``."""
        ...

    async def events(
        self, workspace: WorkspaceName, task_id: TaskId, after: int, limit: int
    ) -> list[Event]:
        """The history behind event number ``after`` (0: from the start). Raises ``NotFound``."""
        ...

    async def cancel(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """Cancel waiting tasks, mark running ones for the kill; one outcome for each id."""
        ...

    async def set_priority(
        self, workspace: WorkspaceName, task_id: TaskId, priority: int, now: Instant, actor: str
    ) -> list[Change]:
        """Raises ``NotFound``, or ``IllegalTransition`` unless the task waits."""
        ...

    async def reschedule(
        self,
        workspace: WorkspaceName,
        task_id: TaskId,
        start_at: Instant,
        now: Instant,
        actor: str,
        cron: str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
    ) -> list[Change]:
        """Give a waiting task another start (a recurring one: next firing, and rule if given).

        Raises ``NotFound``, or ``IllegalTransition`` unless the task waits.
        """
        ...

    async def delete(
        self,
        workspace: WorkspaceName,
        task_ids: Sequence[TaskId],
        now: Instant,
        audit: Sequence[AuditEntry] = (),
    ) -> tuple[list[AttemptId], list[Change]]:
        """Remove ended tasks with all that belongs to them; answers whose logs to delete.

        The entries of ``audit`` are stored along with it.

        Raises ``NotFound``, or ``IllegalTransition`` if one has not ended; then none is removed.
        """
        ...

    async def inline_output(self, attempt_id: AttemptId, stream: str) -> bytes | None:
        """Output kept in the store itself; None if it is elsewhere."""
        ...

    async def ahead_of(self, task: Task, limit: int) -> int:
        """How many queued tasks of its group go before this queued task; counts to ``limit``."""
        ...
