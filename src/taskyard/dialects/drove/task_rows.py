"""One task as the projection keeps it, and the names of executors that it needs."""

from taskyard.core.changes import Change
from taskyard.core.ids import AttemptId, WorkerId
from taskyard.core.tasks import Container, Task
from taskyard.dialects.drove.states import Result, State
from taskyard.dialects.drove.views import (
    Placement,
    given_of,
    head_of,
    milliseconds,
    placed_of,
    tail_of,
    task_name,
)
from taskyard.services.engine import Engine


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
