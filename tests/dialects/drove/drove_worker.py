"""Workers whose containers are words: the arguments say what happens.

``echo TEXT…``, ``fail CODE``, ``signal``, ``hang``, ``stuck`` (never seen running until it is told
to go on), ``nopull``, ``nostart``, ``vanish``; anything else ends well.
"""

from typing import Any

import anyio
from anyio.abc import TaskGroup

from fakes.logs import MemoryLogs
from fakes.word_worker import WordTransport
from taskyard.core.attempts import Started
from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Container
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.logs import Stream
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, WorkerEnd
from taskyard.server.clock import SystemClock

GIB = 1 << 30


class WordWorkers(WordTransport):
    """All workers of a test, and the transport between them and the engine."""

    def __init__(self, logs: MemoryLogs, clock: SystemClock) -> None:
        super().__init__(logs, clock)
        self.given: list[Assignment] = []
        """All assignments, in order."""
        self.hanging: dict[AttemptId, Assignment] = {}
        """Seen running."""
        self.stuck: dict[AttemptId, Assignment] = {}
        """Not seen running yet."""
        self.beating: set[WorkerId] = set()

    def begin(self, engine: EngineEnd, tasks: TaskGroup) -> None:
        """Serve this engine."""
        self._engine = engine
        tasks.start_soon(self._work)
        tasks.start_soon(self._beat)

    async def join(self, name: str, **hello: Any) -> None:
        """One more worker: two nodes with two cores and 4 GiB each, unless told otherwise."""
        assert self._engine is not None
        nodes = (NumaNode(0, (0, 1), 4 * GIB), NumaNode(1, (2, 3), 4 * GIB))
        given: dict[str, Any] = {
            "capacity": Capacity(10_000, 4000, 8 * GIB),
            "runtimes": ("container",),
            "topology": Topology(nodes),
            **hello,
        }
        worker_id = WorkerId(name)
        await self._engine.joined(
            Hello(worker_id, IncarnationId(f"{name}-1"), f"host-{name}", "1", **given)
        )
        self.beating.add(worker_id)

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """See the port."""
        if worker_id not in self.beating:
            raise WorkerUnreachable
        return self

    async def assign(self, assignments: list[Assignment]) -> None:
        """See the port."""
        self.given += assignments
        await super().assign(assignments)

    async def kill(self, orders: list[KillOrder]) -> None:
        """See the port."""
        for order in orders:
            found = self.hanging.pop(order.attempt_id, None)
            found = found or self.stuck.pop(order.attempt_id, None)
            if found is not None:
                await self.end(found, AttemptState.KILLED, Reason.KILLED, "killed on request")

    async def go_on(self, assignment: Assignment) -> None:
        """Let what is stuck be seen running."""
        del self.stuck[assignment.attempt_id]
        await self._start(assignment)
        self.hanging[assignment.attempt_id] = assignment

    async def finish(self, assignment: Assignment) -> None:
        """Let what hangs end well."""
        del self.hanging[assignment.attempt_id]
        await self.end(assignment, AttemptState.SUCCEEDED, None, None, 0)

    async def end(
        self,
        assignment: Assignment,
        state: AttemptState,
        reason: Reason | None,
        message: str | None,
        exit_code: int | None = None,
    ) -> None:
        """Report an end."""
        await self._end(assignment, state, reason, exit_code, message)

    async def _beat(self) -> None:
        while True:
            for name in tuple(self.beating):
                beat = Heartbeat(name, IncarnationId(f"{name}-1"), self._clock.now())
                assert self._engine is not None
                await self._engine.beat(beat)
            await anyio.sleep(0.1)

    async def _start(self, assignment: Assignment) -> None:
        assert self._engine is not None
        now = self._clock.now()
        await self._engine.report([Started(assignment.attempt_id, assignment.lease_token, now)])

    async def _work(self) -> None:
        async for one in self._outbox:
            assert isinstance(one.work, Container)
            words = [*one.work.args, "", ""]
            if words[0] == "stuck":
                self.stuck[one.attempt_id] = one
                continue
            if words[0] == "nopull":
                text = f"image {one.work.image} is not on the engine and cannot be pulled: no"
                await self.end(one, AttemptState.FAILED, Reason.START_FAILED, text)
                continue
            if words[0] == "nostart":
                text = "cannot be started: no such program"
                await self.end(one, AttemptState.FAILED, Reason.START_FAILED, text)
                continue
            await self._start(one)
            await self._run(one, words)

    async def _run(self, one: Assignment, words: list[str]) -> None:
        failed = AttemptState.FAILED
        match words[0]:
            case "hang":
                self.hanging[one.attempt_id] = one
            case "fail":
                code = int(words[1] or 3)
                await self.end(one, failed, Reason.EXIT_CODE, "it failed", code)
            case "signal":
                await self.end(one, failed, Reason.SIGNAL, "died of SIGSEGV")
            case "vanish":
                text = "the container was removed by somebody else"
                await self.end(one, AttemptState.LOST, Reason.EXIT_UNKNOWN, text)
            case "echo":
                self.logs.write(
                    one.attempt_id, Stream.STDOUT, " ".join(words[1:-2]).encode() + b"\n"
                )
                await self.end(one, AttemptState.SUCCEEDED, None, None, 0)
            case _:
                await self.end(one, AttemptState.SUCCEEDED, None, None, 0)
