"""A worker whose containers are words, so that every end of an execution can be had at will."""

from typing import Final

from anyio.abc import TaskGroup

from fakes.logs import MemoryLogs
from fakes.word_worker import WordTransport
from taskyard.core.attempts import KillReport, Started
from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Container
from taskyard.ports.clock import Clock
from taskyard.ports.logs import Stream
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Hello

WORKER = WorkerId("docker.example:2375")
ENDS: Final = {
    "lost-start": (AttemptState.FAILED, Reason.START_FAILED, None, "no such image"),
    "slow": (AttemptState.FAILED, Reason.TIMEOUT, None, "ran out of time"),
    "signal": (AttemptState.FAILED, Reason.SIGNAL, None, None),
    "trouble": (AttemptState.FAILED, Reason.RUNTIME_TROUBLE, None, "the engine is gone"),
}


class WordWorker(WordTransport):
    """Runs words: ``echo TEXT``, ``err TEXT``, ``exit CODE``, ``hang``, ``pull`` and ``ENDS``.

    ``hang`` runs and ``pull`` is never seen running, until they are killed or told to end.
    Implements both ends of the transport that services use.
    """

    def __init__(self, logs: MemoryLogs, clock: Clock) -> None:
        super().__init__(logs, clock)
        self.hanging: dict[AttemptId, Assignment] = {}
        self.ran: list[Assignment] = []
        self.troubles = 0
        """How many of the next runs end in trouble with the machinery below them."""

    async def join(self, engine: EngineEnd, tasks: TaskGroup) -> None:
        """Be there."""
        self._engine = engine
        capacity = Capacity(16, 16000, 8 << 30)
        incarnation = IncarnationId("i1")
        await engine.joined(
            Hello(WORKER, incarnation, "docker.example", "1", capacity, ("container", "command"))
        )
        tasks.start_soon(self._work)

    async def kill(self, orders: list[KillOrder]) -> None:
        """See the port."""
        for order in orders:
            found = self.hanging.pop(order.attempt_id, None)
            if found is not None:
                now = self._clock.now()
                report = KillReport(now, now, order.signal, forced=False)
                await self._end(found, AttemptState.KILLED, Reason.KILLED, 143, kill_report=report)

    def say(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """Let a hanging attempt write something."""
        self.logs.write(attempt_id, stream, data)

    async def finish(self, attempt_id: AttemptId, exit_code: int = 0) -> None:
        """Let a hanging attempt end by itself."""
        found = self.hanging.pop(attempt_id)
        if exit_code:
            await self._end(found, AttemptState.FAILED, Reason.EXIT_CODE, exit_code)
        else:
            await self._end(found, AttemptState.SUCCEEDED, None, 0)

    async def _work(self) -> None:
        async for assignment in self._outbox:
            await self._run(assignment)

    async def _run(self, assignment: Assignment) -> None:
        assert self._engine is not None
        assert isinstance(assignment.work, Container)
        self.ran.append(assignment)
        word, *rest = assignment.work.args or ("true",)
        if self.troubles:
            self.troubles -= 1
            word = "trouble"
        if word in {"hang", "pull"}:
            # Before it is seen running, since a test may end it from then on.
            self.hanging[assignment.attempt_id] = assignment
        if word not in {"pull", "lost-start", "trouble"}:
            started = Started(
                assignment.attempt_id,
                assignment.lease_token,
                self._clock.now(),
                {"container_id": "c0ffee", "engine": "docker.example:2375"},
            )
            await self._engine.report([started])
        if word in {"hang", "pull"}:
            return
        if word in ENDS:
            state, reason, code, said = ENDS[word]
            await self._end(assignment, state, reason, code, said)
        elif word == "exit":
            self.logs.write(assignment.attempt_id, Stream.STDERR, b"oh\n")
            await self._end(assignment, AttemptState.FAILED, Reason.EXIT_CODE, int(rest[0]))
        else:
            stream = Stream.STDERR if word == "err" else Stream.STDOUT
            self.logs.write(assignment.attempt_id, stream, " ".join(rest).encode() + b"\n")
            await self._end(assignment, AttemptState.SUCCEEDED, None, 0)
