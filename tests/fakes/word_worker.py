"""What workers share whose work is words: they are the transport, and end attempts at will."""

from collections.abc import Mapping
from typing import Any

import anyio

from fakes.logs import MemoryLogs
from taskyard.core.attempts import Ended
from taskyard.core.ids import WorkerId
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.clock import Clock
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.logs import Stream
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, WorkerEnd


class WordTransport:
    """Both ends of the transport that services use; what is assigned waits in ``outbox``."""

    def __init__(self, logs: MemoryLogs, clock: Clock) -> None:
        self.logs = logs
        self._clock = clock
        self._engine: EngineEnd | None = None
        self._inbox, self._outbox = anyio.create_memory_object_stream[Assignment](100_000)

    async def serve(self, engine: EngineEnd) -> None:
        """See the port."""

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """See the port."""
        raise NotImplementedError

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:  # noqa: ARG002 - the port
        """See the port."""
        if self._engine is None:
            raise WorkerUnreachable
        return self

    async def close(self) -> None:
        """See the port."""
        self._inbox.close()
        self._outbox.close()

    async def assign(self, assignments: list[Assignment]) -> None:
        """See the port."""
        for one in assignments:
            await self._inbox.send(one)

    async def kill(self, orders: list[KillOrder]) -> None:
        """See the port."""
        raise NotImplementedError

    async def _end(
        self,
        assignment: Assignment,
        state: AttemptState,
        reason: Reason | None,
        exit_code: int | None,
        message: str | None = None,
        **more: Any,
    ) -> None:
        """Report an end; ``more`` are further members of it."""
        assert self._engine is not None
        attempt_id = assignment.attempt_id
        sizes: Mapping[str, Any] = {
            stream: await self.logs.size(attempt_id, Stream(stream))
            for stream in ("stdout", "stderr")
        }
        ended = Ended(
            attempt_id,
            assignment.lease_token,
            self._clock.now(),
            state,
            reason=reason,
            message=message,
            exit_code=exit_code,
            signal="SIGSEGV" if reason is Reason.SIGNAL else None,
            **sizes,
            **more,
        )
        await self._engine.report([ended])
