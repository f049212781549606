"""What every group store promises, on every adapter."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.ports.workspaces import GroupRecord

pytestmark = pytest.mark.anyio
OTHER = WorkspaceName("other")
MAIL = GroupName("mail")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind."""
    store: Any = await opened_as(request.param, tmp_path)
    yield store
    await store.close()


async def test_a_group_never_heard_of_has_defaults(store: Any) -> None:
    """Looking at it does not make it."""
    assert await store.groups.group(WS, MAIL) == GroupRecord(MAIL, WS)
    assert await store.groups.groups(WS, None, 10) == []


async def test_settings_are_kept_one_by_one(store: Any) -> None:
    """What is not given stays; a limit is cleared by saying so."""
    record = await store.groups.set_group(WS, MAIL, paused=True)
    assert (record.paused, record.concurrency_limit) == (True, None)
    record = await store.groups.set_group(WS, MAIL, concurrency_limit=3)
    assert (record.paused, record.concurrency_limit) == (True, 3)
    record = await store.groups.set_group(WS, MAIL, paused=False)
    assert (record.paused, record.concurrency_limit) == (False, 3)
    record = await store.groups.set_group(WS, MAIL, clear_limit=True)
    assert (record.paused, record.concurrency_limit) == (False, None)
    assert await store.groups.group(OTHER, MAIL) == GroupRecord(MAIL, OTHER)


async def test_groups_come_in_order_with_their_counts(store: Any) -> None:
    """Those with a task or a setting; a group whose tasks are gone is gone."""
    news = [new_task(group=name) for name in ("b", "b", "d", "ü")]
    await store.tasks.submit([*news, new_task(workspace="other", group="c")], None)
    await store.tasks.cancel(WS, [news[0].id, news[2].id], NOW, "me")
    await store.groups.set_group(WS, GroupName("a"), paused=True)
    page = await store.groups.groups(WS, None, 10)
    assert [(one.name, one.counts) for one in page] == [
        ("a", {}),
        ("b", {"queued": 1, "cancelled": 1}),
        ("d", {"cancelled": 1}),
        ("ü", {"queued": 1}),
    ]
    assert await store.groups.groups(WS, "a", 2) == page[1:3]
    await store.tasks.delete(WS, [news[2].id], NOW)
    assert [one.name for one in await store.groups.groups(WS, None, 10)] == ["a", "b", "ü"]


async def test_all_limits_are_told_at_once(store: Any) -> None:
    """Of all workspaces; groups only if paused or limited."""
    await store.groups.set_workspace_limit(WS, 5)
    await store.groups.set_workspace_limit(OTHER, 7)
    await store.groups.set_workspace_limit(OTHER, None)
    await store.groups.set_group(WS, MAIL, concurrency_limit=2)
    await store.groups.set_group(OTHER, MAIL, paused=True)
    await store.groups.set_group(WS, GroupName("x"), paused=False)
    limits, groups = await store.groups.limits()
    assert limits == {WS: 5}
    assert {(one.workspace, one.name, one.paused, one.concurrency_limit) for one in groups} == {
        (WS, MAIL, False, 2),
        (OTHER, MAIL, True, None),
    }
