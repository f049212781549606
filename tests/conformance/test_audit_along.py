"""What is told in the audit trail is stored in the same step, or not at all."""

from typing import Any

import pytest
from dispatching import W1
from function_records import function, version

from fakes.specs import NOW, WS, new_task
from taskyard.core.access.principals import INSTALLATION, AuditEntry
from taskyard.core.errors import IllegalTransition, NotFound
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import after
from taskyard.ports.functions import FunctionChange

pytestmark = pytest.mark.anyio


def entry(action: str, workspace: WorkspaceName = WS) -> AuditEntry:
    """One about something that is to be done."""
    return AuditEntry(0, NOW, "user root", workspace, action)


async def told(store: Any, workspace: WorkspaceName = WS) -> list[tuple[str, str | None]]:
    """Actions with their details, oldest first."""
    found = await store.access.audit(workspace, None, 100)
    return [(one.action, one.detail) for one in reversed(found)]


async def test_settings_are_told_as_they_are_then(store: Any) -> None:
    """Of groups, the workspace and the installation."""
    group = GroupName("g")
    await store.groups.set_group(WS, group, concurrency_limit=3, audit=entry("limit"))
    await store.groups.set_group(WS, group, paused=True, audit=entry("pause"))
    await store.groups.set_workspace_limit(WS, 7, entry("workspace"))
    assert await told(store) == [
        ("limit", "paused=False concurrency_limit=3"),
        ("pause", "paused=True concurrency_limit=3"),
        ("workspace", None),
    ]
    await store.maintenance.put(is_on=True, now=NOW, audit=entry("on", INSTALLATION))
    await store.dispatch.set_draining(W1.id, draining=True, audit=entry("drain", INSTALLATION))
    with pytest.raises(NotFound):
        await store.dispatch.set_draining(
            WorkerId("unknown"), draining=True, audit=entry("nobody", INSTALLATION)
        )
    assert await told(store, INSTALLATION) == [("on", None), ("drain", None)]


async def test_a_deletion_that_is_refused_is_not_told(store: Any) -> None:
    """All tasks of it, or none."""
    news = [new_task(), new_task()]
    await store.tasks.submit(news, None)
    await store.tasks.cancel(WS, [news[0].id], NOW, "me")
    ids = [new.id for new in news]
    with pytest.raises(IllegalTransition):
        await store.tasks.delete(WS, ids, NOW, [entry("one"), entry("two")])
    assert await told(store) == []
    await store.tasks.delete(WS, ids[:1], NOW, [entry("one")])
    assert await told(store) == [("one", None)]


async def test_changes_of_functions_are_told(store: Any) -> None:
    """With the number that a version got, and the name of what was deleted."""
    made = await store.functions.create(function())
    await store.functions.add_version(version(made), entry("deploy"))
    later = after(NOW, 1)
    await store.functions.change(WS, made.id, FunctionChange(paused=True), later, entry("pause"))
    await store.functions.set_deleted(WS, made.id, True, later, entry("delete"))
    with pytest.raises(NotFound):
        await store.functions.set_deleted(WS, FunctionId("no"), True, later, entry("nothing"))
    found = await store.access.audit(WS, None, 100)
    assert [(one.action, one.target, one.detail) for one in reversed(found)] == [
        ("deploy", None, "version 1"),
        ("pause", None, None),
        ("delete", made.name, None),
    ]
