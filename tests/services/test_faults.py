"""One store call after the other fails, before or after it did what was asked.

A scripted day of the engine is run again and again; each time another call fails. In the end every
task has come to where it belongs, none is lost, doubled or stuck, and no room is leaked.
"""

import pytest

from fakes.engine import CALLER, World
from fakes.faults import Faults, When
from fakes.memory import MemoryStore
from fakes.specs import new_task
from fakes.worker import FakeWorker
from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import Unavailable
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.instants import after
from taskyard.core.states import TERMINAL, AttemptState, TaskState
from taskyard.core.tasks import Command, Task, TaskSpec

pytestmark = pytest.mark.anyio


class Day:
    """What happens: submits with keys, a failure, a kill, a lost worker, a cron task, a limit."""

    def __init__(self, faults: Faults) -> None:
        self.memory = MemoryStore()
        failing = MemoryStore(self.memory.model)
        failing.groups = faults.wrap(self.memory.groups)
        failing.tasks = faults.wrap(self.memory.tasks)
        failing.dispatch = faults.wrap(self.memory.dispatch)
        self.faults = faults
        self.world = World(failing)
        before = new_task(idempotency_key="before", now=self.world.clock.now())
        self.unannounced = before
        self.acknowledged: dict[str, TaskId] = {"before": before.id}

    async def insist(self, key: str, **members: object) -> Task:
        """Submit like a careful client: with a key, again until it is acknowledged."""
        spec = TaskSpec(work=Command(argv=("true",)), idempotency_key=key, **members)  # type: ignore[arg-type]  # members of a specification
        for _ in range(3):
            try:
                task, _ = await self.world.tasks.submit(CALLER, spec)
            except Unavailable:
                await self.world.complete()
            else:
                self.acknowledged[key] = task.id
                await self.world.complete()
                return task
        raise AssertionError("one fault failed three calls")

    async def again(self, call: object, *args: object, **options: object) -> None:
        """Ask once more when told of a failure."""
        for _ in range(3):
            try:
                await call(*args, **options)  # type: ignore[operator]  # some method
            except Unavailable:
                await self.world.complete()
            else:
                return
        raise AssertionError("one fault failed three calls")

    async def work(self, worker: FakeWorker, *, fail: bool = False) -> None:
        """A worker starts and ends all that it holds."""
        for attempt_id in list(worker.held):
            await worker.start(attempt_id)
            state = AttemptState.FAILED if fail else AttemptState.SUCCEEDED
            if attempt_id in worker.held:
                await worker.end(attempt_id, state)
            await self.world.complete()

    async def run(self) -> None:
        """The whole day."""
        world = self.world
        self.memory.model.submit([self.unannounced], None)
        first, second = FakeWorker(world, "w1", 2, None), FakeWorker(world, "w2", 1, None)
        for worker in (first, second):
            world.transport.workers[worker.id] = worker
            await self.again(worker.join)
        mail = GroupName("mail")
        await self.again(world.groups.set, CALLER, mail, concurrency_limit=1)
        for number in range(3):
            await self.insist(f"mail-{number}", group=mail)
        await self.insist("retried", retry=RetryPolicy(3, 1, 1, 1, 0))
        await self.work(first, fail=True)
        victim = await self.insist("killed")
        await self.again(world.tasks.cancel, CALLER, [victim.id])
        await self.insist("later", start_at=after(world.clock.now(), 3))
        await self.insist("expires", group="never", expires_at=after(world.clock.now(), 2))
        cron = await self.insist("cron", cron="* * * * *")
        await world.advance(4)
        second.silent = True
        await world.advance(4)
        second.held.clear()
        await world.advance(60)
        await self.again(world.tasks.cancel, CALLER, [cron.id])
        self.faults.armed = False
        await second.join()
        for _ in range(30):
            await self.work(first)
            await self.work(second)
            await world.advance(2)

    def verify(self) -> None:
        """Nothing lost, doubled or stuck."""
        model = self.memory.model
        keys = [t.spec.idempotency_key for t in model.tasks.values() if not t.schedule_id]
        assert sorted(filter(None, keys)) == sorted(self.acknowledged)
        stored = {task.id: task for task in model.tasks.values()}
        assert set(self.acknowledged.values()) <= stored.keys()
        unended = [task for task in stored.values() if task.state not in TERMINAL]
        assert unended == [], [(task.spec.idempotency_key, task.state) for task in unended]
        assert stored[self.acknowledged["killed"]].state in {
            TaskState.CANCELLED,
            TaskState.SUCCEEDED,
        }
        firings = [task.due_at for task in stored.values() if task.schedule_id is not None]
        assert len(firings) == len(set(firings)) >= 1
        assert model.running() == []
        assert self.world.rooms.held_count == 0
        assert all(
            queue.running == 0 for queue in self.world.dispatch._memory.queues._queues.values()
        )


async def run(number: int | None, when: When) -> list[str]:
    """One day with one fault; answers with the calls that were made."""
    faults = Faults(number, when)
    day = Day(faults)
    faults.armed = False
    async with day.world.running():
        faults.armed = True
        await day.run()
    day.verify()
    return faults.called


async def test_without_a_fault_the_day_ends_well() -> None:
    """The script itself is sound, and touches every part."""
    called = set(await run(None, When.BEFORE))
    assert {
        "MemoryTasks.submit",
        "MemoryTasks.cancel",
        "MemoryDispatch.place",
        "MemoryDispatch.apply",
        "MemoryDispatch.due",
        "MemoryDispatch.next_due",
        "MemoryDispatch.ready",
        "MemoryDispatch.join",
        "MemoryDispatch.lose",
        "MemoryDispatch.renew",
        "MemoryGroups.limits",
    } <= called


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("part", range(4))
async def test_one_failing_call_loses_doubles_and_sticks_nothing(when: When, part: int) -> None:
    """Every call of the day fails once."""
    total = len(await run(None, when))
    for number in range(part, total, 4):
        try:
            await run(number, when)
        except BaseException as error:
            error.add_note(f"call {number} failed {when}")
            raise
