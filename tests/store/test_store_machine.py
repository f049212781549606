# ruff: noqa: D102, S604 - rules tell by their names; ``shell`` is a member of a specification
"""The store against its reference model: whatever is done in whatever order, both answer alike."""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from fakes.model import ModelStore
from fakes.stores import opened, remove
from taskyard.core.attempts import Attempt, Ended, KillReport, Report, Started, StreamSize, Usage
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import SECOND, Instant, after
from taskyard.core.resources import Capacity, Resources
from taskyard.core.retry import RetryPolicy
from taskyard.core.schedule import CatchUp
from taskyard.core.states import TERMINAL, AttemptState, Reason, TaskState
from taskyard.core.tasks import Command, NewTask, Task, TaskSpec, Webhook, WebhookEvent
from taskyard.ports.store import Placement, TaskQuery, WorkerRecord
from taskyard.store.sqlite import listing
from taskyard.store.sqlite.rows import attempt_of, task_of
from taskyard.store.sqlite.store import SqliteStore

START = 1_700_000_000 * SECOND
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - made private there
LOOK_AT = 7
"""So low that pages run out of their share of candidates all the time."""
INDEX = st.integers(0, 5) | st.integers(0, 60)
WORKSPACES = st.sampled_from([WorkspaceName("a"), WorkspaceName("b")])
GROUPS = st.sampled_from([GroupName("default"), GroupName("mail")])
WORKERS = st.sampled_from([WorkerId("w1"), WorkerId("w2")])
OFFSETS = st.sampled_from([-3600, -1, 0, 1, 30, 60, 3600, 86400])
CRONS = st.sampled_from(["0 * * * *", "*/30 * * * *", "30 2 * * *", "0 0 29 2 *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
LABELS = st.dictionaries(st.sampled_from(["team", "env"]), st.sampled_from(["x", "y"]))
SPECS = st.builds(
    TaskSpec,
    work=st.sampled_from(
        [Command(argv=("make", "report")), Command(shell="exit 1"), Command(argv=("Grüße",))]
    ),
    group=GROUPS,
    name=st.sampled_from([None, "Monthly", "x%_"]),
    priority=st.integers(-2, 2),
    resources=st.sampled_from([Resources(), Resources(500, 1 << 30, 8)]),
    retry=st.builds(
        RetryPolicy, max_attempts=st.integers(1, 3), backoff_min_s=st.sampled_from([0, 1, 60])
    ),
    idempotency_key=st.sampled_from([None, None, None, "k1", "k2"]),
    rerun_if_lost=st.booleans(),
    labels=LABELS,
    metadata=st.sampled_from([{}, {"any": [1, None, "ü"]}]),
    webhooks=st.sampled_from([(), (), (Webhook("http://h.example/", tuple(WebhookEvent)),)]),
)
ENDS = st.sampled_from(
    [
        (AttemptState.SUCCEEDED, None, 0),
        (AttemptState.FAILED, Reason.EXIT_CODE, 1),
        (AttemptState.FAILED, Reason.RUNTIME_TROUBLE, None),
        (AttemptState.KILLED, Reason.KILLED, None),
        (AttemptState.LOST, Reason.EXIT_UNKNOWN, None),
    ]
)


class StoreMachine(RuleBasedStateMachine):
    """Drives a store on disk and the model with the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="taskyard-machine-", dir=FAST))
        self.runner = asyncio.Runner()
        self.store: SqliteStore = self.runner.run(opened(self.directory))
        self.model = ModelStore()
        self.now = Instant(START)
        self.ids: list[tuple[WorkspaceName, TaskId]] = []
        self.reports: list[Report] = []
        self.issued: list[tuple[AttemptId, LeaseToken]] = []
        self.fired: set[tuple[str, int]] = set()
        self.ended: dict[TaskId, Task] = {}
        self.count = 0

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
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
        wanted, wanted_error = _outcome(model)
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

    # -- owners ------------------------------------------------------------------------------

    @initialize(specs=st.lists(SPECS, min_size=6, max_size=12))
    def begin(self, specs: list[TaskSpec]) -> None:
        self.join(WorkerId("w1"))
        self.join(WorkerId("w2"))
        for number, workspace in enumerate(("a", "b")):
            self.submit(WorkspaceName(workspace), specs[number::2], None, None)
        self.place([0, 1, 2, 3], WorkerId("w1"), stale=False)

    @rule(
        workspace=WORKSPACES,
        specs=st.lists(SPECS, min_size=1, max_size=3),
        start=st.none() | OFFSETS,
        expires=st.none() | st.none() | OFFSETS,
    )
    def submit(
        self,
        workspace: WorkspaceName,
        specs: list[TaskSpec],
        start: int | None,
        expires: int | None,
    ) -> None:
        news = [self.new(workspace, spec, start, expires) for spec in specs]
        self.both(
            self.store.tasks.submit(news, "token ci"), lambda: self.model.submit(news, "token ci")
        )
        self.note(news)

    @rule(
        workspace=WORKSPACES,
        spec=SPECS,
        cron=CRONS,
        zone=ZONES,
        policy=st.sampled_from(CatchUp),
        start=st.none() | OFFSETS,
    )
    def submit_recurring(
        self,
        workspace: WorkspaceName,
        spec: TaskSpec,
        cron: str,
        zone: str,
        policy: CatchUp,
        start: int | None,
    ) -> None:
        spec = replace(spec, cron=cron, timezone=zone, catch_up=policy)
        news = [self.new(workspace, spec, start, None)]
        self.both(self.store.tasks.submit(news, None), lambda: self.model.submit(news, None))
        self.note(news)

    @rule(
        plan=st.lists(st.tuples(SPECS, INDEX, st.booleans()), min_size=2, max_size=6),
        workspace=WORKSPACES,
    )
    def at_once(self, plan: list[tuple[TaskSpec, int, bool]], workspace: WorkspaceName) -> None:
        """Operations that share a commit look as if they had come one after the other."""
        real: list[Awaitable[Any]] = []
        model: list[Callable[[], Any]] = []
        news: list[NewTask] = []
        for spec, index, deletes in plan:
            owner, task_id = self.pick(index)
            task = next((t for t in self.model.tasks.values() if t.id == task_id), None)
            # Submits of a batch are done together: a key set free meanwhile may come too late.
            if deletes and (task is None or task.spec.idempotency_key is None):
                real.append(self.store.tasks.delete(owner, [task_id], self.now))
                model.append(partial(self.model.delete, owner, [task_id], self.now))
            else:
                new = self.new(workspace, spec, None, None)
                news.append(new)
                real.append(self.store.tasks.submit([new], None))
                model.append(partial(self.model.submit, [new], None))

        async def gather() -> list[Any]:
            return await asyncio.gather(*real, return_exceptions=True)

        for got, call in zip(self.run(gather()), model, strict=True):
            wanted, error = _outcome(call)
            if error is not None:
                assert (type(got), str(got)) == (type(error), str(error))
            else:
                assert got == wanted
        self.note(news)

    @rule(picks=st.lists(INDEX, min_size=1, max_size=3), other=st.booleans())
    def cancel(self, picks: list[int], other: bool) -> None:
        workspace = self.pick(picks[0])[0]
        if other:
            workspace = WorkspaceName("b" if workspace == "a" else "a")
        ids = [self.pick(index)[1] for index in picks]
        self.both(
            self.store.tasks.cancel(workspace, ids, self.now, "user x"),
            lambda: self.model.cancel(workspace, ids, self.now, "user x"),
        )

    @rule(index=INDEX, priority=st.integers(-3, 3))
    def set_priority(self, index: int, priority: int) -> None:
        workspace, task_id = self.pick(index)
        self.both(
            self.store.tasks.set_priority(workspace, task_id, priority, self.now, "user x"),
            lambda: self.model.set_priority(workspace, task_id, priority, self.now, "user x"),
        )

    @rule(
        index=INDEX,
        start=OFFSETS,
        cron=st.none() | CRONS,
        zone=st.none() | ZONES,
        policy=st.none() | st.sampled_from(CatchUp),
    )
    def reschedule(
        self, index: int, start: int, cron: str | None, zone: str | None, policy: CatchUp | None
    ) -> None:
        workspace, task_id = self.pick(index)
        task = next((t for t in self.model.tasks.values() if t.id == task_id), None)
        if task is None or task.spec.cron is None:
            cron = zone = policy = None
        arguments = (workspace, task_id, after(self.now, start), self.now, "me", cron, zone, policy)
        self.both(
            self.store.tasks.reschedule(*arguments), lambda: self.model.reschedule(*arguments)
        )

    @precondition(lambda self: self.fired)
    @rule(index=INDEX)
    def turn_schedule_back(self, index: int) -> None:
        """A recurring task comes by a firing time that it has fired at before."""
        firings = [t for t in self.model.tasks.values() if t.schedule_id is not None]
        firing = firings[index % len(firings)]
        arguments = (
            firing.workspace,
            TaskId(firing.schedule_id or ""),
            Instant(firing.due_at or 0),
            self.now,
            "me",
        )
        self.both(
            self.store.tasks.reschedule(*arguments), lambda: self.model.reschedule(*arguments)
        )
        self.due(500)

    @rule(picks=st.lists(INDEX, min_size=1, max_size=3))
    def delete(self, picks: list[int]) -> None:
        workspace, first = self.pick(picks[0])
        ids = [first, *(self.pick(index)[1] for index in picks[1:])]
        ended = self.model.oldest_ended(workspace)
        if ended and picks[0] % 4:
            ids = [self.model.tasks[ended[picks[0] % len(ended)]].id]
        got = self.both(
            self.store.tasks.delete(workspace, ids, self.now),
            lambda: self.model.delete(workspace, ids, self.now),
        )
        if got is not None:
            self.forget()

    def forget(self) -> None:
        left = {task.id for task in self.model.tasks.values()}
        self.ended = {task_id: task for task_id, task in self.ended.items() if task_id in left}
        self.fired = {
            (s, due)
            for s, due in self.fired
            if any((t.schedule_id, t.due_at) == (s, due) for t in self.model.tasks.values())
        }

    # -- the engine --------------------------------------------------------------------------

    @rule(
        picks=st.lists(INDEX, min_size=1, max_size=4),
        worker=WORKERS,
        stale=st.sampled_from([False] * 7 + [True]),
    )
    def place(self, picks: list[int], worker: WorkerId, stale: bool) -> None:
        record = self.model.workers.get(worker)
        incarnation = record.incarnation if record is not None and not stale else "gone"
        placements = []
        queued = [t for t in self.model.tasks.values() if t.state is TaskState.QUEUED]
        for index in picks:
            _, task_id = self.pick(index)
            task = next((t for t in self.model.tasks.values() if t.id == task_id), None)
            if queued and index % 8 != 7:
                task = queued[index % len(queued)]
                task_id = task.id
            number = self.fresh()
            placements.append(
                Placement(
                    task_id=task_id,
                    seq=task.seq if task is not None else 10_000 + index,
                    attempt_id=AttemptId(f"attempt-{number}"),
                    lease_token=LeaseToken(f"lease-{number}"),
                    lease_expires_at=after(self.now, 10),
                    worker_id=worker,
                    incarnation=IncarnationId(incarnation),
                )
            )
        placed, _ = self.both(
            self.store.dispatch.place(placements, self.now),
            lambda: self.model.place(placements, self.now),
        )
        self.issued += [(one.attempt.id, one.attempt.lease_token) for one in placed]

    def lease(self, index: int, *, forged: bool) -> tuple[AttemptId, LeaseToken]:
        if not self.issued:
            return AttemptId("none"), LeaseToken("none")
        running = self.model.running()
        if running and index % 4 != 3:
            attempt = running[index % len(running)]
            return attempt.id, LeaseToken("forged") if forged else attempt.lease_token
        attempt_id, token = self.issued[-1 - index % len(self.issued)]
        return attempt_id, LeaseToken("forged") if forged else token

    @precondition(lambda self: self.model.held)
    @rule(index=INDEX, forged=st.sampled_from([False] * 7 + [True]), end=st.none() | ENDS)
    def report(
        self,
        index: int,
        forged: bool,
        end: tuple[AttemptState, Reason | None, int | None] | None,
    ) -> None:
        attempt_id, token = self.lease(index, forged=forged)
        report: Report
        if end is None:
            report = Started(attempt_id, token, self.now, {"pid": 7})
        else:
            state, reason, code = end
            killed = KillReport(self.now, self.now) if state is AttemptState.KILLED else None
            report = Ended(
                attempt_id,
                token,
                self.now,
                state,
                started_at=self.now,
                reason=reason,
                message="said so" if reason is not None else None,
                exit_code=code,
                kill_report=killed,
                usage=Usage(0.5, 0.25, 1 << 20) if code == 0 else None,
                stdout=StreamSize(3),
                folded={"stdout": b"a\0b"},
            )
        self.reports.append(report)
        self.apply([report])

    @precondition(lambda self: self.reports)
    @rule(index=INDEX, count=st.integers(1, 3))
    def report_again(self, index: int, count: int) -> None:
        """Answers get lost, and workers repeat themselves."""
        start = index % len(self.reports)
        self.apply(self.reports[start : start + count])

    def apply(self, reports: list[Report]) -> None:
        chances = [0.25] * len(reports)
        self.both(
            self.store.dispatch.apply(reports, self.now, chances),
            lambda: self.model.apply(reports, self.now, chances),
        )

    @rule(seconds=st.sampled_from([0.000001, 1, 30, 60, 3600, 90000]))
    def pass_time(self, seconds: float) -> None:
        self.now = after(self.now, seconds)

    @rule()
    def turn_clock_back(self) -> None:
        self.now = after(self.now, -1800)

    @rule(limit=st.sampled_from([1, 3, 500]))
    def due(self, limit: int) -> None:
        changes = self.both(
            self.store.dispatch.due(self.now, limit), lambda: self.model.due(self.now, limit)
        )
        for change in changes:
            if change.kind == "fired":
                task = self.model.tasks[change.seq]
                firing = (str(task.schedule_id), int(task.due_at or 0))
                assert firing not in self.fired
                self.fired.add(firing)
        self.note_fired()

    @rule()
    def due_until_done(self) -> None:
        for _ in range(100):
            before = len(self.model.tasks)
            self.due(500)
            next_due = self.run(self.store.dispatch.next_due())
            if next_due is None or next_due > self.now:
                return
            assert len(self.model.tasks) > before or next_due is not None
        raise AssertionError("time never gets done")

    @rule(worker=WORKERS)
    def join(self, worker: WorkerId) -> None:
        record = WorkerRecord(
            id=worker,
            incarnation=IncarnationId(f"life-{self.fresh()}"),
            hostname="h",
            version="1",
            capacity=Capacity(4, 4000, 8 << 30),
            runtimes=("command",),
            joined_at=self.now,
            beat_at=self.now,
        )
        got = self.run(self.store.dispatch.join(record))
        assert _by_id(got) == _by_id(self.model.join(record))

    def incarnation(self, worker: WorkerId, *, stale: bool) -> IncarnationId:
        record = self.model.workers.get(worker)
        return IncarnationId("gone") if record is None or stale else record.incarnation

    @rule(worker=WORKERS, stale=st.booleans())
    def renew(self, worker: WorkerId, stale: bool) -> None:
        incarnation = self.incarnation(worker, stale=stale)
        until = after(self.now, 10)
        self.both(
            self.store.dispatch.renew(worker, incarnation, self.now, until),
            lambda: self.model.renew(worker, incarnation, self.now, until),
        )

    @rule(worker=WORKERS, stale=st.sampled_from([False, False, True]))
    def lose(self, worker: WorkerId, stale: bool) -> None:
        incarnation = self.incarnation(worker, stale=stale)
        got = self.run(self.store.dispatch.lose(worker, incarnation, self.now))
        wanted = self.model.lose(worker, incarnation, self.now)
        assert sorted(got, key=lambda c: c.seq) == sorted(wanted, key=lambda c: c.seq)

    @precondition(lambda self: self.model.running())
    @rule(index=INDEX, restarts=st.booleans(), end=st.none() | ENDS)
    def report_after_the_loss(
        self,
        index: int,
        restarts: bool,
        end: tuple[AttemptState, Reason | None, int | None] | None,
    ) -> None:
        """A worker that was taken for dead speaks up."""
        running = self.model.running()
        attempt = running[index % len(running)]
        self.lose(attempt.worker_id, stale=False)
        if restarts:
            self.restart()
        report: Report = Started(attempt.id, attempt.lease_token, self.now)
        if end is not None:
            report = Ended(attempt.id, attempt.lease_token, self.now, end[0], reason=end[1])
        self.apply([report])

    @rule(
        age=st.none() | st.sampled_from([0, 60, 3600]),
        keep=st.none() | st.integers(0, 3),
        limit=st.sampled_from([1, 2, 200]),
    )
    def prune(self, age: int | None, keep: int | None, limit: int) -> None:
        older_than = after(self.now, -age) if age is not None else None
        surplus = self.model.prune_count(self.now, older_than, keep)
        before = set(self.model.tasks)
        removed, attempts = self.run(self.store.dispatch.prune(self.now, older_than, keep, limit))
        left = {task.seq for task in self.everything()[0]}
        gone = before - left
        assert removed == len(gone) == min(limit, sum(surplus.values()))
        for workspace, most in surplus.items():
            mine = [seq for seq in self.model.oldest_ended(workspace) if seq in gone]
            assert len(mine) <= most
            ends = [self.model.tasks[seq].finished_at or 0 for seq in mine]
            kept = [
                self.model.tasks[seq].finished_at or 0
                for seq in self.model.oldest_ended(workspace)
                if seq not in gone
            ]
            assert not ends or not kept or max(ends) <= min(kept)
        assert set(attempts) == self.model.pruned(gone)
        self.forget()

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(opened(self.directory))
        self.model.restart()

    # -- looking -----------------------------------------------------------------------------

    @rule(
        workspace=WORKSPACES,
        states=st.frozensets(st.sampled_from(TaskState), max_size=3),
        group=st.none() | GROUPS,
        labels=st.just({}) | LABELS,
        text=st.sampled_from([None, None, "MONTH", "x%", "report", "exit 1", "grü", "0000-0"]),
        since=st.none() | OFFSETS,
        until=st.none() | OFFSETS,
        schedule=st.none() | INDEX,
        oldest=st.booleans(),
        limit=st.sampled_from([1, 2, 5, 50]),
    )
    def list_everything(
        self,
        workspace: WorkspaceName,
        states: frozenset[TaskState],
        group: GroupName | None,
        labels: dict[str, str],
        text: str | None,
        since: int | None,
        until: int | None,
        schedule: int | None,
        oldest: bool,
        limit: int,
    ) -> None:
        """Following the cursor shows each task that matches exactly once, in order."""
        query = TaskQuery(
            workspace=workspace,
            states=states,
            group=group,
            labels=labels,
            text=text,
            created_after=None if since is None else after(self.now, since - 3600),
            created_before=None if until is None else after(self.now, until),
            schedule_id=None if schedule is None else self.pick(schedule)[1],
            oldest_first=oldest,
            limit=limit,
        )
        wanted = self.model.matching(query)
        seen: list[Task] = []
        for _ in range(len(self.model.tasks) + 2):
            page = self.run(self.store.tasks.list_tasks(query))
            assert len(page.tasks) <= limit
            seen += page.tasks
            if page.next_seq is None:
                break
            query = replace(query, after_seq=page.next_seq)
        else:
            raise AssertionError("the pages have no end")
        assert seen == wanted

    @rule(index=INDEX, behind=st.integers(0, 5), limit=st.integers(1, 5))
    def look_at_one(self, index: int, behind: int, limit: int) -> None:
        workspace, task_id = self.pick(index)
        self.both(
            self.store.tasks.task(workspace, task_id), lambda: self.model.find(workspace, task_id)
        )
        task = next((t for t in self.model.tasks.values() if t.id == task_id), None)
        if task is None:
            return
        events = self.run(self.store.tasks.events(workspace, task_id, behind, limit))
        assert events == self.model.events[task.seq][behind : behind + limit]
        attempts = self.run(self.store.tasks.attempts(workspace, task_id))
        assert attempts == self.model.attempts(task.seq)
        for attempt in attempts:
            data = self.run(self.store.tasks.folded(attempt.id, "stdout"))
            assert data == self.model.output.get((attempt.id, "stdout"))
        if task.state is TaskState.QUEUED:
            ranks = [one.rank for one in self.model.ready(workspace, task.spec.group)]
            ahead = min(3, sum(rank < (-task.spec.priority, task.seq) for rank in ranks))
            assert self.run(self.store.tasks.ahead_of(task, 3)) == ahead

    @rule(workspace=WORKSPACES, group=GROUPS, limit=st.integers(1, 4))
    def read_ready(self, workspace: WorkspaceName, group: GroupName, limit: int) -> None:
        wanted = self.model.ready(workspace, group)
        seen: list[Any] = []
        position: tuple[int, int] | None = None
        while True:
            part = self.run(self.store.dispatch.ready(workspace, group, position, limit))
            seen += part
            if len(part) < limit:
                break
            position = (part[-1].priority, part[-1].seq)
        assert seen == wanted

    # -- what always holds -------------------------------------------------------------------

    def everything(self) -> tuple[list[Task], list[Attempt], dict[int, list[int]], set[Any]]:
        def read(connection: sqlite3.Connection) -> Any:
            tasks = connection.execute(
                "SELECT seq, id, workspace, spec, state, created_at, attempt_count, start_at,"
                " current_attempt, kill_requested_at, finished_at, reason, message, schedule_id,"
                " due_at, retry_of, priority FROM tasks ORDER BY seq"
            )
            attempts = connection.execute(
                "SELECT id, task_id, workspace, number, worker_id, incarnation, lease_token,"
                " lease_expires_at, resources, state, assigned_at, started_at, finished_at,"
                " exit_code, signal, reason, message, handle, outcome FROM attempts"
            )
            events: dict[int, list[int]] = {}
            for seq, number in connection.execute(
                "SELECT task_seq, number FROM events ORDER BY task_seq, number"
            ):
                events.setdefault(seq, []).append(number)
            counts = connection.execute("SELECT * FROM task_counts").fetchall()
            orphans = connection.execute(
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
        assert _by_id(attempts) == _by_id(self.model.held.values())
        assert events == {
            seq: list(range(1, len(lines) + 1)) for seq, lines in self.model.events.items()
        }
        assert counts == {(*key, total) for key, total in self.model.counts().items()}
        assert set(self.run(self.store.dispatch.backlogs())) == self.model.backlogs()
        assert self.run(self.store.dispatch.next_due()) == self.model.next_due()
        running = self.run(self.store.dispatch.running())
        assert _by_id(a for a, _ in running) == _by_id(self.model.running())
        for task in tasks:
            unended = [a for a in attempts if a.task_id == task.id and a.finished_at is None]
            assert [a.id for a in unended] == [task.current_attempt] * (
                task.state is TaskState.RUNNING
            )
            if task.state in TERMINAL:
                assert self.ended.setdefault(task.id, task) == task


def _outcome(call: Callable[[], Any]) -> tuple[Any, TaskyardError | None]:
    try:
        return call(), None
    except TaskyardError as error:
        return None, error


def _by_id(attempts: Any) -> dict[AttemptId, Attempt]:
    return {attempt.id: attempt for attempt in attempts}


@pytest.mark.timeout(300)
def test_the_store_behaves_like_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever callers, workers and time do, store and model tell the same story."""
    monkeypatch.setattr(listing, "LOOK_AT", LOOK_AT)
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=80, stateful_step_count=50)
    )
