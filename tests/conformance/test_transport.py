"""What every transport promises, tried on each there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup
from msgspec.structs import replace

from fakes.clock import VirtualClock
from fakes.joined import JoinedWorkers, plane
from natsserver import nats_server
from taskyard.core.attempts import Attempt, Ended, Report
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, PlaneId, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.ports.errors import TransportClosed, WorkerUnreachable
from taskyard.ports.messages import Messages
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, Transport, WorkerEnd
from taskyard.transport.local import LocalTransport, local_message_hub
from taskyard.transport.nats.messages import nats_messages
from taskyard.transport.nats.options import nats_options
from taskyard.transport.planes import PlaneTransport

pytestmark = pytest.mark.anyio

W1 = WorkerId("w1")
I2 = IncarnationId("i2")
HELLO = Hello(W1, IncarnationId("i1"), "host", "0", Capacity(1, 1000, 1000), ("command",))
BEAT = Heartbeat(W1, IncarnationId("i1"), Instant(1))
ORDER = KillOrder(AttemptId("a"), LeaseToken("l"), "SIGTERM", 1.0)
ENDED = Ended(AttemptId("a"), LeaseToken("l"), Instant(2), AttemptState.SUCCEEDED)


class Engine:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def joined(self, hello: Hello) -> list[Attempt]:
        """Nothing to adopt."""
        self.told.append(hello)
        return []

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Never fenced."""
        self.told.append(heartbeat)
        return True

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """Every lease is refused."""
        self.told.extend(reports)
        return [report.lease_token for report in reports]

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """Every task is gone."""
        self.told.append(attempt)
        return None


class Hand:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take it on."""
        self.told.extend(assignments)

    async def kill(self, orders: list[KillOrder]) -> None:
        """Obey."""
        self.told.extend(orders)


class TwoPlanes:
    """The engine gives orders beside one plane, and the workers are beside the other."""

    def __init__(self, leader: Messages, other: Messages, tasks: TaskGroup) -> None:
        clock = VirtualClock()
        self.leader, self.other = (
            PlaneTransport(LocalTransport(), one, self._plane_of, clock, tasks)
            for one in (leader, other)
        )
        self._connected: set[WorkerId] = set()
        self._other_id = other.plane_id

    def _plane_of(self, worker_id: WorkerId) -> PlaneId | None:
        return self._other_id if worker_id in self._connected else None

    async def serve(self, engine: EngineEnd) -> None:
        """Each plane has an engine; reports go to the one beside the worker."""
        await self.leader.serve(engine)
        await self.other.serve(engine)

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Beside the other plane."""
        engine = await self.other.connect(worker_id, worker)
        self._connected.add(worker_id)
        return engine

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """From the plane that leads."""
        return await self.leader.to_worker(worker_id)

    async def close(self) -> None:
        """Both."""
        await self.leader.close()
        await self.other.close()


@asynccontextmanager
async def _one_process(_root: Path) -> AsyncIterator[Transport]:
    yield LocalTransport()


@asynccontextmanager
async def _two_planes(_root: Path) -> AsyncIterator[Transport]:
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        yield TwoPlanes(hub.plane(PlaneId("a")), hub.plane(PlaneId("b")), tasks)


@asynccontextmanager
async def _two_planes_over_nats(root: Path) -> AsyncIterator[Transport]:
    with nats_server(root) as server:
        options = nats_options(server.url)
        async with (
            nats_messages(options, "t", PlaneId("a")) as a,
            nats_messages(options, "t", PlaneId("b")) as b,
            anyio.create_task_group() as tasks,
        ):
            yield TwoPlanes(a, b, tasks)


@asynccontextmanager
async def _joined_over_nats(root: Path) -> AsyncIterator[Transport]:
    with nats_server(root) as server:
        async with plane(server.url) as end, anyio.create_task_group() as tasks:
            yield JoinedWorkers(server.url, end, tasks)
            tasks.cancel_scope.cancel()


@pytest.fixture(params=[_one_process, _two_planes, _two_planes_over_nats, _joined_over_nats])
async def transport(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Transport]:
    """A transport nobody is connected to."""
    async with request.param(tmp_path) as made:
        yield made


async def test_calls_reach_the_other_end(transport: Transport) -> None:
    """What is said at one end is heard at the other, and answered."""
    engine, hand = Engine(), Hand()
    await transport.serve(engine)
    upwards = await transport.connect(W1, hand)
    assert await upwards.joined(HELLO) == []
    assert await upwards.beat(BEAT)
    assert await upwards.report([ENDED]) == ["l"]
    assert engine.told == [HELLO, BEAT, ENDED]
    downwards = await transport.to_worker(W1)
    await downwards.kill([ORDER])
    assert hand.told == [ORDER]


async def test_worker_waits_for_the_engine(transport: Transport) -> None:
    """A worker that is there first connects once the engine is served."""
    engine = Engine()
    answers: list[list[Attempt]] = []

    async def work() -> None:
        answers.append(await (await transport.connect(W1, Hand())).joined(HELLO))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            await transport.serve(engine)
    assert answers == [[]]


async def test_unknown_worker_is_unreachable(transport: Transport) -> None:
    """Nobody is invented."""
    await transport.serve(Engine())
    with pytest.raises(WorkerUnreachable):
        await transport.to_worker(W1)


async def test_worker_that_connects_anew_takes_over(transport: Transport) -> None:
    """Orders go to the latest connection; an earlier one is not reached by mistake."""
    await transport.serve(Engine())
    first, second = Hand(), Hand()
    await (await transport.connect(W1, first)).joined(HELLO)
    stale = await transport.to_worker(W1)
    await (await transport.connect(W1, second)).joined(replace(HELLO, incarnation=I2))
    with pytest.raises(WorkerUnreachable):
        await stale.kill([ORDER])
    await (await transport.to_worker(W1)).kill([ORDER])
    assert (first.told, second.told) == ([], [ORDER])


async def test_closed_transport_says_so(transport: Transport) -> None:
    """After close every call raises; closing again is fine."""
    await transport.serve(Engine())
    upwards = await transport.connect(W1, Hand())
    await transport.close()
    await transport.close()
    with pytest.raises(TransportClosed):
        await upwards.beat(BEAT)
    with pytest.raises(TransportClosed):
        await transport.to_worker(W1)
    with pytest.raises(TransportClosed):
        await transport.connect(W1, Hand())
    with pytest.raises(TransportClosed):
        await transport.serve(Engine())
