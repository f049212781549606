"""What every store of tokens, users, secrets and the audit trail promises."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from fakes.stores import COMPLETE_STORES, opened, opened_as
from taskyard.core.access.principals import AuditEntry, Role, Token, User
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.access import (
    AuditStore,
    EncryptedValue,
    SecretRecord,
    SecretStore,
    StoredToken,
    StoredUser,
    TokenStore,
    UserStore,
)

pytestmark = pytest.mark.anyio

A, B = WorkspaceName("a"), WorkspaceName("b")
NOW = Instant(1_700_000_000_000_000)
KEPT = 100


class Access(TokenStore, UserStore, SecretStore, AuditStore, Protocol):
    """All ports of access."""


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Access]:
    """Every adapter, empty."""
    store: Any = await opened_as(request.param, tmp_path)
    yield store.access
    await store.close()


@pytest.fixture
async def short(tmp_path: Path) -> AsyncIterator[Access]:
    """One that keeps the newest 100 audit entries."""
    store = await opened(tmp_path, audit_kept=KEPT)
    yield store.access
    await store.close()


def entry(action: str = "test", workspace: WorkspaceName = A) -> AuditEntry:
    """An entry as a service makes it."""
    return AuditEntry(0, NOW, "user root", workspace, action, "target", address="192.0.2.1")


def token(token_id: str, workspace: WorkspaceName = A) -> Token:
    """A valid token."""
    return Token(token_id, "ci", workspace, Role.WRITE, NOW, expires_at=Instant(NOW + 5))


async def actions(store: Access, workspace: WorkspaceName = A) -> list[str]:
    """What the audit trail tells, oldest first."""
    return [one.action for one in reversed(await store.audit(workspace, None, 1000))]


async def test_a_token_comes_back_as_it_was_stored(store: Access) -> None:
    """Found by its id from any workspace."""
    await store.add_token(token("t1"), b"d" * 32, entry())
    assert await store.find_token("t1") == StoredToken(token("t1"), b"d" * 32)
    assert await store.find_token("t2") is None


async def test_a_taken_token_id_is_a_conflict_and_changes_nothing(
    store: Access,
) -> None:
    """Neither the token nor its audit entry is written, and others in the batch are."""
    await store.add_token(token("t1"), b"d" * 32, entry("first"))
    outcomes = await asyncio.gather(
        store.add_token(token("t1", B), b"e" * 32, entry("second")),
        store.add_token(token("t2"), b"f" * 32, entry("third")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Conflict)
    assert outcomes[1] is None
    assert await store.find_token("t1") == StoredToken(token("t1"), b"d" * 32)
    assert await actions(store) == ["first", "third"]


async def test_tokens_are_paged_by_workspace(store: Access) -> None:
    """In order of id, without those of others."""
    for name, workspace in (("t3", A), ("t1", A), ("t2", B), ("t4", A)):
        await store.add_token(token(name, workspace), b"d" * 32, entry())
    assert [one.id for one in await store.tokens(A, None, 2)] == ["t1", "t3"]
    assert [one.id for one in await store.tokens(A, "t3", 2)] == ["t4"]


async def test_revoking_is_final_and_stays_in_the_workspace(store: Access) -> None:
    """The first time stays and is recorded once; someone else's token is an unknown one."""
    await store.add_token(token("t1"), b"d" * 32, entry("add"))
    with pytest.raises(NotFound):
        await store.revoke_token(B, "t1", NOW, entry("revoke"))
    with pytest.raises(NotFound):
        await store.revoke_token(A, "t2", NOW, entry("revoke"))
    revoked = await store.revoke_token(A, "t1", NOW, entry("revoke"))
    assert revoked.revoked_at == NOW
    assert await store.revoke_token(A, "t1", Instant(NOW + 1), entry("revoke")) == revoked
    assert await actions(store) == ["add", "revoke"]


async def test_last_use_never_goes_back(store: Access) -> None:
    """And an unknown token is ignored."""
    await store.add_token(token("t1"), b"d" * 32, entry())
    await store.note_uses({"t1": Instant(NOW + 10), "gone": NOW})
    await store.note_uses({"t1": NOW})
    await store.note_uses({})
    found = await store.find_token("t1")
    assert found is not None
    assert found.token.last_used_at == NOW + 10


async def test_users_are_stored_paged_changed_and_removed(store: Access) -> None:
    """By name, which is unique across workspaces."""
    ann, bob = User("ann", A, Role.READ, NOW), User("bob", B, Role.ADMIN, NOW)
    await store.add_user(ann, "hash", entry("add"))
    await store.add_user(bob, "hash", entry("add", B))
    with pytest.raises(Conflict):
        await store.add_user(User("ann", B, Role.READ, NOW), "other", entry("add", B))
    assert await store.find_user("ann") == StoredUser(ann, "hash")
    assert await store.users(A, None, 10) == [ann]
    assert await store.users(A, "ann", 10) == []
    await store.set_password(A, "ann", "new", entry("password"))
    assert await store.find_user("ann") == StoredUser(ann, "new")
    for workspace in (B, WorkspaceName("c")):
        with pytest.raises(NotFound):
            await store.set_password(workspace, "ann", "stolen", entry("no"))
        with pytest.raises(NotFound):
            await store.remove_user(workspace, "ann", entry("no"))
    await store.remove_user(A, "ann", entry("remove"))
    assert await store.find_user("ann") is None
    assert await actions(store) == ["add", "password", "remove"]


async def test_secrets_are_replaced_listed_and_deleted(store: Access) -> None:
    """By workspace and name; the creation time stays when the value changes."""
    assert await store.sample() is None
    assert await store.put_secret(A, "s", b"one", NOW, entry("put"))
    assert not await store.put_secret(A, "s", b"two", Instant(NOW + 1), entry("put"))
    assert await store.put_secret(B, "s", b"theirs", NOW, entry("put", B))
    assert await store.secrets(A, None, 10) == [SecretRecord("s", NOW, Instant(NOW + 1))]
    assert await store.sealed(A, ["s", "unknown"]) == {"s": b"two"}
    sample = await store.sample()
    assert sample in [
        EncryptedValue("secret", A, "s", b"two"),
        EncryptedValue("secret", B, "s", b"theirs"),
    ]
    await store.delete_secret(A, "s", entry("delete"))
    with pytest.raises(NotFound):
        await store.delete_secret(A, "s", entry("delete"))
    assert await store.sealed(B, ["s"]) == {"s": b"theirs"}
    assert await actions(store) == ["put", "put", "delete"]


async def test_the_audit_trail_is_paged_newest_first(store: Access) -> None:
    """By workspace; the store gives the numbers."""
    for n in range(5):
        await store.append(entry(f"a{n}"))
        await store.append(entry(f"b{n}", B))
    page = await store.audit(A, None, 2)
    assert [one.action for one in page] == ["a4", "a3"]
    assert page[0].number > page[1].number
    rest = await store.audit(A, page[1].number, 10)
    assert [one.action for one in rest] == ["a2", "a1", "a0"]
    assert rest[0] == AuditEntry(
        rest[0].number, NOW, "user root", A, "a2", "target", address="192.0.2.1"
    )


async def test_old_audit_entries_are_dropped_for_each_workspace_alone(
    short: Access,
) -> None:
    """About the newest 100 stay here; a busy workspace drops nothing of a quiet one."""
    await short.append(entry("quiet", B))
    await asyncio.gather(*(short.append(entry(f"a{n}")) for n in range(300)))
    kept = await actions(short)
    assert KEPT <= len(kept) < KEPT + 64
    assert kept[-1] == "a299"
    assert await actions(short, B) == ["quiet"]


async def test_refused_attempts_displace_each_other_only(short: Access) -> None:
    """However many there are: a tenth of what is kept besides, and nothing of what was done."""
    for n in range(20):
        await short.append(entry(f"done{n}"))
    refused = replace(entry("refused"), outcome="refused")
    await asyncio.gather(*(short.append(refused) for _ in range(300)))
    kept = await short.audit(A, None, 1000)
    assert [one.action for one in kept if one.outcome == "done"] == [
        f"done{n}" for n in reversed(range(20))
    ]
    share = KEPT // 10
    assert share <= sum(one.outcome == "refused" for one in kept) < share + 64


async def test_attempts_are_counted_on_their_entry(store: Access) -> None:
    """More are added to those before; an unknown number is ignored."""
    first = await store.append(entry("first"))
    second = await store.append(entry("second"))
    await store.recount({first: 3, 10**9: 5})
    await store.recount({first: 2, second: 1})
    await store.recount({})
    counts = {one.action: one.count for one in await store.audit(A, None, 10)}
    assert counts == {"first": 6, "second": 2}


async def test_users_and_secrets_are_paged_in_order(store: Access) -> None:
    """Behind a name, as many as asked for, without those of others."""
    for name in ("c", "a", "d", "b"):
        await store.add_user(User(name, A, Role.READ, NOW), "hash", entry())
        await store.put_secret(A, name, b"x", NOW, entry())
    await store.add_user(User("aa", B, Role.READ, NOW), "hash", entry(workspace=B))
    await store.put_secret(B, "aa", b"x", NOW, entry(workspace=B))
    assert [one.name for one in await store.users(A, None, 2)] == ["a", "b"]
    assert [one.name for one in await store.users(A, "b", 9)] == ["c", "d"]
    assert [one.name for one in await store.secrets(A, None, 2)] == ["a", "b"]
    assert [one.name for one in await store.secrets(A, "b", 9)] == ["c", "d"]
