"""What containers may be given is checked on every way in, and again when one is placed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.clock import VirtualClock
from fakes.engine import CALLER, WS, World
from fakes.memory import MemoryStore
from fakes.stores import opened
from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.core.instants import after
from taskyard.core.jobs import JobDefinition, JobKey
from taskyard.core.lists import ListKey
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Container, Device, Task, TaskSpec
from taskyard.ports.store import TaskQuery
from taskyard.services.jobs.jobs import Jobs
from taskyard.services.lists import Lists

pytestmark = pytest.mark.anyio

HOST = Container("busybox", network="host")
GROUP = GroupName("g")
OPEN = ContainerRule(networks=("host",))
KEY = JobKey(WS, GROUP, "11111111-1111-4111-8111-111111111111")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker, where nothing is allowed."""
    world = World()
    async with world.running():
        yield world


@pytest.mark.parametrize(
    ("work", "setting"),
    [
        (HOST, "container_networks"),
        (Container("busybox", network="container:db"), "container_networks"),
        (Container("busybox", network="ns:1"), "container_networks"),
        (Container("busybox", capabilities=("SYS_ADMIN",)), "container_capabilities"),
        (Container("busybox", devices=(Device("/dev/sda", "/dev/a"),)), "container_devices"),
    ],
)
async def test_tasks(world: World, work: Container, setting: str) -> None:
    """One, many, delayed and recurring ones are refused when they are submitted."""
    late = after(world.clock.now(), 100)
    for spec in (
        TaskSpec(work=work),
        TaskSpec(work=work, start_at=late),
        TaskSpec(work=work, cron="* * * * *"),
    ):
        with pytest.raises(InvalidInput, match=setting):
            await world.tasks.submit(CALLER, spec)
    with pytest.raises(InvalidInput, match=setting):
        await world.tasks.submit_many(CALLER, [TaskSpec(work=Container("busybox")), spec])
    bomb = TaskSpec(work=Container("busybox"), resources=Resources(pids=1_000_000))
    with pytest.raises(InvalidInput, match="container_pids_limit"):
        await world.tasks.submit(CALLER, bomb)


async def test_jobs_and_lists(tmp_path: Path) -> None:
    """The ways of fastlane and GX."""
    store = await opened(tmp_path)
    try:
        world = World(store)
        jobs = Jobs(store.jobs, world.tasks, world.bus, world.kill, world.load, world.clock)
        lists = Lists(store.lists, world.tasks, world.dispatch, world.bus, world.clock)
        async with world.running():
            spec = TaskSpec(work=HOST, group=GROUP)
            for cron in (None, "* * * * *"):
                with pytest.raises(InvalidInput, match="container_networks"):
                    await jobs.put(CALLER, KEY, JobDefinition(spec, cron=cron))
            listed = ListKey(WS, GROUP)
            await lists.open(listed, "me", most=10, concurrency_limit=1)
            with pytest.raises(InvalidInput, match="container_networks"):
                await lists.add(CALLER, listed, spec)
    finally:
        await store.close()


async def closed(store: Any, before: World) -> World:
    """The same installation, whose operator allows nothing any more."""
    return World(store, clock=before.clock, ids=before.ids)


async def refused(world: World, task: Task) -> None:
    """It has ended without having been anywhere."""
    ended = await world.task(task.id)
    assert (ended.state, ended.reason) == ("failed", Reason.START_FAILED), ended
    assert ended.message is not None
    assert "container_networks" in ended.message


async def test_what_waited_is_checked_when_it_is_placed() -> None:
    """Accepted under an earlier setting: queued, delayed, recurring, and retried on request."""
    store, clock = MemoryStore(), VirtualClock()
    world = World(store, clock=clock, containers=OPEN)
    async with world.running():
        worker = await world.worker(slots=9, runtimes=("container",))
        ran = await world.submit(work=HOST)
        await worker.end(worker.assigned[0].attempt_id, AttemptState.FAILED)
        worker.reachable = False
        delayed = await world.submit(work=HOST, start_at=after(clock.now(), 60))
        recurring = await world.submit(work=HOST, cron="* * * * *")
    again = await closed(store, world)
    async with again.running():
        with pytest.raises(InvalidInput, match="container_networks"):
            await again.tasks.retry(CALLER, ran.id)
        worker = await again.worker(slots=9, runtimes=("container",))
        await again.advance(90)
        await refused(again, delayed)
        query = TaskQuery(workspace=WS, schedule_id=recurring.id, limit=10)
        firings = (await store.tasks.list_tasks(query)).tasks
        assert firings
        for task in firings:
            await refused(again, task)
        assert worker.assigned == []


async def test_what_is_queued_is_checked_when_it_is_placed() -> None:
    """No worker was there when it was accepted."""
    store = MemoryStore()
    world = World(store, containers=OPEN)
    async with world.running():
        queued = await world.submit(work=HOST)
    again = await closed(store, world)
    async with again.running():
        worker = await again.worker(runtimes=("container",))
        await again.complete()
        await refused(again, queued)
        assert worker.assigned == []


async def test_what_runs_goes_on_when_a_setting_changes() -> None:
    """A worker that comes back is told of it; ending it would help nobody."""
    store = MemoryStore()
    world = World(store, containers=OPEN)
    async with world.running():
        await world.worker(runtimes=("container",))
        task = await world.submit(work=HOST)
    again = await closed(store, world)
    async with again.running():
        worker = await again.worker(runtimes=("container",))
        assert [one.task_id for one in worker.held.values()] == [task.id]
        assert await again.state(task.id) == "running"


async def test_a_worker_gets_what_is_left() -> None:
    """Variables of its own that are not allowed are not asked for; users are given."""
    world = World(containers=ContainerRule(users=("7:7",), env=("HTTP_*",)))
    async with world.running():
        worker = await world.worker(runtimes=("container",))
        inherited = ("HTTP_PROXY", "AWS_KEY")
        await world.submit(work=Container("busybox", inherited_env=inherited))
        (given,) = worker.assigned
        assert isinstance(given.work, Container)
        assert (given.work.user, given.work.inherited_env) == ("7:7", ("HTTP_PROXY",))
