"""The dialect on several control planes: each tells of what came to the others."""

import anyio
import pytest
from drove_world import DroveWorld

from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.drove import projection
from taskyard.dialects.drove.events import LOOK_BACK_MS, Event, Events
from taskyard.dialects.drove.projection import TaskProjection
from taskyard.dialects.drove.task_rows import ExecutorNames

HERE = WorkspaceName("default")
ME = Caller("user admin", HERE, Role.ADMIN)


class OtherPlane:
    """Hears all changes, and is asked to create nothing."""

    def __init__(self, world: DroveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = world.wired.engine
        monkeypatch.setattr(projection, "_OWN_S", 0.0)
        with monkeypatch.context() as patch:
            patch.setattr(engine.bus, "fed", True)
            self.events = Events(1000, is_shared=True)
            self.tasks = TaskProjection(engine, self.events, ExecutorNames(engine))

    async def told(self) -> list[tuple[str, str, str]]:
        """Which task came into which state, oldest first, with the ids of the events."""
        await self.tasks.catch_up(ME)
        found: list[Event] = self.events.newest(HERE, 0, None)
        return [(one.subject.name, one.state, self.events.id_of(one)) for one in reversed(found)]


@pytest.mark.anyio
async def test_tasks_of_others_are_told_of_alike(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every state once, under the same id, whether somebody looks before the end or after it."""
    early, late = OtherPlane(world, monkeypatch), OtherPlane(world, monkeypatch)
    await world.create("T1", "hang")
    assignment = await world.running("T1")
    assert [state for _, state, _ in await early.told()] == [
        "PENDING",
        "PROVISIONING",
        "STARTING",
        "RUNNING",
    ]
    (row,) = await early.tasks.active(ME)
    assert row.place is not None
    assert row.place.hostname == "host-w1"
    del assignment
    await world.kill("T1")
    await world.in_state("STOPPED", "T1")
    own = [one["CURRENT_STATE"] for one in await world.events()]
    seen = await early.told()
    assert [state for _, state, _ in seen] == own
    assert await late.told() == seen
    assert len({key for _, _, key in seen}) == len(seen)
    assert await early.tasks.active(ME) == await late.tasks.active(ME) == []


@pytest.mark.anyio
async def test_what_others_have_deleted_or_the_dialect_cannot_show_is_passed_over(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And kept no longer."""
    other = OtherPlane(world, monkeypatch)
    await world.create("T1", "echo")
    await world.in_state("STOPPED", "T1")
    await world.api.delete("/tasks/APP/instances/T1")
    with anyio.fail_after(10):
        assert await other.told() == []
    assert other.tasks._others == {}


def test_a_time_of_another_plane_reaches_back() -> None:
    """One that was told here is exact; others bring the last moments again."""
    now = 10_000
    events = Events(10, lambda: now, is_shared=True)
    events.add("X", {}, at_ms=9_000, key="a")
    assert events.sync_time(0) == 9_000
    events.add("X", {}, at_ms=8_000, key="b")
    assert [one.time for one in events.newest(HERE, 9_000, None)] == [9_001]
    assert [one.key for one in events.newest(HERE, 9_000 + LOOK_BACK_MS - 1, None)] == ["b", "a"]
    assert events.newest(HERE, 9_001 + LOOK_BACK_MS, None) == []
    assert events.id_of(events.newest(HERE, 0, 1)[0]) == Events(1).id_of(
        Event("X", 7, 1, None, {}, key="b")
    )
