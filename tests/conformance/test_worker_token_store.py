"""What every store of worker tokens promises."""

from typing import Any

import pytest
from dispatching import W1
from msgspec.structs import replace

from taskyard.core.access.principals import INSTALLATION, AuditEntry
from taskyard.core.access.worker_tokens import StoredWorkerToken, WorkerToken
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.ports.dispatching import JOINED

pytestmark = pytest.mark.anyio

NOW = Instant(1_700_000_000_000_000)
LATER = Instant(NOW + 10)
DIGEST, OTHER = b"d" * 32, b"e" * 32
TOKEN = WorkerToken(
    name="big-7",
    tags=("gpu", "größer"),
    created_at=NOW,
    created_by="token ci",
    expires_at=Instant(NOW + 5),
)


def entry(action: str = "test") -> AuditEntry:
    """An entry as a service makes it."""
    return AuditEntry(0, NOW, "token ci", INSTALLATION, action)


async def actions(store: Any) -> list[str]:
    """What the audit trail tells, oldest first."""
    return [one.action for one in reversed(await store.access.audit(INSTALLATION, None, 100))]


async def test_a_token_comes_back_as_it_was_stored(store: Any) -> None:
    """With its digest, and without what it has not got."""
    tokens = store.worker_tokens
    await tokens.add(TOKEN, DIGEST, NOW, entry())
    plain = replace(TOKEN, name="plain", tags=(), expires_at=None)
    await tokens.add(plain, OTHER, NOW, entry())
    assert await tokens.find("big-7") == StoredWorkerToken(TOKEN, DIGEST)
    assert await tokens.find("plain") == StoredWorkerToken(plain, OTHER)
    assert await tokens.find("none") is None


async def test_the_name_of_a_valid_token_is_taken(store: Any) -> None:
    """Nothing is changed, and nothing in the audit trail; one that is not valid is replaced."""
    tokens = store.worker_tokens
    await tokens.add(TOKEN, DIGEST, NOW, entry("first"))
    with pytest.raises(Conflict, match="big-7"):
        await tokens.add(TOKEN, OTHER, Instant(NOW + 4), entry("second"))
    assert (await tokens.find("big-7")).digest == DIGEST
    await tokens.seen("big-7", DIGEST, NOW)
    endless = replace(TOKEN, expires_at=None, tags=())
    await tokens.add(endless, OTHER, Instant(NOW + 5), entry("expired"))
    assert await tokens.find("big-7") == StoredWorkerToken(endless, OTHER)
    await tokens.revoke("big-7", LATER, entry("revoked"))
    await tokens.add(TOKEN, DIGEST, NOW, entry("again"))
    assert await tokens.find("big-7") == StoredWorkerToken(TOKEN, DIGEST)
    assert await actions(store) == ["first", "expired", "revoked", "again"]


async def test_revoking_is_final_and_recorded_once(store: Any) -> None:
    """The first time stays."""
    tokens = store.worker_tokens
    await tokens.add(TOKEN, DIGEST, NOW, entry("add"))
    with pytest.raises(NotFound):
        await tokens.revoke("other", NOW, entry("revoke"))
    revoked = await tokens.revoke("big-7", NOW, entry("revoke"))
    assert revoked == replace(TOKEN, revoked_at=NOW)
    assert await tokens.revoke("big-7", LATER, entry("revoke")) == revoked
    assert await actions(store) == ["add", "revoke"]


async def test_last_seen_never_goes_back(store: Any) -> None:
    """An unknown token, and one that was replaced meanwhile, is ignored."""
    tokens = store.worker_tokens
    await tokens.add(TOKEN, DIGEST, NOW, entry())
    await tokens.seen("other", DIGEST, NOW)
    await tokens.seen("big-7", OTHER, LATER)
    assert (await tokens.find("big-7")).token.last_seen_at is None
    await tokens.seen("big-7", DIGEST, LATER)
    await tokens.seen("big-7", DIGEST, NOW)
    assert (await tokens.find("big-7")).token.last_seen_at == LATER


async def test_tokens_are_paged_by_name(store: Any) -> None:
    """Revoked ones too."""
    tokens = store.worker_tokens
    for name in ("b", "a", "c-1", "c0"):
        await tokens.add(replace(TOKEN, name=name), DIGEST, NOW, entry())
    await tokens.revoke("b", NOW, entry())
    assert [one.name for one in await tokens.page(None, 2)] == ["a", "b"]
    assert [one.name for one in await tokens.page("b", 9)] == ["c-1", "c0"]


async def test_a_revoked_worker_has_no_lease(store: Any) -> None:
    """Whatever became of who revoked it; others of the same name are not meant."""
    joined = replace(W1, id=WorkerId("big-7"), incarnation=IncarnationId("j1"), plane_id=JOINED)
    inside = replace(W1, id=WorkerId("big-8"), incarnation=IncarnationId("j2"))
    lives = []
    for record in (joined, inside):
        await store.dispatch.join(record)
        await store.worker_tokens.add(replace(TOKEN, name=record.id), DIGEST, NOW, entry())
        lives.append((record.id, record.incarnation))
    assert await store.dispatch.renew(lives, NOW) == {joined.id, inside.id}
    await store.worker_tokens.revoke("big-7", NOW, entry())
    await store.worker_tokens.revoke("big-8", NOW, entry())
    assert await store.dispatch.renew(lives, NOW) == {inside.id}
