"""What workers on other machines may call: joining, heartbeats, and reports about attempts.

Who calls is certain; whatever a worker says of itself or of attempts is not. So it holds the leases
that the store says it holds, and its times are understood by its own clock.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import msgspec
import structlog
from msgspec.structs import replace

from taskyard.core.attempts import Attempt, Ended, Report, Started, confinement_in
from taskyard.core.availability import RuntimeStatus, available
from taskyard.core.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    StaleLease,
    TaskyardError,
)
from taskyard.core.ids import IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import SECOND, Instant
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import JOINED, DispatchStore, WorkerRecord
from taskyard.ports.runtime import Assignment
from taskyard.ports.store import TaskStore
from taskyard.ports.transport import Heartbeat, Hello, LeaseState
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.arrivals import Arrivals
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.joining import record_of, resume_kills
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.lease_beats import LeaseBeats
from taskyard.services.scheduling.worker_places import WorkerPlaces

SAME_CLOCK_S: Final = 2.0
"""Clocks that differ by less count as the same: that much takes a report to arrive."""
MOST_LAPSED: Final = 100
MOST_STAY_S: Final = 10 * 366 * 86_400.0
NAME_CHARACTERS: Final = 255
MOST_TAGS: Final = 256

Admit = Callable[[WorkerId], Awaitable[Sequence[str]]]
"""Whether a worker may join now; answers with the tags that it has by its credential.

Raises ``NotAuthenticated``."""

log = structlog.get_logger(__name__)


class JoinedGateway:
    """Implements ``ports.transport.JoinedEngine``."""

    def __init__(
        self,
        store: DispatchStore,
        tasks: TaskStore,
        assignments: Assignments,
        dispatch: Dispatch,
        kill: KillOrders,
        places: WorkerPlaces,
        beats: LeaseBeats,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        calls: Arrivals,
        admit: Admit,
        cluster: ClusterState | None,
    ) -> None:
        """Prepare; ``cluster`` is what hears workers if there is one control plane only."""
        self._store = store
        self._tasks = tasks
        self._assignments = assignments
        self._dispatch = dispatch
        self._kill = kill
        self._places = places
        self._beats = beats
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._calls = calls
        self._admit = admit
        self._cluster = cluster

    async def joined(
        self, worker_id: WorkerId, hello: Hello, lapsed: Sequence[IncarnationId]
    ) -> list[Attempt]:
        """See the port. Raises ``NotAuthenticated`` if its credential does not hold any more."""
        _check(hello, lapsed)
        tags = await self._admit(worker_id)
        now = self._clock.now()
        # What follows the commit must not be left out because the worker has given up waiting.
        with anyio.CancelScope(shield=True):
            for life in lapsed:
                self._bus.publish(await self._store.lose(worker_id, life, now))
            # Its id is what the subject says, whatever it says itself.
            record = record_of(replace(hello, worker_id=worker_id), JOINED, now, tags)
            attempts = await self._store.join(record)
            await self._check_again(record)
            self._places.note(record)
            await resume_kills(attempts, self._tasks, self._kill)
            self._dispatch.joined(record)
        log.info("worker_joined", worker_id=worker_id, hostname=hello.hostname, held=len(attempts))
        return attempts

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """See the port. It is a hint for people: a worker joins without it, too."""
        try:
            return await self._store.is_drained(worker_id)
        except TaskyardError as error:
            log.warning("drain_not_known", worker_id=worker_id, reason=str(error))
            return False

    async def _check_again(self, record: WorkerRecord) -> None:
        """Fence a worker whose credential was revoked while it joined."""
        try:
            await self._admit(record.id)
        except NotAuthenticated:
            now = self._clock.now()
            self._bus.publish(await self._store.lose(record.id, record.incarnation, now))
            raise

    async def beat(self, worker_id: WorkerId, heartbeat: Heartbeat) -> LeaseState:
        """See the port.

        The only control plane there is judges by what it hears, and answers at once: a store that
        stands still stops nothing that runs. Of several, another one may judge by what is stored.
        """
        incarnation = heartbeat.incarnation
        if self._cluster is None or not self._cluster.beat(
            worker_id, incarnation, self._clock.now()
        ):
            state = await self._beats.renew(worker_id, incarnation)
            if state is not LeaseState.HELD:
                return state
            if self._cluster is not None:
                # This control plane was started since, and has to hear what the worker offers.
                return LeaseState.FENCED
        if heartbeat.statuses is not None:
            await self._tell(worker_id, heartbeat, heartbeat.statuses)
        return LeaseState.HELD

    async def _tell(
        self, worker_id: WorkerId, heartbeat: Heartbeat, statuses: dict[str, RuntimeStatus]
    ) -> None:
        """Have the scheduler know what a worker says of its runtimes."""
        if self._cluster is not None:
            if self._cluster.tell(worker_id, statuses):
                self._dispatch.wake()
            return
        for record in await self._store.workers():
            if record.id == worker_id and record.incarnation == heartbeat.incarnation:
                told = replace(record, statuses=statuses, runtimes=available(statuses))
                await self._store.describe(told)

    async def report(
        self, worker_id: WorkerId, reports: list[Report], sent_at: Instant
    ) -> list[LeaseToken]:
        """See the port."""
        now = self._clock.now()
        understood = [_by_our_clock(one, sent_at, now) for one in reports]
        chances = [self._ids.chance() for _ in reports]
        with anyio.CancelScope(shield=True):
            changes, refused = await self._store.apply(understood, now, chances, worker_id)
            self._calls.arrived(understood)
            self._bus.publish(changes)
            self._calls.announced()
        return refused

    async def resolve(self, worker_id: WorkerId, attempt: Attempt) -> Assignment | None:
        """See the port. What it is about is read again: the worker may have made it up."""
        try:
            stored = await self._tasks.attempt(attempt.workspace, attempt.id)
            task = await self._tasks.task(stored.workspace, stored.task_id)
        except NotFound:
            return None
        if stored.worker_id != worker_id or stored.finished_at is not None:
            return None
        if task.current_attempt != stored.id:
            raise StaleLease
        return await self._assignments.build(task, stored, lenient=True)

    async def leaving(self, worker_id: WorkerId, incarnation: IncarnationId) -> None:
        """See the port."""
        with anyio.CancelScope(shield=True):
            self._bus.publish(await self._store.lose(worker_id, incarnation, self._clock.now()))
            if self._places.joined_life(worker_id) == incarnation:
                self._dispatch.left(worker_id)


def _check(hello: Hello, lapsed: Sequence[str]) -> None:
    """Raise ``InvalidInput`` for what nobody could store or show."""
    offered = hello.capacity
    numbers = (offered.slots, offered.cpu_millis, offered.memory_bytes)
    if not all(0 <= one <= 1 << 60 for one in numbers):
        raise InvalidInput("capacity", "must be of numbers from 0 to 2^60")
    texts = (hello.incarnation, hello.hostname, hello.version, *hello.runtimes, *hello.tags)
    if not hello.incarnation or any(len(one) > NAME_CHARACTERS for one in texts):
        raise InvalidInput("hello", f"names must have {NAME_CHARACTERS} characters or fewer")
    if len(hello.tags) > MOST_TAGS or len(hello.metadata) > MOST_TAGS:
        raise InvalidInput("hello", f"at most {MOST_TAGS} tags and {MOST_TAGS} metadata can be had")
    if hello.stays_s is not None and not 0 <= hello.stays_s <= MOST_STAY_S:
        raise InvalidInput("stays_s", f"must be from 0 to {MOST_STAY_S:g}")
    if len(lapsed) > MOST_LAPSED:
        raise InvalidInput("lapsed", f"must be {MOST_LAPSED} or fewer")


def _by_our_clock(report: Report, sent_at: Instant, now: Instant) -> Report:
    """A report whose times are by this machine's clock, and not in the future."""
    shift = now - sent_at
    if abs(shift) < SAME_CLOCK_S * SECOND:
        shift = 0

    def ours(at: Instant) -> Instant:
        return Instant(max(0, min(at + shift, now)))

    if isinstance(report, Ended):
        began = None if report.started_at is None else ours(report.started_at)
        killed = report.kill_report
        if killed is not None:
            killed = replace(
                killed, requested_at=ours(killed.requested_at), done_at=ours(killed.done_at)
            )
        return replace(report, at=ours(report.at), started_at=began, kill_report=killed)
    if isinstance(report, Started) and not _is_readable(report.handle):
        report = replace(report, handle={})
    return replace(report, at=ours(report.at))


def _is_readable(handle: dict[str, Any]) -> bool:
    """Whether what a handle says can be shown, which is read whenever its task is."""
    try:
        confinement_in(handle)
    except msgspec.ValidationError:
        return False
    return True
