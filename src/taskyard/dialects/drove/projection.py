"""The active tasks as the dialect shows them, kept in memory, and their events.

A task is in the projection from its placement to its end (one created through the dialect from its
acceptance on). What is in it follows the announced changes; tasks that came some other way, or from
before a restart, are read from the store when somebody looks.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.changes import Change
from taskyard.core.errors import NotFound
from taskyard.core.ids import TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import ENDED_ATTEMPT, TERMINAL, AttemptState, TaskState
from taskyard.core.tasks import Task
from taskyard.dialects.drove.events import Events
from taskyard.dialects.drove.states import (
    Result,
    State,
    could_not_pull,
    has_run,
    path_to_end,
    result_of,
    state_of,
)
from taskyard.dialects.drove.task_rows import ExecutorNames, TaskRow
from taskyard.dialects.drove.views import (
    Placement,
    head_of,
    is_shown,
    milliseconds,
    place_of,
    placed_of,
    tail_of,
)
from taskyard.ports.store import TaskQuery
from taskyard.services.engine import Engine

TASK_EVENT: Final = "TASK_STATE_CHANGE"
_PAGE: Final = 500
_RUNTIME: Final = "container"
_OWN_S: Final = 1.0
"""Within this a task that is created through this control plane is in the projection."""
_LATE: Final = 50_000
"""Tasks whose changes are kept while others are on their way."""


class TaskProjection:
    """What is active now. Belongs to one event loop."""

    def __init__(self, engine: Engine, events: Events, executors: ExecutorNames) -> None:
        self._engine = engine
        self._events = events
        self._executors = executors
        self._rows: dict[TaskId, TaskRow] = {}
        self._unknown: dict[TaskId, WorkspaceName] = {}
        """Placed tasks that nobody has looked at; they may be none of ours."""
        self._foreign: set[TaskId] = set()
        """Placed tasks that the dialect cannot represent."""
        self._loaded: set[WorkspaceName] = set()
        self._late: dict[TaskId, list[Change]] = {}
        """While tasks are on their way here: what happened to those not in the projection yet."""
        self._awaited = 0
        """How many are on their way."""
        self._others: dict[TaskId, tuple[float, list[Change]]] = {}
        """Containers that came to other control planes, and have not been read: since when, and
        what happened to them."""
        self._is_shared = engine.bus.fed
        engine.bus.listen(self._on_changes, self._forget_all)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """While a task comes into being or is read: what happens to it meanwhile is kept.

        The scheduler may find a task in the store, and even end it, before its creator hears that
        it was stored.
        """
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1
            if not self._awaited:
                self._late.clear()

    def add(self, task: Task) -> TaskRow:
        """A task was created just now, through the dialect; while :meth:`expecting` it."""
        found = self._rows.get(task.id)
        if found is not None and self._is_shared:
            return found  # somebody looked at it meanwhile
        row = self._rows[task.id] = TaskRow(task)
        self._unknown.pop(task.id, None)
        self._others.pop(task.id, None)
        self._tell(row, State.PENDING, task.created_at)
        for change in self._late.pop(task.id, ()):
            self._apply(row, change)
        return row

    def has(self, row: TaskRow) -> bool:
        """Whether a row follows what happens to its task."""
        return self._rows.get(row.task_id) is row

    async def active(self, caller: Caller) -> list[TaskRow]:
        """All active tasks of the caller's workspace. Raises as the store does."""
        await self._catch_up(caller)
        workspace = caller.workspace
        return [row for row in self._rows.values() if row.workspace == workspace]

    async def active_on(self, caller: Caller, worker_id: WorkerId) -> list[TaskRow]:
        """Those of them on one worker."""
        rows = await self.active(caller)
        return [row for row in rows if row.place is not None and row.place.worker_id == worker_id]

    async def show(self, caller: Caller, task: Task) -> bytes:
        """One task as it is in the store. Raises ``NotFound``, or as the store does."""
        attempts = await self._engine.tasks.attempts(caller, task.id)
        attempt = attempts[-1] if attempts else None
        seen = None if attempt is None else attempt.state
        state = state_of(task.state, seen, task.reason)
        hostname = None if attempt is None else await self._executors.name(attempt.worker_id)
        hosted = attempt is not None and attempt.started_at is not None
        updated = milliseconds(task.finished_at or task.created_at)
        if attempt is not None and task.finished_at is None:
            updated = milliseconds(attempt.started_at or attempt.assigned_at)
            updated = max(updated, self._executors.beat_ms(attempt.worker_id))
        result = result_of(task.state, task.reason, task.message, attempt)
        place = place_of(attempt, hostname)
        placed = placed_of(place, task.spec.resources, hosted=hosted)
        return head_of(task) + placed + tail_of(state, updated, result)

    async def outcome(self, caller: Caller, row: TaskRow) -> Result | None:
        """How a row's task ended, as exactly as can be said; None while it has not."""
        ended = row.ended
        if ended is None or row.result is not None:
            return row.result
        try:
            task = await self._engine.tasks.get(caller, row.task_id)
            attempts = await self._engine.tasks.attempts(caller, row.task_id)
        except NotFound:  # deleted: what was announced is all there is
            row.result = result_of(ended.state, ended.reason, ended.message, None)
        else:
            last = attempts[-1] if attempts else None
            row.result = result_of(task.state, task.reason, task.message, last)
        return row.result

    async def _catch_up(self, caller: Caller) -> None:
        """Read what is active and not in the projection yet."""
        workspace = caller.workspace
        waiting = [one for one, where in self._unknown.items() if where == workspace]
        if workspace in self._loaded and not waiting:
            return
        with self.expecting():
            if workspace not in self._loaded:
                await self._load(caller)
                self._loaded.add(workspace)
            for task_id in waiting:
                await self._read(caller, task_id)

    async def catch_up(self, caller: Caller) -> None:
        """Tell of tasks that came to other control planes of late. Raises as the store does."""
        before = time.monotonic() - _OWN_S
        found = [
            task_id
            for task_id, (since, changes) in self._others.items()
            if since < before and changes[0].workspace == caller.workspace
        ]
        for task_id in found[:_PAGE]:
            await self._read_other(caller, task_id)

    async def _read_other(self, caller: Caller, task_id: TaskId) -> None:
        try:
            task = await self._engine.tasks.get(caller, task_id)
        except NotFound:  # deleted by now
            self._others.pop(task_id, None)
            return
        self._enter_other(task)

    def _enter_other(self, task: Task) -> None:
        """Put a task in the projection that came to another control plane, by what happened."""
        _, changes = self._others.pop(task.id, (0.0, []))
        if not changes or task.id in self._rows or not is_shown(task):
            return
        self._unknown.pop(task.id, None)
        row = self._rows[task.id] = TaskRow(task)
        self._tell(row, State.PENDING, task.created_at)
        for change in changes[1:]:
            if task.id in self._rows:
                self._apply(row, change)

    async def _load(self, caller: Caller) -> None:
        after: int | None = None
        while True:
            page = await self._engine.tasks.page(
                TaskQuery(
                    workspace=caller.workspace,
                    states=frozenset({TaskState.RUNNING}),
                    oldest_first=True,
                    limit=_PAGE,
                    after_seq=after,
                )
            )
            for task in page.tasks:
                self._enter_other(task)
                await self._enter(caller, task)
            if page.next_seq is None:
                return
            after = page.next_seq

    async def _read(self, caller: Caller, task_id: TaskId) -> None:
        try:
            task = await self._engine.tasks.get(caller, task_id)
        except NotFound:
            self._unknown.pop(task_id, None)
            return
        self._enter_other(task)
        await self._enter(caller, task)

    async def _enter(self, caller: Caller, task: Task) -> None:
        """Put a placed task in the projection, as it is by now."""
        if task.id in self._rows:
            return
        if not is_shown(task):
            if self._unknown.pop(task.id, None) is not None:
                self._foreign.add(task.id)
            return
        attempts = await self._engine.tasks.attempts(caller, task.id)
        if task.id in self._rows:
            return
        self._unknown.pop(task.id, None)
        late = self._late.pop(task.id, [])
        # The attempts were read later than the task: it may have ended in between, and its end
        # may have been announced while it was still in the projection.
        if not attempts or attempts[-1].state in ENDED_ATTEMPT or task.state in TERMINAL:
            return
        row, last = TaskRow(task), attempts[-1]
        row.attempt_id = last.id
        row.state = state_of(task.state, last.state, task.reason)
        row.place = place_of(last, self._executors.known_name(last.worker_id))
        row.hosted = last.state is AttemptState.RUNNING
        row.changed = milliseconds(last.started_at or last.assigned_at)
        self._rows[task.id] = row
        for change in late:
            self._apply(row, change)

    def _forget_all(self) -> None:
        """Changes were missed: what is active is read again when somebody looks."""
        for forgotten in (self._rows, self._unknown, self._late, self._others):
            forgotten.clear()
        self._foreign.clear()
        self._loaded.clear()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        rows = self._rows
        for change in changes:
            row = rows.get(change.task_id)
            if row is not None:
                self._apply(row, change)
                continue
            if self._is_shared:
                self._keep_other(change)
            if change.kind != "submitted":
                self._apply_unknown(change)

    def _keep_other(self, change: Change) -> None:
        """Keep what happens to a container that came to another control plane."""
        other = self._others.get(change.task_id)
        if other is not None:
            other[1].append(change)
        elif change.was is None and change.runtime == _RUNTIME:
            self._others[change.task_id] = time.monotonic(), [change]
            if len(self._others) > _LATE:
                del self._others[next(iter(self._others))]

    def _apply_unknown(self, change: Change) -> None:
        task_id = change.task_id
        if self._awaited:
            self._late.setdefault(task_id, []).append(change)
            if len(self._late) > _LATE:
                # Nothing is on its way for so long; these are tasks of others.
                del self._late[next(iter(self._late))]
        if change.state is TaskState.RUNNING:
            if task_id not in self._foreign:
                self._unknown[task_id] = change.workspace
        else:
            self._unknown.pop(task_id, None)
            self._foreign.discard(task_id)

    def _apply(self, row: TaskRow, change: Change) -> None:
        row.changed = max(row.changed, milliseconds(change.at))
        if change.kind == "assigned" and change.attempt_id is not None:
            self._place(row, change)
        elif change.kind == "started":
            row.hosted = True
            row.encode_place()
            self._pass(row, (State.STARTING, State.RUNNING), change.at)
        elif change.state in TERMINAL:
            self._end(row, change)
        elif change.was is TaskState.RUNNING and change.state is not TaskState.RUNNING:
            # It goes again; only a task of another dialect does.
            row.attempt_id = row.place = None
            row.hosted = False
            row.state = State.PENDING
            row.encode_place()

    def _place(self, row: TaskRow, change: Change) -> None:
        row.attempt_id = change.attempt_id
        if change.worker_id is not None and change.resources is not None:
            name = self._executors.known_name(change.worker_id)
            row.place = Placement(change.worker_id, name, change.resources)
        row.encode_place()
        self._pass(row, (State.PROVISIONING,), change.at)

    def _end(self, row: TaskRow, change: Change) -> None:
        del self._rows[change.task_id]
        row.end(change)
        end = state_of(change.state, None, change.reason)
        killed = change.state is TaskState.CANCELLED
        announced = result_of(change.state, change.reason, change.message, None)
        unmade = killed or could_not_pull(announced)
        ran = has_run(change.state, change.reason)
        self._pass(row, path_to_end(row.state, end, ran=ran, unmade=unmade), change.at)

    def _pass(self, row: TaskRow, states: Iterable[State], at: Instant) -> None:
        for state in states:
            row.state = state
            self._tell(row, state, at)

    def _tell(self, row: TaskRow, state: State, at: Instant) -> None:
        """Tell that a task came into a state by what happened then."""
        if not self._is_shared:
            self._events.add(TASK_EVENT, row, row.workspace, state.value)
            return
        key = f"{row.task_id} {state.value} {at}"
        at_ms = milliseconds(at)
        self._events.add(TASK_EVENT, row, row.workspace, state.value, at_ms=at_ms, key=key)
