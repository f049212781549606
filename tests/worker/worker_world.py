"""An engine, a runtime and a keeper that a worker can be tried with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec

from taskyard.core.attempts import Attempt, Ended, Report, Started
from taskyard.core.availability import RuntimeStatus
from taskyard.core.circuit_breaker import CircuitRule
from taskyard.core.errors import StaleLease, Unavailable
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.states import AttemptState
from taskyard.core.tasks import Command
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder, Listener
from taskyard.ports.transport import Heartbeat, Hello
from taskyard.transport.local import LocalTransport
from taskyard.worker.output.directories import AttemptDirectories
from taskyard.worker.staying import Staying
from taskyard.worker.worker import Worker

DEADLINE_S = 10.0


class Engine:
    """An engine that remembers what it is told, and can be made to misbehave."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.reports: list[Report] = []
        self.calls: list[int] = []
        self.beats = 0
        self.statuses: dict[str, RuntimeStatus] = {}
        self.to_adopt: list[Attempt] = []
        self.assignments: dict[AttemptId, Assignment] = {}
        self.stale: set[LeaseToken] = set()
        self.fence_next = False
        self.lapsed: IncarnationId | None = None
        """The life whose lease cannot be renewed."""
        self.is_away = False
        """Whether nobody can join."""
        self.fail_reports = 0
        self.gate = anyio.Event()
        self.gate.set()
        self.while_joining: Callable[[], Awaitable[None]] | None = None

    async def joined(self, hello: Hello) -> list[Attempt]:
        """Answer with what is to be adopted; an assignment may be faster than the answer."""
        if self.is_away:
            raise Unavailable("the store is away")
        self.hellos.append(hello)
        if self.while_joining is not None:
            await self.while_joining()
        return self.to_adopt

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Fence once, if told to."""
        if self.lapsed is not None and heartbeat.incarnation != self.hellos[-1].incarnation:
            self.beats += 1
            return False  # It could not join as that one.
        assert heartbeat.incarnation == self.hellos[-1].incarnation
        self.beats += 1
        if heartbeat.incarnation == self.lapsed:
            raise StaleLease
        self.statuses = heartbeat.statuses or {}
        fenced, self.fence_next = self.fence_next, False
        return not fenced

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """Wait for the gate, fail if told to, then take in."""
        await self.gate.wait()
        if self.fail_reports:
            self.fail_reports -= 1
            raise Unavailable("stopping")
        self.calls.append(len(reports))
        self.reports += reports
        return [report.lease_token for report in reports if report.lease_token in self.stale]

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """Look it up."""
        return self.assignments.get(attempt.id)

    def ends(self) -> list[Ended]:
        """All ends reported."""
        return [report for report in self.reports if isinstance(report, Ended)]


class FakeRuntime:
    """A runtime whose work does what the test says."""

    uses_directory = True

    def __init__(self, *, available: bool = True) -> None:
        self.available = available
        self.listener: Listener | None = None
        self.began: dict[AttemptId, Assignment] = {}
        self.adopted: dict[AttemptId, dict[str, Any]] = {}
        self.killed: list[KillOrder] = []
        self.released: list[AttemptId] = []
        self.kept: list[frozenset[AttemptId]] = []
        self.closed = 0

    async def open(self, listener: Listener) -> None:
        """Be available or not."""
        if not self.available:
            raise RuntimeUnavailable
        self.listener = listener

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """Report it as running."""
        assert await anyio.Path(directory).is_dir()
        self.began[assignment.attempt_id] = assignment
        self.ear.started(
            Started(assignment.attempt_id, assignment.lease_token, Instant(1), {"pid": 1})
        )

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """Take it over."""
        assert await anyio.Path(directory).is_dir()
        self.began[assignment.attempt_id] = assignment
        self.adopted[assignment.attempt_id] = handle

    async def kill(self, order: KillOrder) -> None:
        """End it as killed."""
        self.killed.append(order)
        self.end(order.attempt_id, AttemptState.KILLED)

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Note it."""
        self.released += attempt_ids

    async def keep_only(self, attempt_ids: frozenset[AttemptId]) -> None:
        """Note it."""
        self.kept.append(attempt_ids)

    async def close(self) -> None:
        """Note it."""
        self.closed += 1

    @property
    def ear(self) -> Listener:
        """The listener it was opened with."""
        assert self.listener is not None
        return self.listener

    def end(self, attempt_id: AttemptId, state: AttemptState = AttemptState.SUCCEEDED) -> None:
        """Report the end of an attempt."""
        lease = self.began[attempt_id].lease_token
        self.ear.ended(Ended(attempt_id, lease, Instant(2), state))


class Keeper:
    """Folds one word into each report."""

    def __init__(self) -> None:
        self.stored_ids: list[AttemptId] = []
        self.broken = False
        self.to_ship: set[AttemptId] = set()
        self.shipping: list[AttemptId] = []
        """Attempts whose output is being stored, until :attr:`may_end`."""
        self.may_end = anyio.Event()

    async def finish(self, attempt_id: AttemptId, ended: Ended) -> Ended:
        """Complete the report."""
        assert attempt_id == ended.attempt_id
        if self.broken:
            raise OSError(5, "no disk")
        return msgspec.structs.replace(ended, inline_output={"stdout": b"word"})

    def is_to_ship(self, ended: Ended) -> bool:
        """Whether it was said so."""
        return ended.attempt_id in self.to_ship

    async def ship(self, ended: Ended) -> None:
        """Note it, and wait."""
        self.shipping.append(ended.attempt_id)
        await self.may_end.wait()
        if self.broken:
            raise OSError(5, "no disk")

    async def stored(self, ended: Ended) -> None:
        """Note it."""
        self.stored_ids.append(ended.attempt_id)


class Ids:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def task(self) -> TaskId:
        """Not asked for by a worker."""
        raise NotImplementedError

    def attempt(self) -> AttemptId:
        """Not asked for by a worker."""
        raise NotImplementedError

    def lease(self) -> LeaseToken:
        """Not asked for by a worker."""
        raise NotImplementedError

    def chance(self) -> float:
        """Not asked for by a worker."""
        raise NotImplementedError

    def incarnation(self) -> IncarnationId:
        """One more."""
        self.count += 1
        return IncarnationId(f"i{self.count}")


class QuickClock:
    """A clock whose sleepers wake at once, but let everybody else go first."""

    def now(self) -> Instant:
        """Always the same."""
        return Instant(5)

    async def sleep(self, seconds: float) -> None:
        """Hardly at all."""
        assert seconds > 0
        await anyio.sleep(0.002)


class World:
    """A worker with everything around it."""

    def __init__(self, root: Path) -> None:
        self.engine = Engine()
        self.runtime = FakeRuntime()
        self.keeper = Keeper()
        self.directories = AttemptDirectories(root / "attempts")
        self.transport = LocalTransport()
        self.worker = self.make({"command": self.runtime})

    def make(
        self,
        runtimes: Mapping[str, FakeRuntime],
        measure: Callable[[], Awaitable[Capacity | None]] | None = None,
        staying: Staying | None = None,
    ) -> Worker:
        """A worker."""
        return Worker(
            WorkerId("w1"),
            hostname="host",
            version="0",
            capacity=Capacity(8, 1000, 1000),
            runtimes=runtimes,
            transport=self.transport,
            clock=QuickClock(),
            ids=Ids(),
            directories=self.directories,
            keeper=self.keeper,
            circuit=CircuitRule(1_000_000),
            measure=measure,
            staying=staying,
        )


def assignment(name: str, lease: str = "lease") -> Assignment:
    """An assignment of an attempt with this id."""
    return Assignment(
        attempt_id=AttemptId(name),
        task_id=TaskId("task"),
        workspace=WorkspaceName("default"),
        group="group",
        number=1,
        lease_token=LeaseToken(f"{lease}-{name}"),
        assigned_at=Instant(0),
        work=Command(argv=("true",)),
        resources=Resources(),
        timeout_s=None,
        kill_signal="SIGTERM",
        kill_grace_s=5.0,
        log_limit_bytes=1000,
    )


def attempt(name: str, handle: dict[str, Any] | None = None) -> Attempt:
    """The same attempt as stored."""
    return Attempt(
        id=AttemptId(name),
        task_id=TaskId("task"),
        workspace=WorkspaceName("default"),
        number=1,
        worker_id=WorkerId("w1"),
        incarnation=IncarnationId("i0"),
        lease_token=LeaseToken(f"lease-{name}"),
        lease_expires_at=Instant(0),
        resources=Resources(),
        state=AttemptState.RUNNING,
        assigned_at=Instant(0),
        handle=handle or {},
    )
