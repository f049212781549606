"""A worker that is to leave."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from worker_world import DEADLINE_S, World, assignment

from eventually import eventually_async
from taskyard.core.ids import AttemptId
from taskyard.core.states import Reason
from taskyard.core.stay import Stay
from taskyard.worker.staying import Staying

pytestmark = pytest.mark.anyio

A, B = AttemptId("a"), AttemptId("b")


class Time:
    """Goes on when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """The present time."""
        return self.seconds


@pytest.fixture
def time() -> Time:
    """Of the worker."""
    return Time()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Without a worker that was started."""
    world = World(tmp_path)
    await world.transport.serve(world.engine)
    yield world
    await world.worker.stop()


async def _start(world: World, stay: Stay, time: Time) -> None:
    world.worker = world.make({"command": world.runtime}, staying=Staying(stay, time))
    await world.worker.start()


async def test_it_says_how_long_it_stays(world: World, time: Time) -> None:
    """Each time it joins."""
    await _start(world, Stay(lifetime_s=3300), time)
    time.seconds += 300
    world.engine.fence_next = True
    await eventually_async(lambda: len(world.engine.hellos) == 2)
    assert [hello.stays_s for hello in world.engine.hellos] == [3300, 3000]


async def test_what_may_run_for_too_long_is_given_back(world: World, time: Time) -> None:
    """As trouble, which is no failure of the task."""
    await _start(world, Stay(lifetime_s=60), time)
    long, short = replace(assignment("a"), timeout_s=61.0), replace(assignment("b"), timeout_s=60.0)
    await world.worker.assign([long, short])
    await eventually_async(lambda: len(world.engine.ends()) == 1)
    (end,) = world.engine.ends()
    assert (end.attempt_id, end.reason) == (A, Reason.RUNTIME_TROUBLE)
    assert end.message == "it may run for 61 s, and its worker leaves in 60 s"
    assert set(world.runtime.began) == {B}


async def test_the_end_of_its_lifetime_does_not_wait_for_what_runs(
    world: World, time: Time
) -> None:
    """That is left to the drain."""
    await _start(world, Stay(lifetime_s=60), time)
    await world.worker.assign([assignment("a")])
    time.seconds += 60
    with anyio.fail_after(DEADLINE_S):
        assert await world.worker.until_leaving() == "its lifetime is over"
    assert not world.worker.is_idle


async def test_it_is_idle_from_the_end_of_the_last_attempt_on(world: World, time: Time) -> None:
    """Not from its start."""
    await _start(world, Stay(idle_exit_s=300), time)
    left: list[str] = []

    async def leave() -> None:
        left.append(await world.worker.until_leaving())

    async with anyio.create_task_group() as tasks:
        await world.worker.assign([assignment("a")])
        tasks.start_soon(leave)
        beats = world.engine.beats
        time.seconds += 300
        await eventually_async(lambda: world.engine.beats > beats + 5)
        assert left == []
        world.runtime.end(A)
        await eventually_async(lambda: world.worker.is_idle)
        beats = world.engine.beats
        time.seconds += 299
        await eventually_async(lambda: world.engine.beats > beats + 5)
        assert left == []
        time.seconds += 300
        await eventually_async(lambda: left == ["it had nothing to run for 300 s"])


async def test_one_attempt_and_no_other(world: World, time: Time) -> None:
    """Planes hear of that while it runs; what comes before they do is given back."""
    await _start(world, Stay(once=True), time)
    await world.worker.assign([assignment("a")])
    await world.worker.assign([assignment("a"), assignment("b")])
    await eventually_async(lambda: [one.attempt_id for one in world.engine.ends()] == [B])
    assert set(world.runtime.began) == {A}
    await eventually_async(lambda: not world.engine.statuses["command"].available)
    assert world.engine.statuses["command"].reason == "it takes one attempt only"
    world.runtime.end(A)
    with anyio.fail_after(DEADLINE_S):
        assert await world.worker.until_leaving() == "it has had its attempt"


async def test_it_does_not_leave_before_it_is_heard_that_it_drains(world: World) -> None:
    """What was placed until then still arrives, and is finished."""
    await world.worker.start()
    world.worker.drain("it leaves")
    drained = anyio.Event()

    async def wait() -> None:
        await world.worker.drained()
        drained.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await eventually_async(
            lambda: (
                "command" in world.engine.statuses
                and not world.engine.statuses["command"].available
            )
        )
        await world.worker.assign([assignment("a")])
        beats = world.engine.beats
        await eventually_async(lambda: world.engine.beats > beats + 10)
        assert not drained.is_set()
        world.runtime.end(A)
        with anyio.fail_after(DEADLINE_S):
            await drained.wait()
