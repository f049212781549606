"""Dispatch: lets ready tasks go to workers with room, as fast as commits allow.

One loop: what became ready is planned by pure code, the plan is committed as attempts with
leases, and only then sent to the workers. The bus feeds it; nothing is polled.
"""

from collections.abc import Sequence

import anyio
import structlog

from taskyard.core.attempts import Attempt, Ended
from taskyard.core.changes import Change
from taskyard.core.errors import NotFound, Overloaded, TaskyardError, Unavailable
from taskyard.core.explain import Wait
from taskyard.core.fairness import WINDOW, Chosen, QueueKey, ReadyQueues, ReadyTask
from taskyard.core.ids import GroupName, WorkerId
from taskyard.core.instants import after
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.runtime import Assignment
from taskyard.ports.store import DispatchStore, GroupStore, Placed, Placement, WorkerRecord
from taskyard.ports.transport import Transport
from taskyard.services.assignments import Assignments
from taskyard.services.bus import Bus
from taskyard.services.kill import Kill
from taskyard.services.rooms import Held, Rooms

AT_ONCE = 64
"""Tasks placed in one plan."""
LEASE_S = 10.0
"""How long a worker may be silent before its attempts can be given to another one."""
TROUBLE_PAUSE_S = 0.5

log = structlog.get_logger(__name__)


class Dispatch:
    """The scheduler's loop, and its view of workers and of what is ready."""

    def __init__(
        self,
        store: DispatchStore,
        groups: GroupStore,
        transport: Transport,
        assignments: Assignments,
        kill: Kill,
        bus: Bus,
        rooms: Rooms,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._groups = groups
        self._transport = transport
        self._assignments = assignments
        self._kill = kill
        self._bus = bus
        self._rooms = rooms
        self._clock = clock
        self._ids = ids
        self._queues = ReadyQueues()
        self._limited: set[QueueKey] = set()
        self._wake = anyio.Event()
        self._stop_listening = bus.listen(self._on_changes)

    async def load(self) -> None:
        """Learn from the store what is running, limited and ready. Call once, before ``run``."""
        for attempt, group in await self._store.running():
            self._hold(attempt, group)
        await self.limits_changed()
        for backlog in await self._store.backlogs():
            self._queues.mark_more(QueueKey(backlog.workspace, backlog.group))

    async def run(self) -> None:
        """Place tasks until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            try:
                await self._refill()
                await self._round()
            except (Unavailable, Overloaded) as error:
                log.warning("dispatch_paused", reason=str(error))
                await self._clock.sleep(TROUBLE_PAUSE_S)
                self._wake.set()

    def poke(self) -> None:
        """Something changed that may let a task go."""
        self._wake.set()

    async def limits_changed(self) -> None:
        """Read limits and pauses anew."""
        workspaces, groups = await self._groups.limits()
        now_limited = set()
        for record in groups:
            key = QueueKey(record.workspace, record.name)
            now_limited.add(key)
            self._queues.set_group(key, paused=record.paused, limit=record.concurrency_limit)
        for key in self._limited - now_limited:
            self._queues.set_group(key, paused=False, limit=None)
        self._limited = now_limited
        self._queues.set_workspaces(workspaces)
        self.poke()

    def joined(self, record: WorkerRecord) -> None:
        """A worker is here."""
        self._rooms.join(record)
        self.poke()

    def left(self, worker_id: WorkerId) -> None:
        """A worker is gone; nothing more is placed on it."""
        self._rooms.leave(worker_id)

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """Workers here, each with what is free."""
        return self._rooms.workers()

    def explain(self, task: Task) -> Wait:
        """Why a queued task was not chosen."""
        spec = task.spec
        ready = ReadyTask(
            task.seq,
            task.id,
            task.workspace,
            spec.group,
            spec.priority,
            spec.resources,
            task.created_at,
            spec.expires_at,
        )
        return self._queues.explain(ready, self._rooms.rooms(), self._clock.now())

    async def _refill(self) -> None:
        for key, mark in self._queues.starved()[:AT_ONCE]:
            tasks = await self._store.ready(key.workspace, key.group, None, WINDOW)
            self._queues.refill(key, mark, tasks, complete=len(tasks) < WINDOW)
        if self._queues.starved():
            self._wake.set()

    async def _round(self) -> None:
        now = self._clock.now()
        plan = self._queues.plan(self._rooms.rooms(), now, AT_ONCE)
        if not plan:
            return
        placements = [self._placement(chosen) for chosen in plan]
        for chosen, placement in zip(plan, placements, strict=True):
            key = QueueKey(chosen.task.workspace, chosen.task.group)
            held = Held(chosen.worker_id, key, chosen.task.resources)
            self._rooms.hold(placement.attempt_id, held)
        try:
            placed, changes = await self._store.place(placements, now)
        except TaskyardError:
            for chosen, placement in zip(plan, placements, strict=True):
                self._give_back(placement)
                self._queues.add(chosen.task)
            raise
        done = {one.attempt.id for one in placed}
        for placement in placements:
            if placement.attempt_id not in done:
                self._give_back(placement)
        self._bus.publish(changes)
        self._wake.set()
        await self._send(placed)

    def _placement(self, chosen: Chosen) -> Placement:
        return Placement(
            task_id=chosen.task.id,
            seq=chosen.task.seq,
            attempt_id=self._ids.attempt(),
            lease_token=self._ids.lease(),
            lease_expires_at=after(self._clock.now(), LEASE_S),
            worker_id=chosen.worker_id,
            incarnation=chosen.incarnation,
        )

    async def _send(self, placed: Sequence[Placed]) -> None:
        by_worker: dict[WorkerId, list[Assignment]] = {}
        for one in placed:
            try:
                assignment = await self._assignments.build(one.task, one.attempt)
            except NotFound as error:
                await self._refuse(one.attempt, error)
                continue
            by_worker.setdefault(one.attempt.worker_id, []).append(assignment)
        for worker_id, assignments in by_worker.items():
            try:
                worker = await self._transport.to_worker(worker_id)
                await worker.assign(assignments)
            except WorkerUnreachable:
                # It joins again and is told then, or is lost and its attempts are fenced.
                log.warning("worker_unreachable", worker_id=worker_id, attempts=len(assignments))
                continue
            # A kill may have been ordered between the commit and the assignment.
            await self._kill.send([assignment.attempt_id for assignment in assignments])

    async def _refuse(self, attempt: Attempt, error: NotFound) -> None:
        now = self._clock.now()
        ended = Ended(
            attempt_id=attempt.id,
            lease_token=attempt.lease_token,
            at=now,
            state=AttemptState.FAILED,
            reason=Reason.SECRET_MISSING,
            message=f"there is no secret {error.key!r}; store it, then retry the task",
        )
        changes, _ = await self._store.apply([ended], now, [self._ids.chance()])
        self._bus.publish(changes)

    def _hold(self, attempt: Attempt, group: GroupName) -> None:
        key = QueueKey(attempt.workspace, group)
        self._rooms.hold(attempt.id, Held(attempt.worker_id, key, attempt.resources))
        self._queues.began(key)

    def _give_back(self, placement: Placement) -> None:
        held = self._rooms.free(placement.attempt_id)
        if held is not None:
            self._queues.ended(held.key)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.was is TaskState.RUNNING and change.state is not TaskState.RUNNING:
                held = self._rooms.free(change.attempt_id) if change.attempt_id else None
                if held is not None:
                    self._queues.ended(held.key)
            elif change.was is TaskState.QUEUED and change.state is not TaskState.RUNNING:
                self._queues.remove(change.workspace, change.group, change.seq)
            if change.ready is not None:
                self._queues.add(change.ready)
        self._wake.set()

    def close(self) -> None:
        """Hear no more changes. May be called twice."""
        self._stop_listening()
