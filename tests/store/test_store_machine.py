# ruff: noqa: D102 - rules tell by their names; ``shell`` is a member of a specification
"""The store against its reference model: whatever is done in whatever order, both answer alike."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from machine_base import Positions, outcome_of
from machine_engine import EngineRules
from machine_inputs import (
    CRONS,
    GROUPS,
    INDEX,
    LABELS,
    LOOK_AT,
    OFFSETS,
    SPECS,
    WORKSPACES,
    ZONES,
)
from msgspec.structs import replace

import postgres
from taskyard.core.cron import CatchUp
from taskyard.core.ids import (
    GroupName,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant, after
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask, Task, TaskSpec
from taskyard.ports.store import TaskQuery
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.sql import task_list


class StoreMachine(EngineRules):
    """What callers do to the store, and what they see of it."""

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
            wanted, error = outcome_of(call)
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
            data = self.run(self.store.tasks.inline_output(attempt.id, "stdout"))
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


class PostgresMachine(StoreMachine):
    """The same on PostgreSQL."""

    kind = "postgres"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("machine", "examples"), [(StoreMachine, 80), (PostgresMachine, 12)])
def test_the_store_behaves_like_its_model(
    machine: type[StoreMachine], examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever callers, workers and time do, store and model tell the same story."""
    if machine is PostgresMachine:
        postgres.server()  # or skipped
    monkeypatch.setattr(task_list, "LOOK_AT", LOOK_AT)
    monkeypatch.setattr(PostgresConnection, "positions", lambda _, count: Positions.give(count))
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415

    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=50)
    )
