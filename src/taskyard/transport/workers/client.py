"""A worker's end: what it asks the control planes for, and the orders it gets from them.

The worker counts how long its lease holds from when it *sent* the last heartbeat that was answered
as held, by a clock that goes on while the machine sleeps. Two seconds before the lease may end it
*lapses*: the worker has to stop what it runs, which may soon run elsewhere, and join again. While
all of NATS refuses connections it does not: then no control plane judges anybody.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.attempts import Attempt, Report
from taskyard.core.availability import RuntimeStatus
from taskyard.core.backoff import Backoff
from taskyard.core.errors import (
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    Overloaded,
    StaleLease,
    TaskyardError,
    Unavailable,
)
from taskyard.core.ids import IncarnationId, LeaseToken, WorkerId
from taskyard.ports.clock import Clock
from taskyard.ports.errors import TimedOut, TransportClosed, Unreachable, WorkerUnreachable
from taskyard.ports.messages import PlaneMessages
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, WorkerEnd
from taskyard.transport.batches import batches
from taskyard.transport.handing import hand
from taskyard.transport.workers.transport import AROUND_BYTES
from taskyard.transport.workers.wire import (
    ASSIGN,
    BEAT,
    JOINED,
    KILL,
    LEAVING,
    REPORT,
    RESOLVE,
    Assign,
    Beat,
    BeatAnswer,
    Joined,
    Joining,
    Kill,
    Leaving,
    Refused,
    ReportsEncoded,
    Resolve,
    Resolved,
    answered,
    asked,
    encode,
)

LAPSE_S: Final = 8.0
"""Seconds without a renewal after which the lease counts as about to end; it holds for 10."""
BEAT_S: Final = 2.0
"""Seconds for the answer to a heartbeat."""
ANSWER_S: Final = 10.0
"""Seconds for other answers."""
TOLD_EVERY_S: Final = 30.0
REPLACED_WITHIN_S: Final = 60.0
"""Whoever is replaced a second time within so many seconds has a living rival, and gives way."""
REFUSES_AFTER_S: Final = 0.1
"""Seconds until an order for another life is refused."""
AGAIN_S: Final = (0.1, 2.0)
"""Seconds between two attempts to join: at first, and at most."""

log = structlog.get_logger(__name__)


def since_boot() -> float:
    """Seconds by a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Replaced(NotAllowed):
    """Another process has this worker's place, and goes on in it."""

    def __init__(self) -> None:
        super().__init__(
            "another process has joined with the same join string, and goes on in this one's place;"
            " give each machine a join string of its own"
        )


class WorkerClient:
    """The transport port in a worker's own process.

    Args:
        messages: reach the control planes.
        clock: wall time.
        tasks: where orders are handed to the worker.
        now_s: see :func:`since_boot`; also the clock of ``messages.refused_at``.
    """

    def __init__(
        self,
        messages: PlaneMessages,
        clock: Clock,
        tasks: TaskGroup,
        now_s: Callable[[], float] = since_boot,
    ) -> None:
        self._messages = messages
        self._clock = clock
        self._tasks = tasks
        self._now_s = now_s
        self._worker: WorkerEnd | None = None
        self._closed = False
        self._life = IncarnationId("")
        self._lives: list[IncarnationId] = []
        """The life that joined last, and those that tried to since."""
        self._lapsed: tuple[IncarnationId, ...] = ()
        """Lives whose work was stopped, until the next one has joined."""
        self._held_at: float | None = None
        """When the last heartbeat was sent that renewed the lease; None before the first join."""
        self._told: dict[str, RuntimeStatus] | None = None
        """What the planes know of the runtimes."""
        self._replaced_at: float | None = None
        self.is_drained = False
        """Whether an operator had this worker drained when it last joined."""
        self.on_refused: Callable[[TaskyardError], None] = lambda _error: None
        """Called when the planes do not take this worker, and would not the next time."""
        messages.serve(ASSIGN, self._on_assign)
        messages.serve(KILL, self._on_kill)

    async def serve(self, engine: EngineEnd) -> None:
        """There is no engine in a worker's process. Raises ``Unavailable``."""
        del engine
        raise Unavailable("a worker serves no engine")

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Attach the worker, in place of one that was attached before."""
        del worker_id
        self._check()
        self._worker = worker
        return self

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """Only planes give orders. Raises ``WorkerUnreachable``."""
        raise WorkerUnreachable(f"worker {worker_id} takes orders from control planes")

    async def close(self) -> None:
        """Take no more orders."""
        self._closed = True
        self._worker = None

    async def joined(self, hello: Hello) -> list[Attempt]:
        """See the port. Goes on until a control plane has answered.

        Raises:
            StaleLease: the lease of the life before lapsed meanwhile.
            InvalidInput, NotAllowed, NotAuthenticated: they do not take this worker.
        """
        self._life = hello.incarnation
        self._lives.append(hello.incarnation)
        backoff, told_at = Backoff(*AGAIN_S), self._now_s()
        while True:
            self._check()
            joining = encode(Joining(hello, lapsed=list(self._lapsed)))
            sent_at = self._now_s()
            try:
                answer = await self._messages.ask_planes(JOINED, joining, ANSWER_S)
                joined = answered(Joined, answer)
            except (InvalidInput, NotAllowed, NotAuthenticated) as error:
                self.on_refused(error)
                raise
            except TaskyardError as error:
                if self._now_s() >= told_at:
                    told_at = self._now_s() + TOLD_EVERY_S
                    log.warning("cannot_join_yet", reason=str(error))
            else:
                self._lives, self._lapsed = [hello.incarnation], ()
                self._held_at, self._told = sent_at, dict(hello.statuses)
                self.is_drained = joined.drained
                return joined.attempts
            if not self._lapsed and self._left_s() <= 0:
                self._lapse()
            await anyio.sleep(backoff.delay_s())

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """See the port. Raises ``StaleLease`` once the lease has lapsed, ``Replaced``."""
        self._check()
        left_s = self._left_s()
        if left_s <= 0:
            self._lapse()
        statuses = heartbeat.statuses
        said = Heartbeat(
            heartbeat.worker_id,
            heartbeat.incarnation,
            heartbeat.at,
            None if statuses == self._told else statuses,
        )
        sent_at = self._now_s()
        try:
            payload = encode(Beat(said))
            answer = await self._messages.ask_planes(BEAT, payload, min(BEAT_S, left_s))
            told = answered(BeatAnswer, answer)
        except TaskyardError:
            if self._left_s() <= 0:
                self._lapse()
            raise
        if told.holds:
            self._held_at, self._told = sent_at, statuses
        elif told.replaced:
            self._note_replaced()
        return told.holds

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """See the port. Raises ``Unavailable`` while the lease has lapsed."""
        self._check()
        refused: list[LeaseToken] = []
        for batch in batches(reports, self._messages.room_bytes - AROUND_BYTES):
            if self._lapsed:
                raise Unavailable("the lease has lapsed; what was stopped for that runs elsewhere")
            payload = encode(ReportsEncoded(batch, self._clock.now()))
            answer = await self._messages.ask_planes(REPORT, payload, ANSWER_S)
            refused += answered(Refused, answer).leases
        return refused

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """See the port. Goes on until a control plane has answered, or the lease has lapsed.

        What is not resolved is not adopted, and so it would be killed.
        """
        payload, backoff = encode(Resolve(attempt)), Backoff(*AGAIN_S)
        while True:
            self._check()
            try:
                answer = await self._messages.ask_planes(RESOLVE, payload, ANSWER_S)
                return answered(Resolved, answer).assignment
            except (Unreachable, TimedOut, Overloaded) as error:
                log.warning("not_resolved_yet", attempt_id=attempt.id, reason=str(error))
            if self._left_s() <= 0:
                self._lapse()
            await anyio.sleep(backoff.delay_s())

    async def leave(self) -> None:
        """Say that this life has nothing to do any more; nobody waits then for its lease to end."""
        try:
            await self._messages.ask_planes(LEAVING, encode(Leaving(self._life)), BEAT_S)
        except TaskyardError as error:
            log.warning("left_unheard", reason=str(error))

    def _left_s(self) -> float:
        """Seconds until the lease lapses; as many as it has at most before the first join."""
        if self._held_at is None:
            return LAPSE_S
        refused_at = self._messages.refused_at
        since = self._held_at if refused_at is None else max(self._held_at, refused_at)
        return since + LAPSE_S - self._now_s()

    def _lapse(self) -> None:
        """Note it, and raise ``StaleLease``."""
        self._lapsed = tuple(self._lives)
        raise StaleLease

    def _note_replaced(self) -> None:
        """Raises ``Replaced`` if that happened a moment ago already."""
        now_s, before_s = self._now_s(), self._replaced_at
        self._replaced_at = now_s
        if before_s is not None and now_s - before_s < REPLACED_WITHIN_S:
            error = Replaced()
            self.on_refused(error)
            raise error

    async def _on_assign(self, payload: bytes) -> bytes:
        order = asked(Assign, payload)
        worker = await self._present(order.incarnation)
        await hand(self._tasks, partial(worker.assign, order.assignments))
        return b""

    async def _on_kill(self, payload: bytes) -> bytes:
        order = asked(Kill, payload)
        worker = await self._present(order.incarnation)
        await hand(self._tasks, partial(worker.kill, order.orders))
        return b""

    async def _present(self, incarnation: IncarnationId) -> WorkerEnd:
        if self._worker is None or incarnation != self._life:
            # It may be meant for a rival, whose answer has to be the first.
            await anyio.sleep(REFUSES_AFTER_S)
            raise WorkerUnreachable("the worker has joined again")
        if self._lapsed or self._left_s() <= 0:
            # Also what waited in a queue while this process was stopped.
            raise WorkerUnreachable("the worker's lease has lapsed; it joins again")
        return self._worker

    def _check(self) -> None:
        if self._closed:
            raise TransportClosed
