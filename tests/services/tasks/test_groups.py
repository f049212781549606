"""Groups and the workspace: who may set what, and that it takes effect."""

from collections.abc import AsyncIterator

import pytest

from fakes.engine import CALLER, READER, STRANGER, World
from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import InvalidInput, NotAllowed
from taskyard.core.ids import GroupName

pytestmark = pytest.mark.anyio
MAIL = GroupName("mail")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Running services without a worker."""
    world = World()
    async with world.running():
        yield world


async def test_settings_change_one_by_one(world: World) -> None:
    """What is not given stays."""
    record = await world.groups.set(CALLER, MAIL, concurrency_limit=3)
    assert (record.paused, record.concurrency_limit) == (False, 3)
    record = await world.groups.set(CALLER, MAIL, paused=True)
    assert (record.paused, record.concurrency_limit) == (True, 3)
    record = await world.groups.set(CALLER, MAIL, clear_limit=True)
    assert (record.paused, record.concurrency_limit) == (True, None)
    assert [entry.action for entry in world.store.model.audit] == ["group.set"] * 3


async def test_groups_are_those_with_tasks_or_settings(world: World) -> None:
    """In order of name, each workspace its own."""
    await world.submit(group="b")
    await world.groups.set(CALLER, GroupName("a"), paused=True)
    await world.submit(STRANGER, group="c")
    page = await world.groups.page(CALLER, None, 10)
    assert [(group.name, group.counts) for group in page] == [("a", {}), ("b", {"queued": 1})]
    assert await world.groups.page(CALLER, "a", 1) == page[1:]
    unknown = await world.groups.get(CALLER, GroupName("never"))
    assert (unknown.paused, unknown.concurrency_limit, unknown.counts) == (False, None, {})


async def test_roles_are_needed(world: World) -> None:
    """Operate for groups, admin for the workspace."""
    operator = Caller("user op", CALLER.workspace, Role.OPERATE)
    writer = Caller("user w", CALLER.workspace, Role.WRITE)
    for caller in (READER, writer):
        with pytest.raises(NotAllowed):
            await world.groups.set(caller, MAIL, paused=True)
    await world.groups.set(operator, MAIL, paused=True)
    with pytest.raises(NotAllowed):
        await world.groups.set_workspace_limit(operator, 3)
    await world.groups.set_workspace_limit(CALLER, 3)
    assert await world.groups.workspace_limit(READER) == 3
    assert await world.groups.workspace_limit(STRANGER) is None


@pytest.mark.parametrize("limit", [0, -1, 1_000_001])
async def test_absurd_limits_are_refused(world: World, limit: int) -> None:
    """Nothing is stored."""
    with pytest.raises(InvalidInput):
        await world.groups.set(CALLER, MAIL, concurrency_limit=limit)
    with pytest.raises(InvalidInput):
        await world.groups.set_workspace_limit(CALLER, limit)
    assert (await world.groups.get(CALLER, MAIL)).concurrency_limit is None


async def test_another_workspaces_group_of_the_same_name_is_another(world: World) -> None:
    """Pausing mine does not pause theirs."""
    worker = await world.worker()
    await world.groups.set(CALLER, MAIL, paused=True)
    await world.submit(group="mail")
    theirs = await world.submit(STRANGER, group="mail")
    assert [one.task_id for one in worker.assigned] == [theirs.id]


@pytest.mark.parametrize("name", ["", "x" * 256])
async def test_a_group_needs_a_name(world: World, name: str) -> None:
    """Of 1 to 255 characters."""
    with pytest.raises(InvalidInput):
        await world.groups.set(CALLER, GroupName(name), paused=True)
