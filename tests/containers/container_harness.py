"""A container runtime with everything around it that a test needs."""

from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import uuid4

import msgspec

from attempt_harness import AttemptHarness
from engines import IMAGE, RealEngine
from taskyard.core.attempts import Ended
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.tasks import Container
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.container import runtime as runtime_module
from taskyard.runtimes.container.request import container_name
from taskyard.runtimes.container.runtime import ContainerRuntime
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.discovery import engine_paths
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.server.clock import SystemClock


class ContainerHarness(AttemptHarness):
    """Starts containers and hears of them."""

    runtime: ContainerRuntime
    _paths: ClassVar[dict[Path, list[str]]] = {}
    """Of each engine. Asked once: to answer, Podman looks for the packages its programs are of."""

    def __init__(
        self, root: Path, engine: RealEngine, url: str | None = None, **settings: Any
    ) -> None:
        super().__init__()
        self.root = root
        self.engine = engine
        self._settings = ContainerSettings(engine=url or engine.url, network="none", **settings)
        self.runtime = self._runtime()

    def _runtime(self) -> ContainerRuntime:
        return ContainerRuntime(self.root / "containers", self._settings, SystemClock())

    async def open(self) -> None:
        """Open the runtime."""
        with patch.object(runtime_module, "engine_paths", self._engine_paths):
            await super().open()

    async def _engine_paths(self, engine: EngineClient) -> list[str]:
        root = self.engine.root
        if root not in self._paths:
            self._paths[root] = await engine_paths(engine)
        return self._paths[root]

    async def close(self) -> None:
        """Remove everything and close."""
        await self.runtime.close()
        self.engine.clear()

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
        return await self.begin(self.assignment(script, **changes))

    async def ended(self, assignment: Assignment) -> Ended:
        """Wait until it is over, which is said once."""
        ended = await super().ended(assignment)
        assert self.ear.ends[assignment.attempt_id] == [ended]
        return ended

    async def run(self, script: str | None = None, **changes: Any) -> Ended:
        """Start a container and wait for its end."""
        return await self.ended(await self.start(script, **changes))

    def signal(self, assignment: Assignment, signal_name: str) -> None:
        """Have its first process receive a signal, which the runtime knows nothing of."""
        self.engine.send_signal(container_name(assignment.attempt_id), signal_name)

    def runs(self, assignment: Assignment) -> bool:
        """Whether the engine says that its container runs."""
        found = self.engine.inspect(container_name(assignment.attempt_id))
        return bool(found["State"]["Running"])

    def names(self) -> set[str]:
        """All containers of the engine."""
        return {one["Names"][0].lstrip("/") for one in self.engine.containers()}
