"""Engine hosts of pools become workers inside the server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually_async
from taskyard.core.access.principals import Caller, Role
from taskyard.core.attempts import Ended, Started
from taskyard.core.ids import AttemptId, WorkspaceName
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Container, TaskSpec
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder, Listener
from taskyard.server.assemble import assemble
from taskyard.server.clock import SystemClock
from taskyard.server.settings import Settings

pytestmark = pytest.mark.anyio
CALLER = Caller("user me", WorkspaceName("default"), Role.ADMIN)


class InstantEngine:
    """An engine whose containers end well at once."""

    uses_directory = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.here = True
        self.ran: list[AttemptId] = []
        self._listener: Listener | None = None

    async def open(self, listener: Listener) -> None:
        """See the port."""
        if not self.here:
            raise RuntimeUnavailable(f"engine {self.url} is unreachable")
        self._listener = listener

    async def check(self) -> str | None:
        """See ``worker.runtimes.Checkable``."""
        return None if self.here else f"engine {self.url} is unreachable"

    async def capacity(self) -> Capacity | None:
        """See ``server.engine_workers.Measurable``."""
        return Capacity(7, 7000, 7 << 30)

    async def start(self, assignment: Assignment, directory: Path) -> None:  # noqa: ARG002 - the port
        """See the port."""
        assert self._listener is not None
        self.ran.append(assignment.attempt_id)
        now = SystemClock().now()
        lease = assignment.lease_token
        self._listener.started(Started(assignment.attempt_id, lease, now, {}))
        self._listener.ended(Ended(assignment.attempt_id, lease, now, AttemptState.SUCCEEDED))

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """Nothing is ever left behind."""
        raise NotImplementedError(assignment, directory, handle)

    async def kill(self, order: KillOrder) -> None:
        """Everything has ended already."""

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """See the port."""
        self._listener = None


def settings_for(tmp_path: Path) -> Settings:
    """Two hosts, of which the first is for a few groups only."""
    pools = [
        {"match": "web", "hosts": ["tcp://one:2375"], "slots": 3},
        {"hosts": ["unix:///two.sock", "local"]},
    ]
    return Settings.load(None, {"data": tmp_path, "dev": True, "pools": pools}, {})


async def test_each_host_is_a_worker(tmp_path: Path) -> None:
    """With what its engine has, less what is set; there also while its engine is not."""
    engines: dict[str, InstantEngine] = {}

    def engine_runtime(url: str) -> InstantEngine:
        engines[url] = InstantEngine(url)
        engines[url].here = url.startswith("tcp")
        return engines[url]

    async with assemble(settings_for(tmp_path), engine_runtime) as yard:
        workers = {record.id: record for record, _ in yard.engine.dispatch.workers()}
        assert set(workers) == {"local", "one-2375", "unix-two.sock"}
        assert workers["one-2375"].capacity == Capacity(3, 7000, 7 << 30)  # type: ignore[index]
        assert workers["unix-two.sock"].runtimes == ()  # type: ignore[index]
        spec = TaskSpec(work=Container(image="i"), group="web-1")  # type: ignore[arg-type]
        task, _ = await yard.engine.tasks.submit(CALLER, spec)

        async def look() -> bool:
            return (await yard.engine.tasks.get(CALLER, task.id)).finished_at is not None

        await eventually_async(look)
        assert len(engines["tcp://one:2375"].ran) == 1
        spec = TaskSpec(work=Container(image="i"), group="mail")  # type: ignore[arg-type]
        task, _ = await yard.engine.tasks.submit(CALLER, spec)
        answer = await yard.engine.why.explain(CALLER, task.id)
        assert "engine unix:///two.sock is unreachable, tried again in" in answer.summary
