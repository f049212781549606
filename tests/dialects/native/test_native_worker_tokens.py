"""Credentials of workers on other machines over HTTP."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from native_world import NativeWorld

from taskyard.core.access.join_string import JoinAddress, JoinString, join_string
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAuthenticated
from taskyard.core.ids import IncarnationId
from taskyard.services.access.accounts import LOCAL

pytestmark = pytest.mark.anyio

ADDRESS = JoinAddress(("tls://10.0.0.1:4222",), "3f2a", "PEM")
WHO = Caller("worker", INSTALLATION, Role.READ, "192.0.2.1")


@pytest.fixture
async def root(world: NativeWorld) -> AsyncIterator[httpx2.AsyncClient]:
    """An admin of the installation."""
    world.wired.engine.worker_tokens.address = ADDRESS
    here = Caller(LOCAL, INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
    _, text = await world.wired.engine.access.create_token(here, "root", Role.ADMIN, INSTALLATION)
    async with world.client(f"Bearer {text}") as client:
        yield client


async def created(root: httpx2.AsyncClient, **wanted: object) -> JoinString:
    """A new credential."""
    made = await root.post("/worker-tokens", json={"name": "big-7", **wanted})
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    return join_string(made.json()["join"])


async def test_a_join_string_is_shown_once(world: NativeWorld, root: httpx2.AsyncClient) -> None:
    """It names where to connect to; lists, the audit trail and the store have no secret."""
    join = await created(root, tags=["gpu", "gpu", "ssd"], expires_in_s=60)
    assert (join.urls, join.installation, join.ca_pem) == (ADDRESS.urls, "3f2a", "PEM")
    assert (join.name, join.tags) == ("big-7", ("gpu", "ssd"))
    assert len(join.secret) >= 43
    listed = await root.get("/worker-tokens")
    (item,) = listed.json()["items"]
    assert (item["name"], item["tags"], item["revoked_at"]) == ("big-7", ["gpu", "ssd"], None)
    assert item["expires_at"] is not None
    trail = await world.wired.engine.audit.page(
        Caller("local", INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
    )
    assert [one.action for one in trail] == ["worker_token.create", "token.create"]
    assert join.secret not in f"{listed.text}{trail}"
    found = await world.store.worker_tokens.find("big-7")
    assert found is not None
    assert join.secret.encode() not in found.digest
    assert (await root.post("/worker-tokens", json={"name": "big-7"})).status_code == 409


async def test_only_admins_of_the_installation_deal_with_them(
    world: NativeWorld, root: httpx2.AsyncClient
) -> None:
    """Everybody else is refused, with an entry in the audit trail."""
    await created(root)
    made = await world.api.post("/tokens", json={"name": "ci", "role": "admin"})
    async with world.client(f"Bearer {made.json()['token']}") as ci:
        for client in (world.guest, ci):
            refused = [
                await client.get("/worker-tokens"),
                await client.post("/worker-tokens", json={"name": "x"}),
                await client.delete("/worker-tokens/big-7"),
            ]
            assert {answer.status_code for answer in refused} == {403}
    trail = (await world.api.get("/audit", params={"limit": 50})).json()["items"]
    kinds = {one["action"] for one in trail if one["outcome"] == "refused"}
    assert {"worker_token.create", "worker_token.revoke"} <= kinds
    await world.wired.engine.worker_tokens.valid("big-7")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": "Big"}, "name"),
        ({"name": "a.b"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "local"}, "name"),
        ({"name": "a", "tags": [""]}, "tags"),
        ({"name": "a", "tags": ["a\nb"]}, "tags"),
        ({"name": "a", "tags": ["x"] * 65}, "tags"),
        ({"name": "a", "expires_in_s": 0}, "expires_in_s"),
    ],
)
async def test_what_breaks_a_rule_is_refused(
    world: NativeWorld, root: httpx2.AsyncClient, wanted: dict[str, object], field: str
) -> None:
    """With the member's name."""
    del world
    answer = await root.post("/worker-tokens", json=wanted)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"].startswith(field)


async def test_conflicts_are_told(world: NativeWorld, root: httpx2.AsyncClient) -> None:
    """A worker inside a control plane has the name; there is no NATS to join over."""
    world.wired.engine.worker_tokens.address = None
    without = await root.post("/worker-tokens", json={"name": "big-7"})
    assert without.status_code == 409
    assert "--cluster" in without.text
    world.wired.engine.worker_tokens.address = ADDRESS
    taken = await root.post("/worker-tokens", json={"name": "w1"})
    assert taken.status_code == 409
    assert "inside a control plane" in taken.text


async def test_a_secret_is_proven_until_it_is_revoked(
    world: NativeWorld, root: httpx2.AsyncClient
) -> None:
    """Wrong names and secrets are told alike, and all refusals are audited."""
    join = await created(root)
    tokens = world.wired.engine.worker_tokens
    assert (await tokens.authenticate(WHO, "big-7", join.secret)).name == "big-7"
    (item,) = (await root.get("/worker-tokens")).json()["items"]
    assert item["last_seen_at"] is not None
    said = set()
    for name, secret in (
        ("big-7", "x"),
        ("big-8", join.secret),
        ("../x\0", ""),
        ("big-7", "\ud800"),
    ):
        with pytest.raises(NotAuthenticated) as refused:
            await tokens.authenticate(WHO, name, secret)
        said.add(str(refused.value))
    assert len(said) == 1
    assert (await root.delete("/worker-tokens/big-7")).status_code == 204
    assert (await root.delete("/worker-tokens/big-8")).status_code == 404
    with pytest.raises(NotAuthenticated, match="revoked"):
        await tokens.authenticate(WHO, "big-7", join.secret)
    with pytest.raises(NotAuthenticated, match="revoked"):
        await tokens.valid("big-7")
    admin = Caller("local", INSTALLATION, Role.ADMIN, installation=Role.ADMIN)
    trail = await world.wired.engine.audit.page(admin)
    refusals = {one.target for one in trail if one.action == "worker.connect"}
    assert {"big-7", "big-8"} <= refusals
    assert all(one.address == "192.0.2.1" for one in trail if one.action == "worker.connect")


async def test_an_expired_one_is_refused(world: NativeWorld, root: httpx2.AsyncClient) -> None:
    """And its name is free again."""
    join = await created(root, expires_in_s=1)
    tokens = world.wired.engine.worker_tokens
    clock = world.wired.engine.clock
    while clock.now() < (join.expires_at or 0):
        await clock.sleep(0.05)
    with pytest.raises(NotAuthenticated, match="expired"):
        await tokens.authenticate(WHO, "big-7", join.secret)
    assert (await created(root)).secret != join.secret


async def test_revoking_fences_and_cuts_off(world: NativeWorld, root: httpx2.AsyncClient) -> None:
    """What its worker ran is somebody else's, and NATS lets go of it."""
    kicked = []
    tokens = world.wired.engine.worker_tokens

    async def kick(name: str) -> None:
        kicked.append(name)

    tokens.kick = kick
    await created(root)
    task = await world.submit(command=["hang"])
    await world.running(task["id"])
    # As if it were the joined worker's.
    record = next(iter(await world.store.dispatch.workers()))
    assert record.incarnation == IncarnationId("i1")
    await tokens.fence(record.id)
    (fenced,) = await world.store.dispatch.workers()
    assert fenced.state == "lost"
    (attempt, *_) = (await world.api.get(f"/tasks/{task['id']}/attempts")).json()["items"]
    assert attempt["state"] == "lost"
    assert (await root.delete("/worker-tokens/big-7")).status_code == 204
    assert kicked == ["big-7"]
