"""The announcement of committed changes."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from taskyard.core.changes import Change
from taskyard.core.errors import Unavailable
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.services.notifications import bus as bus_module
from taskyard.services.notifications.bus import WOKEN_AT_ONCE, Bus, Gap, Subscription

pytestmark = pytest.mark.anyio


def change(number: int, task: str = "t1", workspace: str = "main", group: str = "g") -> Change:
    """A change with this ``seq``."""
    return Change(
        kind="started",
        at=Instant(number),
        task_id=TaskId(task),
        seq=number,
        workspace=WorkspaceName(workspace),
        group=GroupName(group),
        state=TaskState.RUNNING,
    )


async def take(subscription: Subscription, count: int) -> list[Change | Gap]:
    """The next so many items."""
    with anyio.fail_after(5):
        return [await anext(subscription) for _ in range(count)]


async def test_subscriber_sees_changes_in_order() -> None:
    """Everything published after entering arrives, in order."""
    bus = Bus()
    bus.publish([change(1)])
    async with bus.subscribe() as changes:
        bus.publish([change(2), change(3)])
        bus.publish([change(4)])
        assert await take(changes, 3) == [change(2), change(3), change(4)]


async def test_filters_narrow_a_subscription() -> None:
    """Workspace, group, task and predicate must all hold."""
    bus = Bus()
    wanted = change(5)
    async with (
        bus.subscribe(
            workspace=WorkspaceName("main"),
            group=GroupName("g"),
            task_id=TaskId("t1"),
            predicate=lambda each: each.seq > 4,
        ) as narrow,
        bus.subscribe(group=GroupName("other")) as by_group,
    ):
        other = change(9, group="other")
        bus.publish([change(1), change(6, "t2"), change(7, workspace="x"), other, wanted])
        assert await take(narrow, 1) == [wanted]
        assert await take(by_group, 1) == [other]


async def test_slow_subscriber_gets_one_gap_in_place_of_what_it_missed() -> None:
    """Losses are counted, and memory stays bounded."""
    bus = Bus()
    async with bus.subscribe(buffer=3) as changes:
        bus.publish([change(n) for n in range(10)])
        assert await take(changes, 1) == [change(0)]
        bus.publish([change(10)])
        assert await take(changes, 3) == [change(1), change(2), Gap(8)]
        bus.publish([change(11)])
        assert await take(changes, 1) == [change(11)]


async def test_slow_subscriber_does_not_cost_others_anything() -> None:
    """A gap belongs to one subscriber alone."""
    bus = Bus()
    async with bus.subscribe(buffer=1) as slow, bus.subscribe() as fast:
        bus.publish([change(1), change(2)])
        assert await take(fast, 2) == [change(1), change(2)]
        assert await take(slow, 2) == [change(1), Gap(1)]


async def test_left_subscriptions_leave_nothing_behind() -> None:
    """The bus forgets who has gone."""
    bus = Bus()
    async with bus.subscribe(), bus.subscribe(task_id=TaskId("t1")):
        pass
    assert not bus._wide
    assert not bus._narrow


async def test_waiters_of_a_task_wake_at_its_change_only() -> None:
    """One event serves all waiters of a task; other tasks do not set it."""
    bus = Bus()
    event = bus.changed(TaskId("t1"))
    assert bus.changed(TaskId("t1")) is event
    bus.publish([change(1, "t2")])
    assert not event.is_set()
    bus.publish([change(2, "t1")])
    assert event.is_set()
    assert not bus.changed(TaskId("t1")).is_set()


async def test_abandoned_waiters_leave_nothing_behind() -> None:
    """Events of tasks that never change again go away with their waiters."""
    bus = Bus()
    events = [bus.changed(TaskId(f"t{n}")) for n in range(100)]
    assert len(bus._events) == 100
    del events
    assert len(bus._events) == 0


async def test_wait_for_looks_again_after_each_change() -> None:
    """A change between looking and waiting is not missed."""
    bus = Bus()
    looks = 0

    async def look() -> int | None:
        nonlocal looks
        looks += 1
        if looks < 3:
            bus.publish([change(looks)])  # falls in between
        await checkpoint()
        return looks if looks == 3 else None

    with anyio.fail_after(5):
        assert await bus.wait_for(TaskId("t1"), look) == 3


async def test_listener_hears_batches_until_it_stops() -> None:
    """Plain listeners are called at once, with what was committed together."""
    bus = Bus()
    heard: list[Sequence[Change]] = []
    stop = bus.listen(heard.append)
    bus.publish([change(1), change(2)])
    stop()
    stop()
    bus.publish([change(3)])
    assert heard == [[change(1), change(2)]]


async def test_failing_listener_is_contained() -> None:
    """A listener's defect reaches neither the publisher nor the other listeners."""
    bus = Bus()
    heard: list[Sequence[Change]] = []

    def broken(_: Sequence[Change]) -> None:
        raise ValueError("defect")

    bus.listen(broken)
    bus.listen(heard.append)
    bus.publish([change(1)])
    assert len(heard) == 1


async def test_close_ends_subscriptions_and_wakes_waiters() -> None:
    """Streams end after what was published before; waiters learn that nothing comes any more."""
    bus = Bus()
    woken: list[str] = []

    async def nothing() -> None:
        return None

    async def wait() -> None:
        with pytest.raises(Unavailable):
            await bus.wait_for(TaskId("t1"), nothing)
        woken.append("waiter")

    with anyio.fail_after(5):
        async with bus.subscribe() as changes, anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            bus.publish([change(1, "t2")])
            bus.close()
            bus.close()
            assert [each async for each in changes] == [change(1, "t2")]
    assert woken == ["waiter"]
    async with bus.subscribe() as late:
        assert [each async for each in late] == []
    assert bus.changed(TaskId("t1")).is_set()


async def test_many_subscribers_of_one_workspace_are_woken_a_few_at_a_time() -> None:
    """All of them in the end, in order, and whoever is of another workspace at once."""
    bus, read, count = Bus(), list[int](), 4 * WOKEN_AT_ONCE
    others: list[Change | Gap] = []
    first_turn: list[int] = []
    async with anyio.create_task_group() as group:

        async def follow(number: int) -> None:
            async with bus.subscribe(workspace=WorkspaceName("main")) as changes:
                assert await take(changes, 2) == [change(1), change(2)]
                read.append(number)

        async def other() -> None:
            async with bus.subscribe(workspace=WorkspaceName("other")) as changes:
                others.extend(await take(changes, 1))
                first_turn.append(len(read))

        for number in range(count):
            group.start_soon(follow, number)
        group.start_soon(other)
        await anyio.wait_all_tasks_blocked()
        bus.publish([change(1), change(2)])
        bus.publish([change(3, workspace="other")])
        with anyio.fail_after(10):
            while len(read) < count:
                await checkpoint()
    assert others == [change(3, workspace="other")]
    assert first_turn[0] <= WOKEN_AT_ONCE
    assert not bus._wide


async def test_subscribers_that_wait_to_be_woken_may_leave() -> None:
    """Nothing is left of them, and the others are woken."""
    bus = Bus()
    async with AsyncExitStack() as stack:
        some = [
            await stack.enter_async_context(bus.subscribe(workspace=WorkspaceName("main")))
            for _ in range(3 * WOKEN_AT_ONCE)
        ]
        bus.publish([change(1)])
        assert sum(map(len, bus._drowsy.values())) == 2 * WOKEN_AT_ONCE
        for one in some:
            assert await take(one, 1) == [change(1)]
    assert sum(map(len, bus._drowsy.values())) == 0
    with anyio.fail_after(5):
        while bus._drowsy:
            await checkpoint()


async def test_where_there_is_a_feed_publishing_announces_nothing() -> None:
    """But those who wait for the end of a task are woken by what this process commits."""
    bus = Bus(fed=True)
    heard: list[Change] = []
    own: list[Change] = []
    bus.listen(heard.extend)
    bus.hear_own(own.extend)
    began, ended = change(1), replace(change(2), state=TaskState.SUCCEEDED)
    waiting = bus.changed(began.task_id)
    bus.publish([began])
    assert not waiting.is_set()
    bus.publish([ended])
    assert waiting.is_set()
    assert (heard, own) == ([], [began, ended])
    bus.announce([began, ended])
    assert (heard, own) == ([began, ended], [began, ended])


async def test_nobody_hears_own_changes_twice_without_a_feed() -> None:
    """There, publishing announces them."""
    bus = Bus()
    own: list[Change] = []
    bus.hear_own(own.extend)
    bus.publish([change(1)])
    assert own == []


async def test_who_waits_where_there_is_a_feed_looks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a while, whatever was missed; those who listen are told so."""
    monkeypatch.setattr(bus_module, "LOOK_AGAIN_S", 0.01)
    bus = Bus(fed=True)
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        return "found" if looks == 3 else None

    with anyio.fail_after(5):
        assert await bus.wait_for(TaskId("t1"), look) == "found"


async def test_what_was_missed_is_told_to_everybody() -> None:
    """Waiters are woken, subscribers have a gap, and a listener that fails holds up nobody."""
    bus = Bus(fed=True)
    told: list[str] = []

    def fail() -> None:
        raise RuntimeError

    bus.listen(lambda _changes: None, fail)
    stop = bus.listen(lambda _changes: None, lambda: told.append("one"))
    waiting = bus.changed(TaskId("t1"))
    async with bus.subscribe() as wide, bus.subscribe(task_id=TaskId("t1")) as narrow:
        bus.missed()
        assert await take(wide, 1) == await take(narrow, 1) == [Gap(1)]
    assert waiting.is_set()
    stop()
    bus.missed()
    assert told == ["one"]
