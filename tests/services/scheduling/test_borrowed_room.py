"""How a follower asks for room: in few messages, and in vain only now and then."""

from collections.abc import AsyncIterator

import anyio
import pytest
from planes_world import Plane, planes

from fakes.clock import settled
from fakes.engine import CALLER, WS
from taskyard.core.ids import GroupName, PlaneId
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, NewTask, TaskSpec
from taskyard.ports.dispatching import Placement
from taskyard.services.scheduling.borrowed_room import LEND

pytestmark = pytest.mark.anyio

NIGHTLY = GroupName("nightly")
LONG_S = 60.0


class Asked:
    """Counts what a plane asks the leader for; answers wait while they are to."""

    def __init__(self, plane: Plane) -> None:
        self.count = 0
        self.may_answer = anyio.Event()
        self.may_answer.set()
        self._real = plane.messages.request
        plane.messages.request = self.request  # type: ignore[method-assign]

    async def request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        """As the real one."""
        self.count += what == LEND
        answer = await self._real(to, what, payload, timeout_s)
        if what == LEND:
            await self.may_answer.wait()
        return answer


@pytest.fixture
async def two() -> AsyncIterator[tuple[Plane, Plane]]:
    """The first leads; the second has a worker beside it with room for two."""
    async with planes() as world:
        first, second = world.plane("one"), world.plane("two")
        await second.worker("w2", 2)
        await first.lead()
        yield first, second


def prepared(plane: Plane, group: str = "default") -> NewTask:
    """A task that is not stored yet."""
    spec = TaskSpec(work=Command(argv=("true",)), group=GroupName(group))
    return plane.tasks.prepare(CALLER, spec)


async def pause(plane: Plane, *, paused: bool) -> None:
    """Pause a group, or let it go on."""
    await plane.groups.set(CALLER, NIGHTLY, paused=paused)


async def test_those_who_ask_together_share_messages(two: tuple[Plane, Plane]) -> None:
    """One for the first, one for all that came while its answer was awaited."""
    first, second = two
    asked = Asked(second)
    asked.may_answer = anyio.Event()
    found: list[Placement | None] = []

    async def ask() -> None:
        found.append(await second.placing.place(prepared(second)))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settled()
        for _ in range(4):
            group.start_soon(ask)
        await settled()
        assert asked.count == 1
        asked.may_answer.set()
    assert asked.count == 2
    assert [one is None for one in found].count(False) == 2
    assert first.lent.count == 2


async def test_nothing_is_asked_for_a_paused_group(
    two: tuple[Plane, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once that is known; other groups get their room."""
    monkeypatch.setattr("taskyard.services.scheduling.borrowed_room.PAUSED_S", LONG_S)
    first, second = two
    asked = Asked(second)
    await pause(first, paused=True)
    for _ in range(3):
        assert await second.placing.place(prepared(second, "nightly")) is None
    assert asked.count == 1
    assert await second.placing.place(prepared(second)) is not None
    assert asked.count == 2


async def test_a_group_that_goes_on_gets_room_at_once(
    two: tuple[Plane, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plane hears of it as of every change of limits."""
    monkeypatch.setattr("taskyard.services.scheduling.borrowed_room.PAUSED_S", LONG_S)
    first, second = two
    await pause(first, paused=True)
    assert await second.placing.place(prepared(second, "nightly")) is None
    await pause(first, paused=False)
    await second.dispatch.limits_changed()
    assert await second.placing.place(prepared(second, "nightly")) is not None


async def test_a_full_fleet_is_asked_for_now_and_then(
    two: tuple[Plane, Plane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for every task that has to queue."""
    monkeypatch.setattr("taskyard.services.scheduling.borrowed_room.NO_ROOM_S", LONG_S)
    _, second = two
    tasks = [await second.submit() for _ in range(2)]
    asked = Asked(second)
    tasks += [await second.submit() for _ in range(5)]
    assert asked.count == 1
    states = [(await second.store.tasks.task(WS, one.id)).state for one in tasks]
    assert states.count(TaskState.RUNNING) == 2


async def test_room_for_whoever_has_gone_is_given_back(two: tuple[Plane, Plane]) -> None:
    """A client that hung up keeps none of it."""
    first, second = two
    asked = Asked(second)
    asked.may_answer = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(second.placing.place, prepared(second))
        await settled()
        group.cancel_scope.cancel()
    assert first.lent.count == 1
    asked.may_answer.set()
    await settled()
    assert first.lent.count == 0
    ((_, free),) = first.dispatch.workers()
    assert free.slots == 2
