"""The active tasks as the dialect shows them, kept in memory, and their events.

A task is in the projection from its placement to its end (one created through the dialect from its
acceptance on). What is in it follows the announced changes; tasks that came some other way, or from
before a restart, are read from the store when somebody looks.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.changes import Change
from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId, TaskId, WorkerId, WorkspaceName
from taskyard.core.states import ENDED_ATTEMPT, TERMINAL, AttemptState, TaskState
from taskyard.core.tasks import Container, Task
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
from taskyard.dialects.drove.views import (
    Placement,
    given_of,
    head_of,
    is_shown,
    milliseconds,
    place_of,
    placed_of,
    tail_of,
    task_name,
)
from taskyard.ports.store import TaskQuery
from taskyard.services.engine import Engine

TASK_EVENT: Final = "TASK_STATE_CHANGE"
_PAGE: Final = 500
_LATE: Final = 50_000
"""Tasks whose changes are kept while others are on their way."""


class ExecutorNames:
    """Host names of executors, also of those that are gone, and when each was heard of last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: dict[WorkerId, str] = {}
        self._beats: dict[WorkerId, int] = {}

    def known_name(self, worker_id: WorkerId) -> str | None:
        """Host name of a worker that is or was here in the life of this process."""
        self.refresh()
        return self._names.get(worker_id)

    async def name(self, worker_id: WorkerId) -> str | None:
        """Host name of any worker; None for one that was forgotten. Raises as the store does."""
        found = self.known_name(worker_id)
        if found is None:
            for record in await self._engine.workers.known():
                self._names.setdefault(record.id, record.hostname)
            found = self._names.get(worker_id)
        return found

    def beat_ms(self, worker_id: WorkerId) -> int:
        """When it was heard of last; 0 if never. As of the last :meth:`refresh`."""
        return self._beats.get(worker_id, 0)

    def refresh(self) -> None:
        """Take note of who is here now."""
        for record, _ in self._engine.dispatch.workers():
            self._names[record.id] = record.hostname
            self._beats[record.id] = milliseconds(record.beat_at)


class TaskRow:
    """One task in the projection, and what its events tell of it afterwards.

    Events may keep it for an hour, so it holds on to no more of the task than it tells.
    """

    __slots__ = (
        "_asked",
        "_head",
        "_placed",
        "app",
        "attempt_id",
        "changed",
        "created",
        "ended",
        "hosted",
        "image",
        "instance",
        "name",
        "place",
        "result",
        "state",
        "task_id",
        "workspace",
    )

    def __init__(self, task: Task) -> None:
        """Begin with a task that the dialect can represent."""
        work = task.spec.work
        if not isinstance(work, Container):
            raise TypeError(f"no container: {type(work).__name__}")
        self.task_id = task.id
        self.workspace = task.workspace
        self.app = task.spec.group
        self.name = task_name(task)
        self.image = work.image
        self.instance = given_of(task, work).instance
        self.created = milliseconds(task.created_at)
        self.state = State.PENDING
        self.attempt_id: AttemptId | None = None
        self.place: Placement | None = None
        self.hosted = False
        self.changed = self.created
        self.ended: Change | None = None
        self.result: Result | None = None
        self._asked = task.spec.resources
        self._head = head_of(task)
        self._placed = b""

    def encode_place(self) -> None:
        """Its place changed."""
        self._placed = placed_of(self.place, self._asked, hosted=self.hosted)

    def end(self, change: Change) -> None:
        """It is over."""
        self.ended = change
        self._head = self._placed = b""

    def encoded(self, executors: ExecutorNames) -> bytes:
        """The task as it is now; until it has ended."""
        if not self._placed:
            self.encode_place()
        updated = self.changed
        if self.place is not None:
            updated = max(updated, executors.beat_ms(self.place.worker_id))
        return self._head + self._placed + tail_of(self.state, updated, None)


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
        row = self._rows[task.id] = TaskRow(task)
        self._unknown.pop(task.id, None)
        self._tell(row, State.PENDING)
        for change in self._late.pop(task.id, ()):
            self._apply(row, change)
        return row

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
        for forgotten in (self._rows, self._unknown, self._late):
            forgotten.clear()
        self._foreign.clear()
        self._loaded.clear()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        rows = self._rows
        for change in changes:
            row = rows.get(change.task_id)
            if row is not None:
                self._apply(row, change)
            elif change.kind != "submitted":
                self._apply_unknown(change)

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
            self._place(row, change.attempt_id)
        elif change.kind == "started":
            row.hosted = True
            row.encode_place()
            self._pass(row, (State.STARTING, State.RUNNING))
        elif change.state in TERMINAL:
            self._end(row, change)
        elif change.was is TaskState.RUNNING and change.state is not TaskState.RUNNING:
            # It goes again; only a task of another dialect does.
            row.attempt_id = row.place = None
            row.hosted = False
            row.state = State.PENDING
            row.encode_place()

    def _place(self, row: TaskRow, attempt_id: AttemptId) -> None:
        row.attempt_id = attempt_id
        held = self._engine.dispatch.held(attempt_id)
        if held is not None:
            name = self._executors.known_name(held.worker_id)
            row.place = Placement(held.worker_id, name, held.resources)
        row.encode_place()
        self._pass(row, (State.PROVISIONING,))

    def _end(self, row: TaskRow, change: Change) -> None:
        del self._rows[change.task_id]
        row.end(change)
        end = state_of(change.state, None, change.reason)
        killed = change.state is TaskState.CANCELLED
        announced = result_of(change.state, change.reason, change.message, None)
        unmade = killed or could_not_pull(announced)
        ran = has_run(change.state, change.reason)
        self._pass(row, path_to_end(row.state, end, ran=ran, unmade=unmade))

    def _pass(self, row: TaskRow, states: Iterable[State]) -> None:
        for state in states:
            row.state = state
            self._tell(row, state)

    def _tell(self, row: TaskRow, state: State) -> None:
        self._events.add(TASK_EVENT, row, row.workspace, state.value)
