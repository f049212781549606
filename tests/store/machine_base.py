# ruff: noqa: D102 - rules tell by their names; ``shell`` is a member of a specification
"""The store and its model side by side, and what always holds between them."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, invariant
from machine_inputs import (
    START,
)
from msgspec.structs import replace

import postgres
from fakes.model import ModelStore
from fakes.stores import FAST, opened_as, remove
from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import (
    AttemptId,
    LeaseToken,
    TaskId,
    WorkspaceName,
)
from taskyard.core.instants import Instant, after
from taskyard.core.states import TERMINAL, TaskState
from taskyard.core.tasks import NewTask, Task, TaskSpec
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.rows import attempt_of, task_of


class Positions:
    """Positions without gaps, as the model counts them; PostgreSQL's own leave some."""

    last: ClassVar[int] = 0

    @classmethod
    def give(cls, count: int) -> Iterator[int]:
        """As ``Connection.positions``."""
        for _ in range(count):
            cls.last += 1
            yield cls.last


class MachineBase(RuleBasedStateMachine):
    """Drives a store on disk and the model with the same calls."""

    kind: ClassVar[str] = "sqlite"
    """Of the store, as in ``fakes.stores.STORES``."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="taskyard-machine-", dir=FAST))
        self.runner = asyncio.Runner()
        self.store: Any = self.opened()
        self.model = ModelStore()
        self.now = Instant(START)
        self.ids: list[tuple[WorkspaceName, TaskId]] = []
        self.reports: list[Report] = []
        self.issued: list[tuple[AttemptId, LeaseToken]] = []
        self.fired: set[tuple[str, int]] = set()
        self.ended: dict[TaskId, Task] = {}
        self.count = 0

    def opened(self) -> Any:
        """The store, open; again after it was closed."""
        store = self.runner.run(opened_as(self.kind, self.directory))
        if self.kind == "postgres":
            newest = "SELECT coalesce(max(seq), 0) FROM tasks"
            read = store.session.read(lambda c: c.select(newest).fetchone())
            (Positions.last,) = self.run(read)
        return store

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        postgres.drop_databases()
        remove(self.directory)

    # -- both at once ------------------------------------------------------------------------

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def call() -> Any:
            return await awaitable

        return self.runner.run(call())

    def both(self, real: Awaitable[Any], model: Callable[[], Any]) -> Any:
        """Do it on both; they answer alike or raise alike."""
        got, got_error = None, None
        try:
            got = self.run(real)
        except TaskyardError as error:
            got_error = error
        wanted, wanted_error = outcome_of(model)
        assert (type(got_error), str(got_error)) == (type(wanted_error), str(wanted_error))
        assert got == wanted
        return got

    def fresh(self) -> int:
        self.count += 1
        return self.count

    def pick(self, index: int) -> tuple[WorkspaceName, TaskId]:
        if not self.ids or index == 60:
            return WorkspaceName("a"), TaskId(str(UUID(int=7)))
        return self.ids[-1 - index % len(self.ids)]

    def new(
        self, workspace: WorkspaceName, spec: TaskSpec, start: int | None, expires: int | None
    ) -> NewTask:
        if expires is not None:
            spec = replace(spec, expires_at=after(self.now, expires))
        start_at = None
        if start is not None and start > 0:
            start_at = after(self.now, start)
            if spec.cron is None:
                spec = replace(spec, start_at=start_at)
        waits = start_at is not None or spec.cron is not None
        if spec.cron is not None and start_at is None:
            start_at = after(self.now, 1)
        task_id = TaskId(str(UUID(int=self.fresh() + (1 << 100))))
        return NewTask(
            id=task_id,
            workspace=workspace,
            spec=spec,
            state=TaskState.SCHEDULED if waits else TaskState.QUEUED,
            created_at=self.now,
            start_at=start_at,
        )

    def note(self, news: Sequence[NewTask]) -> None:
        known = set(self.ids)
        stored = {task.id for task in self.model.tasks.values()}
        self.ids += [
            (new.workspace, new.id)
            for new in news
            if new.id in stored and (new.workspace, new.id) not in known
        ]

    def note_fired(self) -> None:
        known = {task_id for _, task_id in self.ids}
        for task in self.model.tasks.values():
            if task.id not in known:
                self.ids.append((task.workspace, task.id))

    def forget(self) -> None:
        left = {task.id for task in self.model.tasks.values()}
        self.ended = {task_id: task for task_id, task in self.ended.items() if task_id in left}
        self.fired = {
            (s, due)
            for s, due in self.fired
            if any((t.schedule_id, t.due_at) == (s, due) for t in self.model.tasks.values())
        }

    # -- what always holds -------------------------------------------------------------------

    def everything(self) -> tuple[list[Task], list[Attempt], dict[int, list[int]], set[Any]]:
        def read(connection: Connection) -> Any:
            tasks = connection.select(
                "SELECT seq, id, workspace, spec, state, created_at, attempt_count, start_at,"
                " current_attempt, kill_requested_at, finished_at, reason, message, schedule_id,"
                " due_at, retry_of, priority FROM tasks ORDER BY seq"
            )
            attempts = connection.select(
                "SELECT id, task_id, workspace, number, worker_id, incarnation, lease_token,"
                " lease_expires_at, resources, state, assigned_at, started_at, finished_at,"
                " exit_code, signal, reason, message, handle, outcome, progress, progress_text"
                " FROM attempts"
            )
            events: dict[int, list[int]] = {}
            for seq, number in connection.select(
                "SELECT task_seq, number FROM events ORDER BY task_seq, number"
            ):
                events.setdefault(seq, []).append(number)
            kept = connection.text("kept.task_counts")
            counts = connection.select(
                f"SELECT workspace, group_name, state, sum(total) FROM {kept} AS kept"  # noqa: S608
                " GROUP BY workspace, group_name, state HAVING sum(total) <> 0"
            ).fetchall()
            orphans = connection.select(
                "SELECT (SELECT count(*) FROM task_labels WHERE task_seq NOT IN"
                " (SELECT seq FROM tasks)) + (SELECT count(*) FROM folded_output WHERE attempt_id"
                " NOT IN (SELECT id FROM attempts)) + (SELECT count(*) FROM webhook_deliveries"
                " WHERE task_id NOT IN (SELECT id FROM tasks))"
            ).fetchone()[0]
            assert orphans == 0
            return (
                [task_of(row) for row in tasks],
                [attempt_of(row) for row in attempts],
                events,
                set(counts),
            )

        return self.run(self.store.session.read(read))  # type: ignore[no-any-return]

    @invariant()
    def both_hold_the_same(self) -> None:
        tasks, attempts, events, counts = self.everything()
        assert tasks == [self.model.tasks[seq] for seq in sorted(self.model.tasks)]
        assert by_id(attempts) == by_id(self.model.held.values())
        assert events == {
            seq: list(range(1, len(lines) + 1)) for seq, lines in self.model.events.items()
        }
        assert counts == {(*key, total) for key, total in self.model.counts().items()}
        assert set(self.run(self.store.dispatch.backlogs())) == self.model.backlogs()
        assert self.run(self.store.dispatch.next_due()) == self.model.next_due()
        running = self.run(self.store.dispatch.running())
        assert by_id(one.attempt for one in running) == by_id(self.model.running())
        for task in tasks:
            unended = [a for a in attempts if a.task_id == task.id and a.finished_at is None]
            assert [a.id for a in unended] == [task.current_attempt] * (
                task.state is TaskState.RUNNING
            )
            if task.state in TERMINAL:
                assert self.ended.setdefault(task.id, task) == task


def outcome_of(call: Callable[[], Any]) -> tuple[Any, TaskyardError | None]:
    """What a call answers, and what it raises."""
    try:
        return call(), None
    except TaskyardError as error:
        return None, error


def by_id(attempts: Any) -> dict[AttemptId, Attempt]:
    """Attempts in an order that does not matter."""
    return {attempt.id: attempt for attempt in attempts}
