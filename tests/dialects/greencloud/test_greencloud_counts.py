"""What is counted: tasks that are not kept any more, and the quota, whatever issued a task."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from greencloud_world import Account, GreenCloudWorld, opened

from eventually import eventually_async

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
SAY = "def handle(event, context):\n    return 'said'\n"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine of our own, whose clock is moved."""
    async with opened(tmp_path_factory.mktemp("counts") / "data") as world:
        yield world


async def until_finished(account: Account, function: str, count: int) -> list[Any]:
    """The tasks of a function, once there are so many and all have finished."""

    async def look() -> list[Any]:
        found: list[Any] = await account.got(f"/v1/task/list?functionId={function}")
        return found

    return await eventually_async(
        look, lambda found: len(found) >= count and all(one["progress"] == 100 for one in found)
    )


async def test_counts_outlast_the_tasks(world: GreenCloudWorld) -> None:
    """What is removed was still issued today and completed; a month later it still is complete."""
    dev = world.dev
    function, other = await dev.deployed(SAY), await dev.deployed(SAY)
    endpoint = await dev.made(f"/v1/endpoint/{function}")
    await dev.called(other)
    for _ in range(3):
        await dev.called(function)
    public = (await world.nobody.http.post(f"{dev.http.base_url}gc/{endpoint}")).json()["id"]
    await dev.finished(public)

    async def metrics() -> list[Any]:
        shown = await dev.got(f"/v1/function/{function}")
        ours = await dev.got(f"/v1/endpoint/{endpoint}/metrics")
        found = await dev.got("/v1/metrics")
        return [shown["metrics"], ours, found["todayTasks"], found["completedTasks"]]

    before = await metrics()
    assert before[0] == {"todaysTasks": 4, "pendingTasks": 0, "weekTasks": 4, "completedTasks": 4}
    assert before[1:] == [{"todayTasks": 1, "pendingTasks": 0, "weekTasks": 1}, 5, 5]
    for task in (await world.native.got("/tasks?limit=5"))["items"][:2]:
        assert (await world.native.http.delete(f"/tasks/{task['id']}")).is_success
    assert len(await dev.got(f"/v1/task/list?functionId={function}")) == 2
    assert await metrics() == before
    world.clock.shift_s += 31 * DAY_S
    assert await world.yard.wired.prune.once()
    assert await dev.got("/v1/task/list") == []
    month_later = {"todaysTasks": 0, "pendingTasks": 0, "weekTasks": 0, "completedTasks": 4}
    assert await metrics() == [month_later, dict.fromkeys(before[1], 0), 0, 5]
    await dev.called(function)
    world.clock.shift_s += 31 * DAY_S
    assert await world.yard.wired.prune.once()
    assert (await metrics())[0]["completedTasks"] == 5


async def test_the_quota_counts_what_triggers_issue(world: GreenCloudWorld) -> None:
    """Two a month: a call and what follows it; then nothing follows and nothing is taken."""
    poor = world.poor
    first, following = await poor.deployed(SAY), await poor.deployed(SAY)
    body = {"functionId": first, "nextId": following, "includeResult": False}
    await poor.made("/v1/trigger", body)
    schedule = await poor.made(
        "/v1/scheduled", {"functionId": first, "cron": "30 * * * *", "timezone": "UTC"}
    )
    await poor.called(first)
    await until_finished(poor, following, 1)
    endpoint = await poor.made(f"/v1/endpoint/{first}")
    for path in (f"/gc/{endpoint}", f"/v1/task/{first}", f"/v1/scheduled/{schedule}/try"):
        refused = await poor.http.post(path)
        assert (refused.status_code, refused.json()["error"]) == (402, "NO_QUOTA_AVAILABLE")
    world.clock.move_to(12, 30)
    await world.fired()
    assert len(await until_finished(poor, first, 1)) == 1
    world.clock.shift_s += 31 * DAY_S
    world.clock.move_to(12, 30)
    await world.fired()
    assert len(await until_finished(poor, first, 2)) == 2
    assert len(await until_finished(poor, following, 2)) == 2
    assert (await poor.http.post(f"/v1/task/{first}")).status_code == 402
