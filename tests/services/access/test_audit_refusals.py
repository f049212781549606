"""Refused attempts in the audit trail: gathered, bounded, never in the way of what was done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_world import ADMIN_A, A, B, World, template, world

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAllowed, NotAuthenticated, Unavailable
from taskyard.services.access.audit_refusals import KINDS_OF_ACTION

pytestmark = pytest.mark.anyio
LOW = Caller("token low", A, Role.READ, "192.0.2.9")
OPERATOR = Caller("token ops", INSTALLATION, Role.READ, installation=Role.READ)


@pytest.fixture(scope="module")
def template_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def at(template_path: Path, tmp_path: Path) -> AsyncIterator[World]:
    """An open store with its services."""
    async with world(template_path, tmp_path) as opened:
        yield opened


async def test_repeated_refusals_are_one_entry_a_minute(at: World) -> None:
    """The first is there at once, the others are counted; the next minute has its own entry."""
    for _ in range(1000):
        await at.audit.refused(LOW, "task.submit")
    (entry,) = await at.audit.page(ADMIN_A)
    assert (entry.outcome, entry.count) == ("refused", 1)
    at.clock.advance(60)
    await at.audit.refused(LOW, "task.submit")
    assert [one.count for one in await at.audit.page(ADMIN_A)] == [1, 1000]


async def test_counts_are_stored_when_the_service_ends(at: World) -> None:
    """Whoever ends it has them written."""
    for _ in range(3):
        await at.audit.refused(LOW, "task.submit")
    await at.audit.write_refusals()
    assert [one.count for one in await at.audit.page(ADMIN_A)] == [3]


async def test_a_flood_of_different_refusals_is_bounded(at: World) -> None:
    """What is beyond is one entry, and another workspace's are not touched by it."""
    for n in range(500):
        await at.audit.refused(LOW, "secret.put", f"name-{n}")
    await at.audit.refused(Caller("token x", B, Role.READ), "secret.put", "mine")
    await at.audit.write_refusals()
    entries = await at.audit.page(ADMIN_A, None, 500)
    assert len(entries) == KINDS_OF_ACTION + 1
    assert sum(one.count for one in entries) == 500
    assert (entries[0].actor, entries[0].count) == ("many", 500 - KINDS_OF_ACTION)
    assert [one.target for one in await at.store.audit(B, None, 10)] == ["mine"]


async def test_refusals_displace_no_writes(template_path: Path, tmp_path: Path) -> None:
    """They have a share of their own, and displace each other there."""
    async with world(template_path, tmp_path, audit_kept=100) as at:
        for n in range(90):
            await at.store.append(at.audit.entry(ADMIN_A, "secret.put", str(n)))
        for n in range(2000):
            await at.store.append(at.audit.entry(LOW, "x", str(n), outcome="refused"))
        entries = await at.store.audit(A, None, 5000)
    assert sum(one.outcome == "done" for one in entries) == 90
    refused = [one.target for one in entries if one.outcome == "refused"]
    assert refused[0] == "1999"
    assert len(refused) <= 10 + 64


async def test_a_store_that_refuses_does_not_change_the_answer(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not allowed is told that."""

    async def broken(entry: object) -> int:
        raise Unavailable(f"no disk for {entry}")

    monkeypatch.setattr(at.audit._refusals._store, "append", broken)
    with pytest.raises(NotAllowed):
        await at.secrets.put(LOW, "name", "value")


async def test_authentication_failures_are_recorded_where_they_belong(at: World) -> None:
    """Known tokens and users by name in their workspace; all else in the installation's trail."""
    token, text = await at.access.create_token(ADMIN_A, "ci", Role.WRITE)
    await at.access.add_user(ADMIN_A, "ann", "correct horse", Role.READ)
    wrong = f"ty_{token.id}_" + "x" * 43
    for attempt in (
        at.access.authenticate_token(wrong, "192.0.2.7"),
        at.access.authenticate_token("ty_aaaaaaaa_" + "x" * 43, "192.0.2.7"),
        at.access.authenticate_token("my password", "192.0.2.7"),
        at.access.authenticate_password("ann", "battery staple", "192.0.2.7"),
        at.access.authenticate_password("my password", "x" * 9, "192.0.2.7"),
    ):
        with pytest.raises(NotAuthenticated):
            await attempt
    await at.access.revoke_token(ADMIN_A, token.id)
    with pytest.raises(NotAuthenticated):
        await at.access.authenticate_token(text, "192.0.2.8")
    await at.audit.write_refusals()
    mine = [one for one in await at.audit.page(ADMIN_A) if one.outcome == "refused"]
    assert [(one.actor, one.action, one.target, one.detail) for one in mine] == [
        ("token ci", "token.authenticate", token.id, "was revoked"),
        ("user ann", "user.authenticate", "ann", "wrong password"),
        ("token ci", "token.authenticate", token.id, "wrong secret"),
    ]
    others = await at.audit.page(OPERATOR)
    assert {(one.actor, one.action, one.target) for one in others} == {
        ("anonymous", "authenticate", None)
    }
    assert {one.detail: one.count for one in others} == {"unknown token": 2, "unknown user": 1}
    trail = repr([*mine, *others])
    for secret in ("my password", "battery staple", wrong, text):
        assert secret not in trail
