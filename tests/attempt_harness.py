"""What the harnesses of all runtimes share: starting attempts, hearing of them, killing them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from eventually import eventually_async
from fakes.listener import RecordingListener
from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.functions.functions import CallRequest, FunctionId
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.worker.output.directories import AttemptDirectories


class AttemptHarness(ABC):
    """Attempts of one runtime that has directories for them, and hears of them."""

    root: Path
    runtime: Any

    def __init__(self) -> None:
        self.ear = RecordingListener()

    @abstractmethod
    def _runtime(self) -> Any:
        """A new runtime on the same directories."""

    async def open(self) -> None:
        """Open the runtime."""
        await self.runtime.open(self.ear)

    async def reopen(self) -> None:
        """Let another runtime take the place of this one, as after a restart."""
        await self.runtime.close()
        self.ear = RecordingListener()
        self.runtime = self._runtime()
        await self.open()

    def directory(self, attempt_id: str) -> Path:
        """Where an attempt lives."""
        return self.root / "attempts" / attempt_id

    async def begin(self, assignment: Assignment) -> Assignment:
        """Start it in a directory of its own."""
        directory = self.directory(assignment.attempt_id)
        await anyio.Path(directory).mkdir(parents=True)
        await self.runtime.start(assignment, directory)
        return assignment

    async def started(self, assignment: Assignment) -> Started:
        """Wait until it runs."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.starts or attempt_id in self.ear.ends)
        assert attempt_id in self.ear.starts, self.ear.ends[attempt_id]
        return self.ear.starts[attempt_id][0]

    async def ended(self, assignment: Assignment) -> Ended:
        """Wait until it is over."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.ends)
        return self.ear.ends[attempt_id][0]

    async def output(self, attempt: Assignment | Ended, stream: str = "stdout") -> bytes:
        """What it has written so far."""
        path = anyio.Path(self.directory(attempt.attempt_id) / stream)
        return await path.read_bytes() if await path.exists() else b""

    async def has_written(self, assignment: Assignment, text: bytes) -> bytes:
        """Wait until its output contains something; answers with all of it."""
        return await eventually_async(lambda: self.output(assignment), lambda data: text in data)

    async def order(self, assignment: Assignment, name: str, grace_s: float) -> None:
        """Ask for a kill."""
        order = KillOrder(assignment.attempt_id, assignment.lease_token, name, grace_s)
        await self.runtime.kill(order)

    async def kill(
        self, assignment: Assignment, name: str = "SIGKILL", grace_s: float = 0.0
    ) -> KillReport:
        """Kill it and wait for the proof."""
        await self.order(assignment, name, grace_s)
        report = (await self.ended(assignment)).kill_report
        assert report is not None
        return report

    async def adopt(self, assignment: Assignment, handle: dict[str, Any]) -> None:
        """Have the present runtime take over an attempt."""
        await self.runtime.adopt(assignment, self.directory(assignment.attempt_id), handle)


class CallHarness:
    """Calls of functions on one runtime, and what becomes of them."""

    runtime: Any
    directories: AttemptDirectories
    timeout_s = 10.0
    """Seconds that a call may take unless it says otherwise."""
    is_image = False

    def __init__(self) -> None:
        self.ear = RecordingListener()

    def assignment(
        self,
        body: bytes | str = b"",
        *,
        name: str = "f",
        number: int = 1,
        timeout_s: float | None = None,
        memory_bytes: int | None = None,
        log_limit_bytes: int = 1 << 20,
        request: CallRequest | None = None,
        kill_grace_s: float = 0.2,
    ) -> Assignment:
        """A call, ready to be started."""
        content = body.encode() if isinstance(body, str) else body
        return Assignment(
            attempt_id=AttemptId(str(uuid4())),
            task_id=TaskId(str(uuid4())),
            workspace=WorkspaceName("default"),
            group="g",
            number=1,
            lease_token=LeaseToken("lease"),
            assigned_at=Instant(0),
            work=FunctionCall(
                function_id=FunctionId(name),
                function=name,
                version=number,
                request=request or CallRequest(body=content),
                image=self.is_image,
            ),
            resources=Resources(memory_bytes=memory_bytes),
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
            kill_signal="SIGTERM",
            kill_grace_s=kill_grace_s,
            log_limit_bytes=log_limit_bytes,
        )

    async def start(self, assignment: Assignment) -> None:
        """Begin a call."""
        path = self.directories.path(assignment.attempt_id)
        await self.runtime.start(assignment, path)

    async def ended(self, assignment: Assignment) -> Ended:
        """The end of a call, once it is there."""
        attempt_id = assignment.attempt_id
        await self.ear.until(lambda: attempt_id in self.ear.ends)
        (ended,) = self.ear.ends[attempt_id]
        await self.runtime.release([attempt_id])
        return ended

    async def call(self, body: bytes | str = b"", **how: Any) -> Ended:
        """Call and wait for the end."""
        assignment = self.assignment(body, **how)
        await self.start(assignment)
        return await self.ended(assignment)

    async def kill(
        self, assignment: Assignment, signal: str = "SIGTERM", grace_s: float = 0.2
    ) -> None:
        """Order a kill."""
        order = KillOrder(assignment.attempt_id, assignment.lease_token, signal, grace_s)
        await self.runtime.kill(order)
