"""Dispatch onto engine hosts: pools, engines that come and go, workers that are drained."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from fakes.engine import CALLER, OPERATOR, READER, World
from fakes.memory import MemoryStore
from fakes.worker import FakeWorker
from taskyard.core.access.principals import INSTALLATION, Role
from taskyard.core.availability import RuntimeStatus
from taskyard.core.circuit_breaker import CircuitState
from taskyard.core.errors import NotAllowed, NotFound
from taskyard.core.ids import WorkerId
from taskyard.core.instants import after
from taskyard.core.scheduling.pools import Pool
from taskyard.core.tasks import Container, Task

pytestmark = pytest.mark.anyio
POOLS = (
    Pool("web", frozenset({WorkerId("e1"), WorkerId("e2")}), 2),
    Pool("", frozenset({WorkerId("e3")})),
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services with two pools and no worker."""
    world = World(pools=POOLS)
    async with world.running():
        yield world


async def engine(world: World, name: str) -> FakeWorker:
    """An engine host that has joined."""
    return await world.worker(name, slots=5, runtimes=("container",))


async def container(world: World, group: str) -> Task:
    """A container of a group, submitted."""
    return await world.submit(work=Container(image="i"), group=group)


async def why(world: World, task: Task) -> tuple[str, str]:
    """Code and summary."""
    answer = await world.why.explain(CALLER, task.id)
    return answer.code, answer.summary


async def lose_engine(world: World, worker: FakeWorker) -> None:
    """Its worker says so with its next heartbeat."""
    worker.statuses = {
        "container": RuntimeStatus(
            False,
            f"engine {worker.id} is unreachable",
            after(world.clock.now(), 20.5),
            CircuitState.OPEN,
        )
    }
    await world.advance(0.5)


async def test_a_pool_keeps_its_limit(world: World) -> None:
    """Over all its hosts, to the task; what waits goes when one ends."""
    first, second = await engine(world, "e1"), await engine(world, "e2")
    other = await engine(world, "e3")
    tasks = [await container(world, "web-shop") for _ in range(4)]
    running = [*first.assigned, *second.assigned]
    assert {one.task_id for one in running} == {tasks[0].id, tasks[1].id}
    assert other.assigned == []
    assert await why(world, tasks[2]) == ("pool_limit", "pool 1 is at its limit of 2")
    holder = first if first.assigned else second
    await holder.end(holder.assigned[0].attempt_id)
    await world.complete()
    assert len([*first.assigned, *second.assigned]) == 3
    assert await world.state(tasks[3].id) == "queued"


async def test_a_pool_without_a_host_passes_its_tasks_on(world: World) -> None:
    """To the next that matches; with none left they wait, and are told for what."""
    first, other = await engine(world, "e1"), await engine(world, "e3")
    await lose_engine(world, first)
    moved = await container(world, "web")
    assert [one.task_id for one in other.assigned] == [moved.id]
    await lose_engine(world, other)
    waits = await container(world, "web")
    assert await why(world, waits) == (
        "no_runtime",
        "no worker can run a container now: engine e1 is unreachable, tried again in 20 s; "
        "engine e3 is unreachable, tried again in 20 s",
    )
    assert world.dispatch.workers()[0][0].statuses["container"].circuit is CircuitState.OPEN
    await world.advance(600)
    assert await world.state(waits.id) == "queued"
    other.statuses = {"container": RuntimeStatus()}
    await world.advance(0.5)
    assert other.assigned[-1].task_id == waits.id


async def test_other_work_is_not_concerned(world: World) -> None:
    """Commands go anywhere, also past any number of containers that wait."""
    waiting = [await container(world, f"group-{number}") for number in range(40)]
    plain = await world.worker("w1")
    command = await world.submit(group="web")
    assert [one.task_id for one in plain.assigned] == [command.id]
    assert await why(world, waiting[0]) == (
        "no_host",
        "no engine host of the pools that match is here",
    )


async def test_no_pool_for_a_group() -> None:
    """Is a reason to wait, and not to fail."""
    world = World(pools=(Pool("web", frozenset({WorkerId("e1")})),))
    async with world.running():
        await engine(world, "e1")
        task = await container(world, "mail")
        assert await why(world, task) == ("no_pool", "no pool takes containers of group 'mail'")


async def test_a_restart_keeps_counting() -> None:
    """What runs in a pool when the server starts counts against its limit."""
    store = MemoryStore()
    world = World(store, pools=POOLS)
    async with world.running():
        host = await engine(world, "e1")
        for _ in range(2):
            await container(world, "web")
        assert len(host.assigned) == 2
    again = World(store, clock=world.clock, ids=world.ids, pools=POOLS)
    again.transport.workers[host.id] = host
    host._world = again
    async with again.running():
        await host.join()
        task = await container(again, "web")
        assert (await why(again, task))[0] == "pool_limit"
        await host.end(host.assigned[0].attempt_id)
        await again.complete()
        assert host.assigned[-1].task_id == task.id


async def test_a_drained_worker_takes_nothing_new(world: World) -> None:
    """What runs there goes on; `why` names it; it is audited."""
    worker = await world.worker("w1")
    first = await world.submit()
    record, _ = await world.workers.drain(OPERATOR, worker.id)
    assert (record.state, record.draining) == ("draining", True)
    second = await world.submit(group="other")
    assert [one.task_id for one in worker.assigned] == [first.id]
    assert await why(world, second) == (
        "draining",
        "no worker takes tasks now; draining: w1",
    )
    await worker.end(worker.assigned[0].attempt_id)
    assert await world.state(first.id) == "succeeded"
    await world.workers.undrain(OPERATOR, worker.id)
    await world.complete()
    assert worker.assigned[-1].task_id == second.id
    assert [(one.action, one.target) for one in world.store.model.audit] == [
        ("worker.drain", "w1"),
        ("worker.undrain", "w1"),
    ]
    assert {one.workspace for one in world.store.model.audit} == {INSTALLATION}


async def test_draining_outlives_restarts() -> None:
    """Of the worker and of the server, until somebody ends it."""
    store = MemoryStore()
    world = World(store)
    async with world.running():
        worker = await world.worker("w1")
        await world.workers.drain(OPERATOR, worker.id)
        await worker.join()
        await world.submit()
        assert worker.assigned == []
        worker.silent = True
        await world.advance(5)
        await worker.join()
        await world.complete()
        assert worker.assigned == []
    again = World(store, clock=world.clock, ids=world.ids)
    again.transport.workers[worker.id] = worker
    worker._world = again
    async with again.running():
        await worker.join()
        assert worker.assigned == []
        assert again.dispatch.workers()[0][0].state == "draining"
        await again.workers.undrain(OPERATOR, worker.id)
        await again.complete()
        assert len(worker.assigned) == 1


async def test_draining_a_host_passes_its_pool_over(world: World) -> None:
    """A drained host is no usable one."""
    first, other = await engine(world, "e1"), await engine(world, "e3")
    await world.workers.drain(OPERATOR, first.id)
    await container(world, "web")
    assert (len(first.assigned), len(other.assigned)) == (0, 1)
    await world.workers.drain(OPERATOR, other.id)
    task = await container(world, "web")
    assert await why(world, task) == ("draining", "no worker takes tasks now; draining: e1, e3")


async def test_draining_needs_a_role_and_a_worker(world: World) -> None:
    """Nobody may but operators of the installation, and nobody has heard of some."""
    watching = replace(OPERATOR, installation=Role.READ)
    for caller in (READER, CALLER, watching):
        with pytest.raises(NotAllowed, match="installation role operate"):
            await world.workers.drain(caller, WorkerId("w1"))
    assert [(one.actor, one.action, one.outcome) for one in world.trail.entries] == [
        (caller.actor, "worker.drain", "refused") for caller in (READER, CALLER, watching)
    ]
    with pytest.raises(NotFound):
        await world.workers.drain(OPERATOR, WorkerId("w1"))


async def test_a_drain_that_was_only_stored_is_learnt(world: World) -> None:
    """Its caller was gone before the scheduler heard of it."""
    worker = await world.worker("w1")
    await world.store.dispatch.set_draining(worker.id, draining=True)
    await world.dispatch.reconcile()
    assert world.dispatch.workers()[0][0].state == "draining"
