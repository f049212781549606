"""A container runtime with everything around it that a test needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import msgspec

from engines import IMAGE, RealEngine
from eventually import eventually_async
from taskyard.core.attempts import Ended, KillReport, Started
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.tasks import Container
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.container.request import container_name
from taskyard.runtimes.container.runtime import ContainerRuntime
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.server.clock import SystemClock

DEADLINE_S = 40.0


class Ear:
    """A listener that can be waited on."""

    def __init__(self) -> None:
        self.starts: dict[AttemptId, list[Started]] = {}
        self.ends: dict[AttemptId, list[Ended]] = {}
        self._news = anyio.Event()

    def started(self, event: Started) -> None:
        """Keep it."""
        self.starts.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def ended(self, event: Ended) -> None:
        """Keep it."""
        self.ends.setdefault(event.attempt_id, []).append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition on what was heard holds."""
        with anyio.fail_after(DEADLINE_S):
            while not condition():
                await self._news.wait()


class ContainerHarness:
    """Starts containers and hears of them."""

    def __init__(
        self, root: Path, engine: RealEngine, url: str | None = None, **settings: Any
    ) -> None:
        self.root = root
        self.engine = engine
        self.ear = Ear()
        self._settings = ContainerSettings(engine=url or engine.url, network="none", **settings)
        self.runtime = self._runtime()

    def _runtime(self) -> ContainerRuntime:
        return ContainerRuntime(self.root / "containers", self._settings, SystemClock())

    async def open(self) -> None:
        """Open the runtime."""
        await self.runtime.open(self.ear)

    async def reopen(self) -> None:
        """Let another runtime take the place of this one, as after a restart."""
        await self.runtime.close()
        self.ear = Ear()
        self.runtime = self._runtime()
        await self.open()

    async def close(self) -> None:
        """Remove everything and close."""
        await self.runtime.close()
        self.engine.clear()

    def directory(self, attempt_id: str) -> Path:
        """Where an attempt lives."""
        return self.root / "attempts" / attempt_id

    def assignment(self, script: str | None = None, **changes: Any) -> Assignment:
        """An assignment; changes go to the container or to the assignment, wherever they fit."""
        of_work = {n: changes.pop(n) for n in list(changes) if n in Container.__struct_fields__}
        args = () if script is None else ("sh", "-c", script)
        plain = Assignment(
            attempt_id=AttemptId(str(uuid4())),
            task_id=TaskId("task"),
            workspace=WorkspaceName("default"),
            group="group",
            number=1,
            lease_token=LeaseToken("lease"),
            assigned_at=SystemClock().now(),
            work=Container(**{"image": IMAGE, "args": args, **of_work}),
            resources=Resources(),
            timeout_s=None,
            kill_signal="SIGTERM",
            kill_grace_s=5.0,
            log_limit_bytes=1 << 20,
        )
        return msgspec.structs.replace(plain, **changes)

    async def start(self, script: str | None = None, **changes: Any) -> Assignment:
        """Start a container."""
        assignment = self.assignment(script, **changes)
        await anyio.Path(self.directory(assignment.attempt_id)).mkdir(parents=True)
        await self.runtime.start(assignment, self.directory(assignment.attempt_id))
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
        assert len(self.ear.ends[attempt_id]) == 1
        return self.ear.ends[attempt_id][0]

    async def run(self, script: str | None = None, **changes: Any) -> Ended:
        """Start a container and wait for its end."""
        return await self.ended(await self.start(script, **changes))

    async def output(self, attempt: Assignment | Ended, stream: str = "stdout") -> bytes:
        """What it has written so far."""
        path = anyio.Path(self.directory(attempt.attempt_id) / stream)
        return await path.read_bytes() if await path.exists() else b""

    async def has_written(self, assignment: Assignment, text: bytes) -> bytes:
        """Wait until its output contains something; answers with all of it."""

        async def look() -> bytes:
            return await self.output(assignment)

        return await eventually_async(look, lambda data: text in data, within_s=DEADLINE_S)

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

    def runs(self, assignment: Assignment) -> bool:
        """Whether the engine says that its container runs."""
        found = self.engine.inspect(container_name(assignment.attempt_id))
        return bool(found["State"]["Running"])

    def names(self) -> set[str]:
        """All containers of the engine."""
        return {one["Names"][0].lstrip("/") for one in self.engine.containers()}
