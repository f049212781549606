"""The scheduler of another control plane, and what the leader answers to the others.

A message may be lost: whoever asked goes on as if nobody led, and what the leader was to be told it
finds in the store by itself.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from taskyard.core.errors import NotFound, NotLeading, TaskyardError
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.states import TaskState
from taskyard.core.tasks import Task
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore, WorkerLease, WorkerRecord
from taskyard.ports.messages import LEADER, Messages
from taskyard.ports.scheduler import ANSWERS_S, NO_LEADER
from taskyard.ports.store import TaskStore
from taskyard.services.scheduling.borrowed_room import (
    LEND,
    RETURN,
    BorrowedRoom,
    Lent,
    encode,
    returned,
    wanted_tasks,
)
from taskyard.services.scheduling.cluster_state import room_of
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.lent_room import LentRoom

EXPLAIN: Final = "scheduler_explain"
LIMITS: Final = "scheduler_limits"
FLEET: Final = "scheduler_fleet"
"""What the requests are for, besides those for room."""
LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


class _Asked(Struct, frozen=True, array_like=True):
    """Which task's wait is to be explained."""

    workspace: WorkspaceName
    task_id: TaskId


class _Fleet(Struct, frozen=True, array_like=True):
    """The workers here, as the leader sees them."""

    workers: list[tuple[WorkerRecord, Capacity]] = []
    rooms: list[Room] = []


_asked: Final = msgspec.msgpack.Decoder(_Asked).decode
_fleet: Final = msgspec.msgpack.Decoder(_Fleet).decode
_wait: Final = msgspec.msgpack.Decoder(Wait).decode


class LeaderEnd:
    """Answers the other planes while this one leads.

    Args:
        dispatch: this plane's.
        tasks: where the tasks are that are asked about.
        messages: brings the requests.
        lent: what others have been lent.
    """

    def __init__(
        self, dispatch: Dispatch, tasks: TaskStore, messages: Messages, lent: LentRoom
    ) -> None:
        self._lent = lent
        self._dispatch = dispatch
        self._tasks = tasks
        messages.serve(EXPLAIN, self._explain)
        messages.serve(LIMITS, self._limits_changed)
        messages.serve(FLEET, self._tell_fleet)
        messages.serve(LEND, self._lend)
        messages.serve(RETURN, self._give_back)

    async def _explain(self, payload: bytes) -> bytes:
        asked = _asked(payload)
        self._check()
        task = await self._tasks.task(asked.workspace, asked.task_id)
        if task.state is not TaskState.QUEUED:
            raise NotFound("queued task", asked.task_id)
        self._check()
        return encode(await self._dispatch.explain(task))

    async def _limits_changed(self, payload: bytes) -> bytes:
        del payload
        self._check()
        await self._dispatch.limits_changed()
        return b""

    async def _lend(self, payload: bytes) -> bytes:
        self._check()
        tasks = wanted_tasks(payload)
        groups = {QueueKey(task.workspace, task.group) for task in tasks}
        paused = [key for key in groups if self._dispatch.is_paused(key)]
        return encode(Lent([self._lent.lend(task) for task in tasks], paused))

    async def _give_back(self, payload: bytes) -> bytes:
        self._lent.give_back(returned(payload))
        return b""

    async def _tell_fleet(self, payload: bytes) -> bytes:
        del payload
        self._check()
        if not self._dispatch.knows_fleet:
            raise NotLeading
        return encode(_Fleet(self._dispatch.workers(), self._dispatch.rooms()))

    def _check(self) -> None:
        # Or it would ask another one in turn.
        if not self._dispatch.is_active:
            raise NotLeading


class RemoteScheduler:
    """Implements ``ports.scheduler.Scheduler`` where another plane leads.

    Args:
        messages: reach the leader.
        store: knows the workers of all planes, without what is free of them.
        clock: for pauses.
        on_leases: told of all leases, every second.
        on_change: called when workers came, went, or were drained or not any more.
    """

    def __init__(
        self,
        messages: Messages,
        store: DispatchStore,
        clock: Clock,
        on_leases: Callable[[list[WorkerLease]], None] = lambda _leases: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_change = on_change
        self._messages = messages
        self._store = store
        self._clock = clock
        self._on_leases = on_leases
        self._known = _Fleet()
        self.borrowed = BorrowedRoom(messages)

    async def explain(self, task: Task) -> Wait:
        """See the port."""
        asked = encode(_Asked(task.workspace, task.id))
        try:
            return _wait(await self._messages.request(LEADER, EXPLAIN, asked, ANSWERS_S))
        except NotFound:
            return Wait("starting", "it is about to start")
        except TaskyardError:
            return NO_LEADER

    async def limits_changed(self) -> None:
        """See the port."""
        try:
            await self._messages.request(LEADER, LIMITS, b"", ANSWERS_S)
        except TaskyardError as error:
            log.info("limits_not_told", reason=str(error))
        self.borrowed.limits_changed()

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """See the port."""
        return self._known.workers

    def rooms(self) -> list[Room]:
        """See the port."""
        return self._known.rooms

    async def run(self) -> None:
        """Keep up with the workers of all planes, until cancelled; also while this plane leads."""
        while True:
            try:
                await self.look()
            except TaskyardError as error:
                log.warning("workers_unknown", reason=str(error))
            await self._clock.sleep(LOOK_EVERY_S)

    def _as_stored(self, here: list[WorkerRecord]) -> _Fleet:
        """These workers, with what was free of them when that was last heard."""
        free = {record.id: left for record, left in self._known.workers}
        rooms = {room.worker_id: room for room in self._known.rooms}
        return _Fleet(
            [(one, free.get(one.id, one.capacity)) for one in here],
            [rooms.get(one.id) or room_of(one) for one in here],
        )

    async def look(self) -> None:
        """Look once. Raises as the store does."""
        leases = await self._store.leases()
        self._on_leases(leases)
        before = {(record.id, record.state) for record, _ in self._known.workers}
        try:
            self._known = _fleet(await self._messages.request(LEADER, FLEET, b"", ANSWERS_S))
        except TaskyardError:
            # Nobody leads: they are there all the same, as far as their leases hold.
            here = [one.record for one in leases if one.left_s > 0 and one.record.state != "lost"]
            self._known = self._as_stored(here)
        if before != {(record.id, record.state) for record, _ in self._known.workers}:
            self._on_change()
