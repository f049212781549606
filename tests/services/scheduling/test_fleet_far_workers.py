"""Workers on other machines as the leader of several control planes judges them."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from planes_world import Plane, Planes, planes

from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.resources import Capacity
from taskyard.ports.dispatching import JOINED, LEASE_S, WorkerRecord
from taskyard.services.scheduling.hearing import JUDGES_AFTER_S, Hearing

pytestmark = pytest.mark.anyio

FAR = WorkerId("far")


class Wire:
    """Whether the leader is connected to NATS."""

    def __init__(self) -> None:
        self.is_connected = True
        self.connects = 1


@pytest.fixture
async def world() -> AsyncIterator[Planes]:
    """Control planes."""
    async with planes() as world:
        yield world


async def _leader(world: Planes) -> tuple[Plane, Wire]:
    """One that leads, and has been connected for long enough to judge."""
    plane, wire = world.plane("a"), Wire()
    plane.fleet._hearing = Hearing(
        lambda: wire.is_connected, lambda: wire.connects, world.clock.monotonic
    )
    await plane.lead()
    await world.advance(JUDGES_AFTER_S + 1)
    return plane, wire


async def _join(world: Planes) -> WorkerRecord:
    now = world.clock.now()
    record = WorkerRecord(
        FAR,
        IncarnationId("x1"),
        "host",
        "1",
        Capacity(2, 2000, 2 << 30),
        ("command",),
        now,
        now,
        plane_id=JOINED,
    )
    await world.store.dispatch.join(record)
    return record


async def _state(world: Planes) -> str:
    (record,) = await world.store.dispatch.workers()
    return str(record.state)


async def test_is_lost_when_its_lease_has_ended(world: Planes) -> None:
    """As any other, in under twelve seconds; it gets nothing new long before."""
    plane, _ = await _leader(world)
    await _join(world)
    await world.advance(1)
    assert [one.id for one, _ in plane.dispatch.workers()] == [FAR]
    await world.advance(2.5)
    assert plane.dispatch.workers() == []
    assert await _state(world) == "ready"
    await world.advance(LEASE_S - 2)
    assert await _state(world) == "lost"


async def test_lease_goes_on_while_the_leader_hears_nobody(world: Planes) -> None:
    """Nothing is placed on it meanwhile; it is judged a while after NATS has come back."""
    plane, wire = await _leader(world)
    record = await _join(world)
    await world.advance(1)
    wire.is_connected = False
    await world.advance(120)
    assert await _state(world) == "ready"
    assert plane.dispatch.workers() == []
    (lease,) = await world.store.dispatch.leases()
    assert lease.left_s > LEASE_S - 2
    wire.is_connected, wire.connects = True, 2
    await world.advance(JUDGES_AFTER_S - 1)
    assert await _state(world) == "ready"
    assert await world.store.dispatch.renew([(FAR, record.incarnation)], world.clock.now()) == {FAR}
    await world.advance(2)
    assert [one.id for one, _ in plane.dispatch.workers()] == [FAR]
    await world.advance(LEASE_S + 1)
    assert await _state(world) == "lost"


async def test_lives_that_are_over_are_not_renewed(world: Planes) -> None:
    """What was given up stays that."""
    _, wire = await _leader(world)
    record = await _join(world)
    await world.store.dispatch.lose(FAR, record.incarnation, world.clock.now())
    wire.is_connected = False
    await world.advance(5)
    assert await _state(world) == "lost"
    await world.store.dispatch.join(replace(record, incarnation=IncarnationId("x2")))
    assert await _state(world) == "ready"
