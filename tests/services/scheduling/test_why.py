"""Why: one sentence for every place a task can be in, from the deciding code itself."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from fakes.engine import CALLER, World
from fakes.worker import GIB
from taskyard.core.attempts import KillReport
from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import GroupName
from taskyard.core.instants import after
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.reasons import Explanation
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Task

pytestmark = pytest.mark.anyio
MAIL = GroupName("mail")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker. It is 22:13:20."""
    world = World()
    async with world.running():
        yield world


async def test_parked(world: World) -> None:
    """A task that waits for its time and says why is one that could not be dealt with."""
    task = replace(await world.submit(start_at=after(world.clock.now(), 600)), message="no zone")
    world.store.tasks.task = lambda *_ids: _later(task)
    answer = await why(world, task)
    assert answer.code == "parked"
    assert answer.summary.startswith("could not be dealt with (no zone); is tried again 2023-")


async def _later(task: Task) -> Task:
    return task


async def why(world: World, task: Task) -> Explanation:
    """The answer."""
    return await world.why.explain(CALLER, task.id)


async def test_waiting_for_a_worker(world: World) -> None:
    """There is none."""
    answer = await why(world, await world.submit())
    assert (answer.code, answer.summary) == ("no_worker", "no worker takes tasks now")
    assert answer.ahead == 0


async def test_waiting_in_a_paused_group(world: World) -> None:
    """Room does not matter then."""
    await world.worker()
    await world.groups.set(CALLER, MAIL, paused=True)
    await world.submit(group="mail")
    answer = await why(world, await world.submit(group="mail"))
    assert answer.code == "group_paused"
    assert answer.summary == "group 'mail' is paused; 1 ahead of it"
    assert answer.ahead == 1


async def test_waiting_for_a_group(world: World) -> None:
    """It says the limit and how many go first."""
    await world.worker(slots=9)
    await world.groups.set(CALLER, MAIL, concurrency_limit=4)
    for _ in range(7):
        await world.submit(group="mail")
    answer = await why(world, await world.submit(group="mail"))
    assert answer.code == "group_limit"
    assert answer.summary == "group 'mail' is at its limit of 4; 3 ahead of it"
    assert answer.detail == {"limit": 4, "running": 4}


async def test_waiting_for_the_workspace(world: World) -> None:
    """Its limit holds across its groups."""
    await world.worker(slots=9)
    await world.groups.set_workspace_limit(CALLER, 1)
    await world.submit(group="a")
    answer = await why(world, await world.submit(group="b"))
    assert answer.code == "workspace_limit"
    assert answer.summary == "workspace 'default' is at its limit of 1"


async def test_waiting_for_memory(world: World) -> None:
    """The need, the largest gap, and where it is."""
    await world.worker(capacity=Capacity(9, 4000, 4 * GIB))
    await world.submit(resources=Resources(memory_bytes=int(2.6 * GIB)))
    answer = await why(world, await world.submit(resources=Resources(memory_bytes=2 * GIB)))
    assert answer.code == "no_room"
    assert answer.summary == "needs 2.0 GiB of memory, largest gap 1.4 GiB on worker w1"
    never = await why(
        world, await world.submit(group="x", resources=Resources(memory_bytes=9 * GIB))
    )
    assert never.summary.endswith("; no worker has more than 4.0 GiB in all")


async def test_waiting_for_cores_or_slots(world: World) -> None:
    """Each is told by its name."""
    await world.worker(capacity=Capacity(2, 1500, 4 * GIB))
    await world.submit(resources=Resources(cpu_millis=1000))
    answer = await why(world, await world.submit(resources=Resources(cpu_millis=750)))
    assert answer.summary == "needs 0.75 cores, largest gap 0.5 on worker w1"
    await world.submit(group="other")
    answer = await why(world, await world.submit(group="third"))
    assert answer.summary == "all 2 slots are taken"


async def test_waiting_behind_others(world: World) -> None:
    """There is room for it, but not yet its turn."""
    await world.worker(capacity=Capacity(9, 4000, 4 * GIB))
    await world.submit(resources=Resources(memory_bytes=8 * GIB))
    answer = await why(world, await world.submit())
    assert (answer.code, answer.ahead) == ("behind", 1)
    assert answer.summary == "others of group 'default' go first; 1 ahead of it"


async def test_waiting_for_room_kept_for_another(world: World) -> None:
    """A large task that has waited for long goes first."""
    await world.worker(capacity=Capacity(9, 4000, 4 * GIB))
    await world.submit(resources=Resources(memory_bytes=GIB))
    await world.submit(group="large", resources=Resources(memory_bytes=4 * GIB))
    await world.advance(31)
    answer = await why(world, await world.submit(group="small"))
    assert answer.code == "reserved_for_other"
    assert answer.summary == "worker w1 is kept free for a larger task that waits longer"


async def test_waiting_for_a_moment(world: World) -> None:
    """The moment itself."""
    once = await world.submit(start_at=after(world.clock.now(), 10))
    assert (await why(world, once)).summary == "starts 2023-11-14 22:13:30Z"
    recurring = await world.submit(cron="0 8 * * *")
    answer = await why(world, recurring)
    assert (answer.code, answer.summary) == ("scheduled", "fires next 2023-11-15 08:00:00Z")


async def test_running_and_being_killed(world: World) -> None:
    """Where, and since when."""
    worker = await world.worker()
    worker.kills = False
    task = await world.submit()
    assert (await why(world, task)).summary == "is starting on w1"
    await worker.start(worker.assigned[0].attempt_id)
    answer = await why(world, task)
    assert (answer.code, answer.summary) == ("running", "runs on w1 since 2023-11-14 22:13:20Z")
    await world.tasks.cancel(CALLER, [task.id])
    answer = await why(world, task)
    assert answer.code == "killing"
    assert answer.summary == "is being killed on w1 since 2023-11-14 22:13:20Z"
    now = world.clock.now()
    report = KillReport(now, now, "SIGTERM", killed_count=3)
    await worker.end(
        worker.assigned[0].attempt_id,
        AttemptState.KILLED,
        reason=Reason.KILLED,
        message="killed on request",
        kill_report=report,
    )
    answer = await why(world, task)
    assert answer.code == "ended"
    assert answer.summary == "cancelled 2023-11-14 22:13:20Z: killed on request"
    assert answer.story == (
        "attempt 1 on w1 ran 0.0 s and was killed: killed on request (3 killed, no survivors)",
    )


async def test_retrying_and_the_story_of_attempts(world: World) -> None:
    """What went wrong each time, and when it goes on."""
    worker = await world.worker()
    task = await world.submit(retry=RetryPolicy(2, 10.0, 10.0, 1.0, 0.0))
    first = worker.assigned[0].attempt_id
    await worker.start(first)
    await world.advance(2)
    await worker.end(first, AttemptState.FAILED, exit_code=1, message="exited with code 1")
    answer = await why(world, task)
    assert answer.code == "retrying"
    assert answer.summary == (
        "attempt 1 failed (exited with code 1); attempt 2 starts 2023-11-14 22:13:32Z"
    )
    await world.advance(10)
    await worker.end(worker.assigned[1].attempt_id, AttemptState.SUCCEEDED)
    answer = await why(world, task)
    assert answer.story == (
        "attempt 1 on w1 ran 2.0 s and has failed: exited with code 1",
        "attempt 2 on w1 did not start and succeeded",
    )
    assert (answer.code, answer.detail, answer.ahead) == ("ended", {}, None)
