"""Runtimes whose engines come and go, below a worker that stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from worker_world import FakeRuntime, World, assignment, attempt

from eventually import eventually_async
from fakes.clock import VirtualClock
from taskyard.core.availability import RuntimeStatus
from taskyard.core.circuit_breaker import CircuitRule, CircuitState
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.instants import after
from taskyard.core.resources import Capacity
from taskyard.core.tasks import Container
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Listener
from taskyard.worker.runtimes import Runtimes

pytestmark = pytest.mark.anyio
A = AttemptId("a")


class EngineRuntime(FakeRuntime):
    """A runtime on an engine that a test switches on and off."""

    def __init__(self, *, available: bool = True) -> None:
        super().__init__(available=available)
        self.asked = 0
        self.odd: Exception | None = None
        self.slow: anyio.Event | None = None

    async def open(self, listener: Listener) -> None:
        """Only while the engine is there."""
        self.asked += 1
        if not self.available:
            raise RuntimeUnavailable("engine e is unreachable")
        self.listener = listener

    async def check(self) -> str | None:
        """See ``worker.runtimes.Checkable``."""
        self.asked += 1
        if self.odd is not None:
            raise self.odd
        if self.slow is not None:
            await self.slow.wait()
        return None if self.available else "engine e\n is unreachable"

    async def capacity(self) -> Capacity | None:
        """Two slots."""
        return Capacity(2, 2000, 2000) if self.available else None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with a worker that was not started yet."""
    world = World(tmp_path)
    await world.transport.serve(world.engine)
    yield world
    await world.worker.stop()


async def nothing(_tag: str) -> None:
    """Called when a runtime opens."""


def status_of(world: World) -> RuntimeStatus:
    """Of the container runtime, as last heard."""
    return world.engine.statuses.get("container", RuntimeStatus(False))


async def test_an_engine_comes_and_goes(world: World) -> None:
    """The worker is there without it, says why, and has it back without being told."""
    engine = EngineRuntime(available=False)
    world.worker = world.make({"command": world.runtime, "container": engine})
    await world.worker.start()
    hello = world.engine.hellos[0]
    assert hello.runtimes == ("command",)
    assert hello.statuses["command"] == RuntimeStatus()
    assert hello.statuses["container"].reason == "engine e is unreachable"
    engine.available = True
    await eventually_async(lambda: status_of(world).available)
    assert world.worker.runtimes == ("command", "container")
    assert engine.kept == [frozenset()]
    engine.available = False
    await eventually_async(lambda: not status_of(world).available)
    assert status_of(world).reason == "engine e is unreachable"
    engine.available, engine.odd = True, ValueError("odd answer")
    await eventually_async(lambda: "odd answer" in (status_of(world).reason or ""))
    engine.odd = None
    await eventually_async(lambda: status_of(world).available)
    assert len(world.engine.hellos) == 1


async def test_a_worker_may_live_of_an_engine_alone(world: World) -> None:
    """Even one that is not there yet; what it offers is learnt when it comes."""
    engine = EngineRuntime(available=False)
    world.worker = world.make({"container": engine}, measure=engine.capacity)
    await world.worker.start()
    assert world.engine.hellos[0].runtimes == ()
    engine.available = True
    await eventually_async(lambda: len(world.engine.hellos) == 2)
    await eventually_async(lambda: status_of(world).available)
    assert world.engine.hellos[1].capacity == Capacity(2, 2000, 2000)


async def test_attempts_wait_for_their_engine(world: World) -> None:
    """What ran when the worker ended is taken over once the engine is back, and not failed."""
    engine = EngineRuntime(available=False)
    world.worker = world.make({"command": world.runtime, "container": engine})
    world.engine.to_adopt = [attempt("a", {"id": "c1"})]
    container = replace(assignment("a"), work=Container(image="i"), lease_token=LeaseToken("l"))
    world.engine.assignments = {A: container}
    await world.worker.start()
    assert world.worker.holds(A)
    assert world.engine.reports == []
    engine.available = True
    await eventually_async(lambda: engine.adopted == {A: {"id": "c1"}})
    await eventually_async(lambda: engine.kept == [frozenset({A})])
    assert world.worker.holds(A)


async def test_a_slow_engine_is_used_on() -> None:
    """While it is asked nothing changes; too slow for a start is no failure."""
    clock, engine = VirtualClock(), EngineRuntime()
    runtimes = Runtimes({"container": engine}, clock, CircuitRule(1, 60.0), nothing)
    await runtimes.open_all(_Deaf())
    engine.slow = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(runtimes.look, "container")
        await eventually_async(lambda: engine.asked == 2)
        assert runtimes.statuses["container"].available
        engine.slow.set()
    assert runtimes.statuses["container"].available
    engine.slow = anyio.Event()
    await runtimes.look("container", 0.01)
    status = runtimes.statuses["container"]
    assert (status.available, status.circuit) == (False, CircuitState.CLOSED)
    assert status.reason == "did not answer within 0.01 s"


async def test_an_engine_that_fails_is_left_alone_for_a_while() -> None:
    """After three failures nobody asks for a minute; then one try decides."""
    clock, engine = VirtualClock(), EngineRuntime()
    runtimes = Runtimes({"container": engine}, clock, CircuitRule(3, 60.0), nothing)
    listener: Listener = _Deaf()
    await runtimes.open_all(listener)
    engine.available = False
    for _ in range(3):
        await runtimes.look("container")
    status = runtimes.statuses["container"]
    assert (status.circuit, status.available) == (CircuitState.OPEN, False)
    assert status.retry_at == after(clock.now(), 60)
    asked = engine.asked
    for _ in range(5):
        await runtimes.look("container")
    assert engine.asked == asked
    clock.advance(60)
    await runtimes.look("container")
    assert engine.asked == asked + 1
    assert runtimes.statuses["container"].circuit is CircuitState.OPEN
    clock.advance(60)
    engine.available = True
    await runtimes.look("container")
    assert runtimes.statuses == {"container": RuntimeStatus()}


async def test_an_engine_that_stays_away_is_logged_once() -> None:
    """And again only with another reason, or when it had come back in between."""
    clock, engine = VirtualClock(), EngineRuntime(available=False)
    runtimes = Runtimes({"container": engine}, clock, CircuitRule(3, 60.0), nothing)

    async def minutes(count: int) -> list[str]:
        with capture_logs() as lines:
            for _ in range(count):
                await runtimes.look("container")
                clock.advance(60)
        return [line["event"] for line in lines]

    with capture_logs() as lines:
        await runtimes.open_all(_Deaf())
    assert [line["event"] for line in lines] == ["runtime not available"]
    assert await minutes(30) == []
    engine.available = True
    assert await minutes(2) == ["runtime available again"]
    engine.available = False
    assert await minutes(30) == ["runtime not available"]
    engine.odd = RuntimeUnavailable("it is another engine now")
    assert await minutes(30) == ["runtime not available"]


class _Deaf:
    """A listener that hears nothing."""

    def started(self, event: object) -> None:
        """See the port."""

    def ended(self, event: object) -> None:
        """See the port."""
