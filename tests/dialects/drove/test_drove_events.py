"""Events: section 10 of the contract, over HTTP; and the ring behind them."""

from itertools import pairwise
from uuid import UUID

import anyio
import pytest
from drove_world import DroveWorld

from taskyard.core.ids import WorkspaceName
from taskyard.dialects.drove.events import KEPT_MS, Events
from taskyard.dialects.drove.states import TRANSITIONS, State

HERE = WorkspaceName("default")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("args", "path"),
    [
        (
            ("echo",),
            "PENDING PROVISIONING STARTING RUNNING RUN_COMPLETED DEPROVISIONING STOPPED",
        ),
        (("nopull",), "PENDING PROVISIONING PROVISIONING_FAILED DEPROVISIONING STOPPED"),
        (("nostart",), "PENDING PROVISIONING STARTING RUN_FAILED DEPROVISIONING STOPPED"),
    ],
)
async def test_every_state_is_told_once(
    world: DroveWorld, args: tuple[str, ...], path: str
) -> None:
    """In a path that the contract's table allows."""
    await world.create("T1", *args)
    await world.in_state("STOPPED")
    states = [one["CURRENT_STATE"] for one in await world.events()]
    assert states == path.split()
    for before, after in pairwise(map(State, states)):
        assert after in TRANSITIONS[before]


@pytest.mark.anyio
async def test_events_of_tasks_have_their_metadata(world: DroveWorld) -> None:
    """Results once they are known."""
    shown = await world.create("T1", "fail", "7")
    await world.in_state("STOPPED")
    first, *_, last = await world.events()
    names = {"APP_NAME", "TASK_ID", "INSTANCE_ID", "EXECUTABLE", "CREATED", "CURRENT_STATE"}
    assert names <= first.keys()
    assert "RESULT_STATUS" not in first
    assert last == {
        "APP_NAME": "APP",
        "TASK_ID": "T1",
        "INSTANCE_ID": shown["instanceId"],
        "EXECUTOR_ID": shown["executorId"],
        "EXECUTOR_HOST": "host-w1",
        "EXECUTABLE": "example/image",
        "CREATED": shown["created"],
        "CURRENT_STATE": "STOPPED",
        "ERROR": "exit status 7: it failed",
        "RESULT_STATUS": "FAILED",
        "RESULT_EXIT_CODE": 7,
    }


@pytest.mark.anyio
async def test_kills_losses_and_deletions_are_told(world: DroveWorld) -> None:
    """Also when the record has gone since."""
    await world.create("T1", "stuck")
    await world.stuck()
    await world.kill()
    await world.in_state("STOPPED")
    await world.api.delete("/tasks/APP/instances/T1")
    *_, last = await world.events()
    assert (last["CURRENT_STATE"], last["RESULT_STATUS"]) == ("STOPPED", "CANCELLED")
    await world.create("T2", "hang")
    await world.running("T2")
    world.workers.beating.clear()
    await world.in_state("LOST", "T2")
    *_, before, last = await world.events()
    assert (before["CURRENT_STATE"], last["CURRENT_STATE"]) == ("RUNNING", "LOST")
    assert (last["RESULT_STATUS"], last["ERROR"]) == ("LOST", "Instance lost")
    (removed,) = await world.events("EXECUTOR_REMOVED")
    assert set(removed) == {"EXECUTOR_ID"}


@pytest.mark.anyio
async def test_events_of_executors(world: DroveWorld) -> None:
    """Added, blacklisted, and taking tasks again."""
    (added,) = await world.events("EXECUTOR_ADDED")
    assert set(added) == {"EXECUTOR_ID", "HOSTNAME", "PORT"}
    name = added["EXECUTOR_ID"]
    await world.api.post(f"/cluster/executors/{name}/blacklist")
    await world.api.post(f"/cluster/executors/{name}/unblacklist")
    for kind in (
        "EXECUTOR_BLACKLIST_REQUESTED",
        "EXECUTOR_BLACKLISTED",
        "EXECUTOR_UN_BLACKLISTED",
    ):
        assert await world.events(kind) == [added]
    assert len(await world.events("LEADERSHIP_ACQUIRED")) == 1


@pytest.mark.anyio
async def test_nothing_falls_between_two_requests(world: DroveWorld) -> None:
    """Whoever feeds the time back sees every event exactly once, in all three forms."""
    seen: list[str] = []
    counted = 0
    sync, counted_sync = 0, 0

    async def poll() -> None:
        nonlocal sync, counted, counted_sync
        found = await world.get("/cluster/events/latest", lastSyncTime=sync)
        assert [one["time"] for one in found["events"]] == sorted(
            (one["time"] for one in found["events"]), reverse=True
        )
        seen.extend(one["id"] for one in reversed(found["events"]))
        sync = found["lastSyncTime"]
        summed = await world.get("/cluster/events/summary", lastSyncTime=counted_sync)
        counted += sum(summed["eventsCount"].values())
        counted_sync = summed["lastSyncTime"]

    async with anyio.create_task_group() as group:

        async def create(number: int) -> None:
            await world.create(f"T{number}", "echo")
            await world.in_state("STOPPED", f"T{number}")

        for number in range(4):
            group.start_soon(create, number)
        for _ in range(30):
            await poll()
    await poll()
    everything = [one["id"] for one in reversed(await world.get("/cluster/events"))]
    assert seen == everything
    assert len(set(seen)) == len(seen) == counted
    assert all(UUID(one).version == 4 for one in seen)
    assert await world.get("/cluster/events", lastSyncTime=sync) == []
    nothing = await world.get("/cluster/events/latest", lastSyncTime=sync)
    assert nothing == {"events": [], "lastSyncTime": sync}
    newest = await world.get("/cluster/events/latest", size=2)
    assert [one["id"] for one in newest["events"]] == everything[:-3:-1]
    assert (await world.get("/cluster/events/latest", size=0))["events"] == []


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["latest", "summary", ""])
async def test_times_are_checked(world: DroveWorld, path: str) -> None:
    """Not negative, and numbers."""
    for value in (-1, "x", 1 << 70):
        answer = await world.api.get(f"/cluster/events/{path}", params={"lastSyncTime": value})
        assert answer.status_code == 400
        problem = answer.json()["data"]["validationErrors"][0]
        assert problem.startswith("query param lastSyncTime ")


def test_events_are_bounded_by_number_and_age() -> None:
    """The oldest go first."""
    now = 1000
    events = Events(3, lambda: now)
    for number in range(5):
        events.add("X", {"n": number})
    assert [one.subject["n"] for one in events.newest(HERE, 0, None)] == [4, 3, 2]
    now += KEPT_MS + 1
    assert events.newest(HERE, 0, None) == []
    assert events.sync_time(7) == 7


def test_times_that_were_told_are_not_given_again() -> None:
    """Even within one millisecond, and if the clock is set back."""
    now = 1000
    events = Events(10, lambda: now)
    events.add("X", {})
    events.add("X", {})
    assert {one.time for one in events.newest(HERE, 0, None)} == {1000}
    assert events.sync_time(0) == 1000
    events.add("X", {})
    assert [one.time for one in events.newest(HERE, 1000, None)] == [1001]
    now = 500
    events.add("X", {})
    assert [one.time for one in events.newest(HERE, 1000, None)] == [1001, 1001]


def test_events_of_other_workspaces_are_left_out() -> None:
    """Those that concern everybody are not."""
    events = Events(10)
    events.add("A", {}, WorkspaceName("other"))
    events.add("B", {}, HERE)
    events.add("C", {})
    assert [one.type for one in events.newest(HERE, 0, None)] == ["C", "B"]
    assert events.counts(HERE, 0) == {"B": 1, "C": 1}
