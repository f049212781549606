"""Orders to workers beside other planes: what arrives, what is lost, late or said twice."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from eventually import eventually_async
from fakes.clock import VirtualClock
from taskyard.core.access.work_identity import Identity, Sandbox
from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import InvalidInput, Unavailable
from taskyard.core.functions.functions import CallRequest, FunctionId
from taskyard.core.ids import AttemptId, LeaseToken, PlaneId, TaskId, WorkerId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation
from taskyard.core.tasks import Command, Container, FunctionCall, Work
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import Heartbeat, Hello
from taskyard.transport import handing
from taskyard.transport.local import LocalMessageHub, LocalTransport, local_message_hub
from taskyard.transport.local.messages import Message, MessageKind
from taskyard.transport.planes import orders
from taskyard.transport.planes import transport as planes
from taskyard.transport.planes.transport import PlaneTransport

pytestmark = pytest.mark.anyio

LEADER_ID, OTHER_ID = PlaneId("a"), PlaneId("b")
W1 = WorkerId("w1")
ALLOCATION = CpuAllocation(node=0, cores=(1, 2))
ORDER = KillOrder(AttemptId("1"), LeaseToken("l"), "SIGTERM", 1.0)


class Hand:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.release = anyio.Event()
        self.release.set()
        self.error: Exception | None = None

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take them on, when it may."""
        await self.release.wait()
        if self.error is not None:
            raise self.error
        self.told.extend(assignments)

    async def kill(self, orders: list[KillOrder]) -> None:
        """Obey."""
        self.told.extend(orders)


class Engine:
    """An engine that nobody reports to."""

    async def joined(self, hello: Hello) -> list[Attempt]:
        """Nothing to adopt."""
        raise NotImplementedError

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Never."""
        raise NotImplementedError

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """Never."""
        raise NotImplementedError

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """Never."""
        raise NotImplementedError


class World:
    """Two planes; the worker is beside the second."""

    def __init__(self, hub: LocalMessageHub, tasks: anyio.abc.TaskGroup) -> None:
        self.hub = hub
        self.clock = VirtualClock()
        self.current: set[AttemptId] = set()
        self.leader, self.other = (
            PlaneTransport(
                LocalTransport(),
                hub.plane(one),
                lambda worker_id: OTHER_ID if worker_id == W1 else None,
                self.clock,
                tasks,
                self._is_current,
            )
            for one in (LEADER_ID, OTHER_ID)
        )
        self.hand = Hand()

    async def connect(self) -> None:
        """The worker, for the first time or again."""
        await self.other.serve(Engine())
        self.hand = Hand()
        await self.other.connect(W1, self.hand)

    async def _is_current(self, assignment: Assignment) -> bool:
        return assignment.attempt_id in self.current

    def lose(self, kind: MessageKind) -> None:
        """From here on, these are lost."""

        def deliveries(message: Message) -> Sequence[float]:
            return () if message.kind is kind else (0.0,)

        self.hub.deliveries = deliveries

    def assignment(self, name: str, work: Work | None = None) -> Assignment:
        """One with everything that an assignment can have."""
        return Assignment(
            attempt_id=AttemptId(name),
            task_id=TaskId("t"),
            workspace=WorkspaceName("default"),
            group="g",
            number=2,
            lease_token=LeaseToken("l"),
            assigned_at=self.clock.now(),
            work=work or Command(argv=("true",)),
            resources=Resources(cpu_millis=500, memory_bytes=1 << 30, allotted=ALLOCATION),
            timeout_s=1.5,
            kill_signal="SIGTERM",
            kill_grace_s=2.0,
            log_limit_bytes=5,
            identity=Identity(1, 2),
            strict=True,
            sandbox=Sandbox(),
            registry_credentials="{}",
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """With the worker connected."""
    async with _world() as made:
        yield made


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        made = World(hub, tasks)
        await made.connect()
        yield made
        tasks.cancel_scope.cancel()


async def test_every_kind_of_work_arrives_as_it_was_sent(world: World) -> None:
    """With bytes, secrets in the environment, cores and identity."""
    request = CallRequest(body=bytes(range(256)))
    sent = [
        world.assignment("1", Command(argv=("a", "b"), env={"K": "v"}, stdin="in")),
        world.assignment("2", Container(image="i", args=("x",), env={"K": "v"})),
        world.assignment("3", FunctionCall(FunctionId("f"), "f", 1, request=request)),
    ]
    await (await world.leader.to_worker(W1)).assign(sent)
    assert world.hand.told == sent


async def test_many_assignments_go_in_several_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order; one that is larger than a request goes by itself."""
    monkeypatch.setattr(planes, "BATCH_BYTES", 4000)
    asked: list[str] = []
    ask = world.leader.ask

    async def counted(plane: PlaneId, what: str, payload: bytes) -> str:
        asked.append(what)
        return await ask(plane, what, payload)

    monkeypatch.setattr(world.leader, "ask", counted)
    sent = [world.assignment(str(n), Command(argv=("x" * 1000 * n,))) for n in range(1, 6)]
    await (await world.leader.to_worker(W1)).assign(sent)
    assert world.hand.told == sent
    assert asked == [orders.CONNECTED, *[orders.ASSIGN] * 4]


async def test_worker_that_connected_again_is_reached(world: World) -> None:
    """By whoever asks for it afterwards; nobody has to be told."""
    await (await world.leader.to_worker(W1)).kill([ORDER])
    await world.connect()
    await (await world.leader.to_worker(W1)).kill([ORDER])
    assert world.hand.told == [ORDER]


@pytest.mark.parametrize("kind", [MessageKind.REQUEST, MessageKind.ANSWER])
async def test_order_that_is_lost_is_told_and_its_plane_spared(
    world: World, kind: MessageKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others do not wait for a plane that is silent, until it is asked again."""
    monkeypatch.setattr(planes, "ACKNOWLEDGED_S", 0.05)
    worker = await world.leader.to_worker(W1)
    world.lose(kind)
    with pytest.raises(WorkerUnreachable, match="did not answer"):
        await worker.kill([ORDER])
    monkeypatch.setattr(planes, "ACKNOWLEDGED_S", 3600.0)
    with anyio.fail_after(1):
        with pytest.raises(WorkerUnreachable, match="does not answer"):
            await worker.kill([ORDER])
    world.hub.deliveries = lambda _: (0.0,)
    monkeypatch.setattr(planes, "SILENT_S", 0.0)
    world.leader._silent_until.clear()
    await worker.kill([ORDER])
    assert world.hand.told[-1] == ORDER


async def test_plane_that_is_gone_is_told_at_once(world: World) -> None:
    """So is one that cut itself off."""
    worker = await world.leader.to_worker(W1)
    world.hub.planes[OTHER_ID].is_cut = True
    with anyio.fail_after(1):
        with pytest.raises(WorkerUnreachable):
            await worker.assign([world.assignment("1")])


async def test_orders_are_handed_over_even_if_nobody_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that takes long is not interrupted half-way, and holds up no other order."""
    monkeypatch.setattr(handing, "HANDED_S", 0.05)
    worker = await world.leader.to_worker(W1)
    world.hand.release = anyio.Event()
    sent = world.assignment("1")
    await worker.assign([sent])
    await worker.kill([ORDER])
    assert world.hand.told == [ORDER]
    world.hand.release.set()
    await eventually_async(lambda: world.hand.told == [ORDER, sent])


@pytest.mark.parametrize("error", [Unavailable("stopping"), ZeroDivisionError("defect")])
async def test_worker_that_takes_nothing_was_not_reached(world: World, error: Exception) -> None:
    """Whatever keeps it from that."""
    world.hand.error = error
    with pytest.raises(WorkerUnreachable):
        await (await world.leader.to_worker(W1)).assign([world.assignment("1")])


async def test_late_assignment_begins_only_if_it_still_counts(world: World) -> None:
    """Such as one that waited while its plane was stopped: another worker may have it by now."""
    old, current = world.assignment("old"), world.assignment("current")
    world.current = {current.attempt_id}
    world.clock.advance(planes.OLD_S)
    new = world.assignment("new")
    await (await world.leader.to_worker(W1)).assign([old, current, new])
    assert world.hand.told == [current, new]


async def test_orders_that_cannot_be_read_are_refused(world: World) -> None:
    """And change nothing."""
    messages = world.hub.planes[LEADER_ID]
    for what in (orders.CONNECTED, orders.ASSIGN, orders.KILL):
        for payload in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x91\x01"):
            with pytest.raises(InvalidInput, match="order"):
                await messages.request(OTHER_ID, what, payload, 1.0)
    assert world.hand.told == []
