"""The maintenance switch: who may turn it, what it remembers."""

from pathlib import Path

import pytest

from fakes.clock import VirtualClock
from fakes.stores import opened
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import WorkspaceName
from taskyard.services.access.audit import Audit
from taskyard.services.scheduling.administration import Maintenance
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio
HERE = WorkspaceName("default")


def audit_of(store: SqliteStore, clock: VirtualClock) -> Audit:
    """The audit trail in the same store."""
    return Audit(store.access, clock)


async def test_the_switch_is_durable(tmp_path: Path) -> None:
    """Turning it twice changes nothing, not even the time."""
    store = await opened(tmp_path)
    clock = VirtualClock()
    operator = Caller("token op", INSTALLATION, Role.READ, installation=Role.OPERATE)
    switch = Maintenance(store.maintenance, audit_of(store, clock), clock)
    assert not (await switch.state()).is_on
    first = await switch.set(operator, is_on=True)
    assert first.is_on
    clock.advance(5)
    assert await switch.set(operator, is_on=True) == first
    await store.close()
    store = await opened(tmp_path)
    again = Maintenance(store.maintenance, audit_of(store, clock), clock)
    assert await again.state() == first
    after = await again.set(operator, is_on=False)
    assert not after.is_on
    assert after.changed_at != first.changed_at
    await store.close()


async def test_only_operators_may_turn_it(tmp_path: Path) -> None:
    """Those of the installation; admins of workspaces change nothing."""
    store, clock = await opened(tmp_path), VirtualClock()
    switch = Maintenance(store.maintenance, audit_of(store, clock), clock)
    for role in Role:
        with pytest.raises(NotAllowed, match="concerns all workspaces"):
            await switch.set(Caller("user w", HERE, role), is_on=True)
    assert not (await switch.state()).is_on
    await store.close()
