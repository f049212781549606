"""Dispatch: lets ready tasks go to workers with room, as fast as commits allow.

One loop: what became ready is planned by pure code, the plan is committed as attempts with
leases, and only then sent to the workers. The bus feeds it; nothing is polled.
"""

from collections.abc import Callable, Sequence

import anyio
import structlog

from taskyard.core.changes import Change
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.pools import Pools
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import ReadyTask, ready_task
from taskyard.core.scheduling.window import WINDOW
from taskyard.core.states import Reason, TaskState
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import (
    LEASE_S,
    DispatchStore,
    PlacedAttempt,
    Placement,
    WorkerRecord,
)
from taskyard.ports.scheduler import NoScheduler, Scheduler
from taskyard.ports.transport import Transport
from taskyard.ports.workspaces import GroupStore
from taskyard.services.leadership import TermSource, no_term
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.assignment_sender import AssignmentSender
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState, Reservation
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.rule_budget import RuleBudgetSource
from taskyard.services.scheduling.scheduler_memory import SchedulerMemory

AT_ONCE = 64
"""Tasks placed in one plan."""
TROUBLE_PAUSE_S = 0.5
STEPS_PAUSE_S = 0.02
"""Until tasks have another round whose policies could not be evaluated in the last one."""

log = structlog.get_logger(__name__)


class Dispatch:
    """The scheduler's loop, and its view of workers and of what is ready."""

    def __init__(
        self,
        store: DispatchStore,
        groups: GroupStore,
        transport: Transport,
        assignments: Assignments,
        kill: KillOrders,
        bus: Bus,
        cluster: ClusterState,
        clock: Clock,
        ids: Ids,
        pools: Pools | None = None,
        steps: RuleBudgetSource | None = None,
        term: TermSource = no_term,
    ) -> None:
        self._store = store
        self._term = term
        self.is_active = True
        """Whether it places tasks and knows what runs. Only a leader's does."""
        self.knows_fleet = True
        """Whether the workers that are here are known. Whoever begins to lead learns them last."""
        self.elsewhere: Scheduler = NoScheduler()
        """Whoever leads while this does not."""
        self._handover = AssignmentSender(
            store, transport, assignments, kill, bus, cluster, clock, ids
        )
        self._bus = bus
        self._cluster = cluster
        self._clock = clock
        self._ids = ids
        self._memory = SchedulerMemory(store, groups, cluster, pools or Pools())
        self._steps = steps or RuleBudgetSource()
        self._placing: set[AttemptId] = set()
        self._doubtful: list[Placement] = []
        """Placements whose commit failed: nobody can say yet whether it came about."""
        self._watchers: list[Callable[[], None]] = []
        self._wake = anyio.Event()
        self._unfinished = anyio.Event()
        self._stop_listening = bus.listen(self._on_changes)
        bus.hear_own(self._on_own_changes)

    async def load(self) -> None:
        """Learn from the store what is running, limited and ready, before ``run``.

        Call it once, and again after each :meth:`drop`. Changes are followed from here on.
        """
        self.is_active = True
        await self._memory.load()

    def drop(self) -> None:
        """Forget everything, and place nothing until :meth:`load`; :meth:`run` has ended.

        What was placed and not sent is sent by whoever leads next, as its worker joins again.
        """
        self.is_active = self.knows_fleet = False
        self._memory.drop()
        self._placing.clear()
        self._doubtful.clear()
        self._handover.drop()
        self._cluster.clear()
        self._tell_watchers()

    async def run(self) -> None:
        """Place tasks until cancelled."""
        self._wake.set()
        async with anyio.create_task_group() as group:
            group.start_soon(self._go_on)
            await self._place_all()

    async def _go_on(self) -> None:
        """Let tasks have another round whose policies could not be evaluated in the last one."""
        while True:
            await self._unfinished.wait()
            self._unfinished = anyio.Event()
            await self._clock.sleep(STEPS_PAUSE_S)
            self._wake.set()

    async def _place_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            try:
                await self._resolve_uncertain()
                await self._handover.send_waiting()
                await self._refill()
                await self._round()
            except (Unavailable, Overloaded) as error:
                log.warning("dispatch_paused", reason=str(error))
                await self._clock.sleep(TROUBLE_PAUSE_S)
                self._wake.set()

    def wake(self) -> None:
        """Something changed that may let a task go."""
        self._wake.set()

    def try_place(self, task: NewTask) -> Placement | None:
        """Reserve capacity for a task about to be stored; None if the task has to queue.

        Whoever asks says what came of it: :meth:`stored`, or :meth:`mark_uncertain`.
        """
        return None if task.state is not TaskState.QUEUED else self.reserve(ready_task(task, 0))

    async def place(self, task: NewTask) -> Placement | None:
        """The same, for whoever can wait."""
        return self.try_place(task)

    def reserve(self, task: ReadyTask) -> Placement | None:
        """The same for a task that another control plane is about to store.

        Whoever asks says what came of it: :meth:`confirmed`, or :meth:`released`.
        """
        if not self.is_active or self._memory.is_loading:
            return None
        now, steps = self._clock.now(), self._steps.now()
        chosen = self._memory.queues.try_place(task, self._cluster.fleet, now, steps)
        return None if chosen is None else self._placement(chosen)

    def is_paused(self, key: QueueKey) -> bool:
        """Whether tasks of a group may not start, as far as this leader knows."""
        return self._memory.queues.is_paused(key)

    def confirmed(self, attempt_id: AttemptId) -> None:
        """What :meth:`reserve` reserved is in the store, if anything is; it keeps its room."""
        self._placing.discard(attempt_id)

    def released(self, attempt_id: AttemptId) -> None:
        """What :meth:`reserve` reserved was not stored."""
        self._placing.discard(attempt_id)
        self._memory.free(attempt_id)
        self._wake.set()

    def stored(self, placement: Placement, placed: PlacedAttempt | None) -> None:
        """A task was stored with its placement, and has been announced; None: without it."""
        if placement.attempt_id not in self._placing:
            return  # Planned before everything was dropped.
        self._placing.discard(placement.attempt_id)
        if placed is None:
            self._memory.free(placement.attempt_id)
        else:
            self._handover.later(placed)
        self._wake.set()

    def mark_uncertain(self, placement: Placement) -> None:
        """It is unknown whether a task was stored with its placement."""
        if placement.attempt_id not in self._placing:
            return  # As above.
        self._placing.discard(placement.attempt_id)
        self._doubtful.append(placement)
        self._wake.set()

    async def limits_changed(self) -> None:
        """Read limits and pauses again."""
        if not self.is_active:
            await self.elsewhere.limits_changed()
            return
        await self._memory.read_limits()
        self.wake()

    async def reconcile(self) -> None:
        """Compare with the store, and make up for announcements that never came.

        A change that was committed while its caller was cancelled or told of a failure is known
        to the store alone.
        """
        unsettled = self._placing | {one.attempt_id for one in self._doubtful}
        await self._memory.reconcile(unsettled)
        self.wake()

    def joined(self, record: WorkerRecord) -> None:
        """A worker is here."""
        if not self.is_active:
            return
        self._cluster.join(record)
        self._tell_watchers()
        self.wake()

    def heard(self, worker_id: WorkerId, incarnation: IncarnationId, at: Instant) -> None:
        """A worker gave a sign of life elsewhere."""
        self._cluster.beat(worker_id, incarnation, at)

    def resend(self, placed: PlacedAttempt) -> None:
        """Have an attempt sent to its worker, perhaps once more."""
        self._handover.later(placed)
        self._wake.set()

    def retry_unreached(self) -> None:
        """Have attempts sent again that did not reach their workers."""
        if self._handover.retry_unreached():
            self._wake.set()

    def left(self, worker_id: WorkerId) -> None:
        """A worker is gone; nothing more is placed on it."""
        if not self.is_active:
            return
        self._cluster.leave(worker_id)
        self._tell_watchers()

    def drained(self, worker_id: WorkerId, *, draining: bool) -> None:
        """An operator has a worker drained, or lets it take tasks again."""
        if not self.is_active:
            return
        self._cluster.drain(worker_id, draining=draining)
        self._tell_watchers()
        self.wake()

    def workers(self) -> list[tuple[WorkerRecord, Capacity]]:
        """Workers here, each with what is free."""
        return self._cluster.workers() if self.knows_fleet else self.elsewhere.workers()

    def rooms(self) -> list[Room]:
        """Workers here as places to run: tags, nodes, cores and memory that are free, runtimes."""
        return self._cluster.rooms() if self.knows_fleet else self.elsewhere.rooms()

    def held(self, attempt_id: AttemptId) -> Reservation | None:
        """What an attempt holds, and where; None once it has ended."""
        return self._cluster.held_by(attempt_id)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call this whenever a worker joined, left, or is drained or not any more."""
        self._watchers.append(watcher)

    def seen_elsewhere(self) -> None:
        """What :attr:`elsewhere` knows of workers has changed."""
        if not self.is_active:
            self._tell_watchers()

    async def explain(self, task: Task) -> Wait:
        """Why a queued task was not chosen."""
        if not self.is_active:
            return await self.elsewhere.explain(task)
        ready = ready_task(task, task.seq)
        now, steps = self._clock.now(), self._steps.now()
        return self._memory.queues.explain(ready, self._cluster.fleet, now, steps)

    async def _refill(self) -> None:
        for key, mark in self._memory.queues.starved()[:AT_ONCE]:
            tasks = await self._store.ready(key.workspace, key.group, None, WINDOW)
            self._memory.queues.refill(key, mark, tasks, complete=len(tasks) < WINDOW)
        if self._memory.queues.starved():
            self._wake.set()

    async def _round(self) -> None:
        now = self._clock.now()
        plan = self._memory.queues.plan(self._cluster.fleet, now, AT_ONCE, self._steps.now())
        if self._memory.queues.unfinished:
            self._unfinished.set()
        if not plan:
            return
        placements = [self._placement(chosen) for chosen in plan]
        try:
            placed, changes = await self._store.place(placements, now)
        except Exception:
            # Whatever it was: they hold room, and may have been stored.
            self._doubtful += placements
            raise
        finally:
            self._placing.difference_update(one.attempt_id for one in placements)
        done = {one.attempt.id for one in placed}
        for chosen, placement in zip(plan, placements, strict=True):
            if placement.attempt_id not in done:
                # Its task or its worker is not what it was; the store knows better.
                self._memory.free(placement.attempt_id)
                self._memory.queues.reread(QueueKey(chosen.task.workspace, chosen.task.group))
        self._bus.publish(changes)
        self._wake.set()
        await self._handover.send(placed)

    def _placement(self, chosen: Chosen) -> Placement:
        """A plan's line with its attempt, which holds its room from now on."""
        placement = Placement(
            task_id=chosen.task.id,
            seq=chosen.task.seq,
            attempt_id=self._ids.attempt(),
            lease_token=self._ids.lease(),
            lease_expires_at=after(self._clock.now(), LEASE_S),
            worker_id=chosen.worker_id,
            incarnation=chosen.incarnation,
            allotted=chosen.granted.allotted,
            term=self._term(),
        )
        key = QueueKey(chosen.task.workspace, chosen.task.group)
        held = Reservation(chosen.worker_id, key, chosen.granted, chosen.pool)
        self._placing.add(placement.attempt_id)
        self._cluster.note(placement.attempt_id, held)
        return placement

    async def _resolve_uncertain(self) -> None:
        """End placements whose commit failed, in case it came about after all.

        Their workers never heard of them. Those that were not stored are refused, and that is that.
        """
        while self._doubtful:
            one = self._doubtful[0]
            text = "the store failed while it was being placed"
            await self._handover.end(one.attempt_id, one.lease_token, Reason.RUNTIME_TROUBLE, text)
            self._doubtful.pop(0)
            held = self._memory.free(one.attempt_id)
            if held is not None:
                self._memory.queues.reread(held.key)

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _on_own_changes(self, changes: Sequence[Change]) -> None:
        """What ended here gives back its room at once, not when the feed comes to tell of it."""
        if self.is_active:
            self._memory.follow_ends(changes)
            self._wake.set()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if self.is_active:
            self._memory.follow(changes)
            self._wake.set()

    def close(self) -> None:
        """Unsubscribe from changes. Can be called twice."""
        self._stop_listening()
