"""What every transport promises, tried on each there is."""

import anyio
import pytest

from taskyard.core.attempts import Attempt, Ended, Report
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState
from taskyard.ports.errors import TransportClosed, WorkerUnreachable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import Heartbeat, Hello, Transport
from taskyard.transport.local import LocalTransport

pytestmark = pytest.mark.anyio

W1 = WorkerId("w1")
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


@pytest.fixture(params=[LocalTransport])
def transport(request: pytest.FixtureRequest) -> Transport:
    """A transport nobody is connected to."""
    made: Transport = request.param()
    return made


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
    answers: list[bool] = []

    async def work() -> None:
        answers.append(await (await transport.connect(W1, Hand())).beat(BEAT))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            await transport.serve(engine)
    assert answers == [True]


async def test_unknown_worker_is_unreachable(transport: Transport) -> None:
    """Nobody is invented."""
    await transport.serve(Engine())
    with pytest.raises(WorkerUnreachable):
        await transport.to_worker(W1)


async def test_worker_that_connects_anew_takes_over(transport: Transport) -> None:
    """Orders go to the latest connection; an earlier one is not reached by mistake."""
    await transport.serve(Engine())
    first, second = Hand(), Hand()
    await transport.connect(W1, first)
    stale = await transport.to_worker(W1)
    await transport.connect(W1, second)
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
