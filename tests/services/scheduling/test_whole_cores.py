"""Whole cores from the scheduler to the attempt, and back exactly once."""

from collections.abc import AsyncIterator

import pytest

from fakes.engine import CALLER, World
from fakes.memory import MemoryStore
from fakes.worker import GIB, FakeWorker
from taskyard.core.errors import InvalidInput
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.cpu_allocation import CpuAllocation, NumaNode, Topology
from taskyard.core.scheduling.policies import Composite, MatchTag, MaxPerHost, RuleBased
from taskyard.core.states import AttemptState

pytestmark = pytest.mark.anyio
TOPOLOGY = Topology((NumaNode(0, (2, 3), 2 * GIB), NumaNode(1, (6, 7, 8), 4 * GIB)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def numa(world: World, name: str = "w1", *tags: str) -> FakeWorker:
    """A worker with two nodes."""
    return await world.worker(
        name, capacity=Capacity(9, 5000, 6 * GIB), topology=TOPOLOGY, tags=tags
    )


async def test_an_attempt_gets_concrete_cores(world: World) -> None:
    """All of one node, with its memory; kept with the attempt and told to the worker."""
    worker = await numa(world)
    task = await world.submit(resources=Resources(None, GIB, cores=2))
    (assignment,) = worker.assigned
    assert assignment.resources.allotted == CpuAllocation(0, (2, 3), GIB)
    assert (assignment.cpuset, assignment.memory_nodes) == ((2, 3), (0,))
    (attempt,) = await world.store.tasks.attempts(CALLER.workspace, task.id)
    assert attempt.resources == assignment.resources
    assert (await world.task(task.id)).spec.resources.allotted is None
    await world.submit(group="b", resources=Resources(cores=3))
    assert list(worker.assigned[-1].cpuset) == [6, 7, 8]
    waits = await world.submit(group="c", resources=Resources(cores=1))
    answer = await world.why.explain(CALLER, waits.id)
    assert answer.summary == ("needs 1 whole core of one node, largest gap 0 cores on worker w1")
    await worker.end(assignment.attempt_id, AttemptState.FAILED)
    await world.complete()
    assert list(worker.assigned[-1].cpuset) == [2]


async def test_cores_are_held_across_restarts() -> None:
    """Of the server, of the worker, and of both; then they come back."""
    store = MemoryStore()
    world = World(store)
    async with world.running():
        worker = await numa(world)
        await world.submit(resources=Resources(cores=3))
        await worker.join()
        await world.submit(resources=Resources(cores=1))
        assert [one.cpuset for one in worker.assigned] == [(6, 7, 8), (2,)]
    again = World(store, clock=world.clock, ids=world.ids)
    again.transport.workers[worker.id] = worker
    worker._world = again
    async with again.running():
        await worker.join()
        await again.submit(resources=Resources(cores=1))
        assert list(worker.assigned[-1].cpuset) == [3]
        for held in list(worker.held):
            await worker.end(held)
        await again.complete()
        assert again.rooms.fleet.rooms[worker.id].nodes == TOPOLOGY.free


async def test_policies_hold_from_submit_to_worker(world: World) -> None:
    """Tags, counts and rules."""
    plain, tagged = await numa(world), await numa(world, "w2", "gpu")
    policy = Composite((MatchTag("gpu"), MaxPerHost(2)))
    for _ in range(3):
        await world.submit(placement=policy)
    assert (len(plain.assigned), len(tagged.assigned)) == (0, 2)
    await world.submit(group="x", placement=RuleBased('worker == "w1"'))
    assert len(plain.assigned) == 1
    with pytest.raises(InvalidInput, match="there is no 'open'"):
        await world.submit(placement=RuleBased("open('x')"))


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        (Resources(cores=0), "resources.cores"),
        (Resources(1000, cores=1), "resources.cores"),
        (Resources(cores=1, allotted=CpuAllocation(0, (1,))), "resources.allotted"),
    ],
)
async def test_wrong_wishes_are_refused(world: World, resources: Resources, field: str) -> None:
    """Nobody says which cores they get."""
    with pytest.raises(InvalidInput) as wrong:
        await world.submit(resources=resources)
    assert wrong.value.field == field
