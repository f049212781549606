"""Who may do what over HTTP: credentials, roles, workspaces, tokens, users, secrets, audit."""

import base64

import pytest
from native_world import NativeWorld

from fakes.specs import NOW
from taskyard.core.ids import WorkspaceName

pytestmark = pytest.mark.anyio


async def test_wrong_or_missing_credentials_are_asked_for(world: NativeWorld) -> None:
    """401 with WWW-Authenticate, whatever is wrong with the credential."""
    headers = ["", "Bearer", "Bearer nope", "Basic ???", "Digest x", "Bearer " + "x" * 5000]
    for header in headers:
        answer = await world.nobody.get("/me", headers={"authorization": header})
        assert answer.status_code == 401, header
        assert "Bearer" in answer.headers["www-authenticate"]
        assert answer.json()["type"] == "about:blank#not-authenticated"
    assert (await world.nobody.get("/me")).status_code == 401


async def test_roles_are_kept(world: NativeWorld) -> None:
    """A reader reads, and is refused everything else with 403."""
    me = (await world.guest.get("/me")).json()
    assert me.pop("output_quota_bytes") > me.pop("output_bytes") == 0
    assert me == {"actor": "user guest", "workspace": "default", "role": "read"}
    task = await world.submit(start_in_s=99)
    path = f"/tasks/{task['id']}"
    assert (await world.guest.get(path)).status_code == 200
    refused = [
        await world.guest.post("/tasks", json={"command": "x"}),
        await world.guest.patch(path, json={"priority": 1}),
        await world.guest.delete(path),
        await world.guest.post(f"{path}/cancel"),
        await world.guest.post(f"{path}/retry"),
        await world.guest.post("/groups/g/pause"),
        await world.guest.patch("/workspace", json={"concurrency_limit": 1}),
        await world.guest.get("/tokens"),
        await world.guest.get("/users"),
        await world.guest.get("/secrets"),
        await world.guest.put("/secrets/x", json={"value": "v"}),
        await world.guest.get("/audit"),
        await world.guest.get("/webhooks/signing-key"),
    ]
    assert {answer.status_code for answer in refused} == {403}


async def test_token_works_until_it_is_revoked(world: NativeWorld) -> None:
    """Its text is shown once, and lets in with its role only."""
    made = await world.api.post("/tokens", json={"name": "ci", "role": "write"})
    assert made.status_code == 201
    token = made.json()
    assert made.headers["cache-control"] == "no-store"
    async with world.client(f"Bearer {token['token']}") as ci:
        assert (await ci.get("/me")).json()["actor"] == "token ci"
        assert (await ci.post("/tasks", json={"command": "echo x"})).status_code == 201
        assert (await ci.get("/tokens")).status_code == 403
        listed = (await world.api.get("/tokens")).json()["items"]
        assert [one["id"] for one in listed] == [token["id"]]
        assert "token" not in listed[0]
        assert (await world.api.delete(f"/tokens/{token['id']}")).status_code == 204
        assert (await ci.get("/me")).status_code == 401
    assert (await world.api.delete("/tokens/none")).status_code == 404


async def test_user_signs_in_with_a_password(world: NativeWorld) -> None:
    """Basic credentials; names are taken once."""
    user = {"name": "ada", "password": "long enough", "role": "operate"}
    assert (await world.api.post("/users", json=user)).status_code == 201
    assert (await world.api.post("/users", json=user)).status_code == 409
    pair = base64.b64encode(b"ada:long enough").decode()
    async with world.client(f"Basic {pair}") as ada:
        assert (await ada.get("/me")).json()["role"] == "operate"
        assert (await world.api.delete("/users/ada")).status_code == 204
        assert (await ada.get("/me")).status_code == 401
    short = await world.api.post("/users", json={**user, "password": "short"})
    assert short.json()["errors"][0]["field"] == "password"


async def test_secrets_are_listed_by_name_only(world: NativeWorld) -> None:
    """Put, listed, deleted; the value comes back nowhere."""
    assert (await world.api.put("/secrets/db", json={"value": "hunter2"})).status_code == 204
    listed = await world.api.get("/secrets")
    assert [one["name"] for one in listed.json()["items"]] == ["db"]
    assert "hunter2" not in listed.text
    assert (await world.api.delete("/secrets/db")).status_code == 204
    assert (await world.api.delete("/secrets/db")).status_code == 404


async def test_audit_trail_tells_of_writes_and_refusals(world: NativeWorld) -> None:
    """Newest first, in pages."""
    await world.api.put("/secrets/a", json={"value": "v"})
    await world.guest.put("/secrets/b", json={"value": "v"})
    page = (await world.api.get("/audit", params={"limit": 1})).json()
    assert page["items"][0]["outcome"] == "refused"
    rest = await world.api.get("/audit", params={"cursor": page["next_cursor"]})
    assert rest.json()["items"][0]["action"] == "secret.put"


async def test_groups_are_paused_limited_and_found_by_any_name(world: NativeWorld) -> None:
    """A name with slashes is one segment when they are encoded."""
    task = await world.submit(start_in_s=99, group="a/b c%")
    path = "/groups/a%2Fb%20c%25"
    assert (await world.api.get(path)).json()["counts"] == {"scheduled": 1}
    assert (await world.api.post(f"{path}/pause")).json()["paused"] is True
    limited = await world.api.patch(path, json={"concurrency_limit": 3})
    assert limited.json() == {
        "name": task["group"],
        "paused": True,
        "concurrency_limit": 3,
        "counts": {"scheduled": 1},
    }
    freed = await world.api.patch(path, json={"concurrency_limit": None, "paused": False})
    assert (freed.json()["concurrency_limit"], freed.json()["paused"]) == (None, False)
    listed = (await world.api.get("/groups")).json()
    assert [one["name"] for one in listed["items"]] == [task["group"]]
    assert (await world.api.patch(path, json={"concurrency_limit": 0})).status_code == 422


async def test_workspace_shows_and_takes_a_limit(world: NativeWorld) -> None:
    """Null takes the limit away."""
    answer = await world.api.patch("/workspace", json={"concurrency_limit": 5})
    assert answer.json() == {"name": "default", "concurrency_limit": 5, "counts": {}}
    await world.api.patch("/workspace", json={"concurrency_limit": None})
    assert (await world.guest.get("/workspace")).json()["concurrency_limit"] is None


async def test_workers_and_version_are_shown(world: NativeWorld) -> None:
    """Room in all and taken; that the server runs with well-known credentials."""
    task = await world.submit(command=["hang"], resources={"cpu": 1.5})
    await world.running(task["id"])
    (worker,) = (await world.guest.get("/workers")).json()["items"]
    assert worker["capacity"] == {"slots": 4, "cpu": 4.0, "memory_bytes": 8 << 30}
    assert worker["used"] == {"slots": 1, "cpu": 1.5, "memory_bytes": 0}
    version = (await world.guest.get("/version")).json()
    assert (version["api"], version["dev"]) == ("v1", True)


async def test_what_is_parked_is_shown_with_its_reason(world: NativeWorld) -> None:
    """To whoever may read in its workspace."""
    assert (await world.guest.get("/parked")).json() == {"items": []}
    now, store = NOW, world.store.parking
    await store.park("trigger", "s1", WorkspaceName("default"), "no zone", now)
    await store.park("trigger", "s2", WorkspaceName("other"), "no zone", now)
    (item,) = (await world.guest.get("/parked")).json()["items"]
    assert (item["kind"], item["id"], item["reason"]) == ("trigger", "s1", "no zone")
    assert item["since"] < item["retry_at"]


async def test_webhook_deliveries_can_be_looked_at_and_repeated(world: NativeWorld) -> None:
    """Pending deliveries of a task, alone and in pages; the signing key for admins."""
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["finished"]}
    task = await world.submit(command=["echo"], webhooks=[hook])
    await world.ended(task["id"])
    (delivery,) = (await world.api.get(f"/tasks/{task['id']}/webhooks")).json()["items"]
    assert (delivery["event"], delivery["url"]) == ("finished", hook["url"])
    path = f"/webhooks/deliveries/{delivery['id']}"
    assert (await world.guest.get(path)).json()["id"] == delivery["id"]
    assert (await world.guest.post(f"{path}/redeliver")).status_code == 403
    assert (await world.api.post(f"{path}/redeliver")).json()["state"] == "pending"
    pages = await world.api.get("/webhooks/deliveries", params={"state": "pending", "limit": 1})
    assert [one["id"] for one in pages.json()["items"]] == [delivery["id"]]
    assert (await world.api.get("/webhooks/signing-key")).json()["key"].startswith("whsec_")


async def test_workers_are_drained_by_operators(world: NativeWorld) -> None:
    """And let take tasks again; a reader is refused, an unknown one is not found."""
    drained = await world.api.post("/workers/w1/drain")
    assert (drained.status_code, drained.json()["state"]) == (200, "draining")
    listed = (await world.api.get("/workers")).json()["items"]
    assert [(one["state"], one["unavailable"]) for one in listed] == [("draining", {})]
    task = await world.submit()
    why = (await world.api.get(f"/tasks/{task['id']}/why")).json()
    assert (why["code"], why["summary"]) == (
        "draining",
        "no worker takes tasks now; draining: w1",
    )
    assert (await world.guest.delete("/workers/w1/drain")).status_code == 403
    assert (await world.api.post("/workers/w%2F9/drain")).status_code == 404
    ready = await world.api.delete("/workers/w1/drain")
    assert (ready.status_code, ready.json()["state"]) == (200, "ready")
    await world.ended(task["id"])


async def test_autoscalers_learn_how_many_workers_are_wanted(world: NativeWorld) -> None:
    """None from nothing; by tag what waits, and what runs; nothing of other groups."""
    nothing = {"group": "g", "waiting": 0, "running": 0, "wanted": 0, "tags": []}
    assert (await world.guest.get("/scaling?group=g")).json() == nothing
    runs = await world.submit(group="g", command=["hang"])
    await world.running(runs["id"])
    await world.api.post("/workers/w1/drain")
    gpu = {"type": "match_tag", "tag": "gpu"}
    for placement in (None, None, gpu):
        await world.submit(group="g", **({} if placement is None else {"placement": placement}))
    await world.submit(group="other")
    found = (await world.guest.get("/scaling?group=g&slots=2")).json()
    plain = {"tag": None, "waiting": 2, "running": 1, "wanted": 2}
    tagged = {"tag": "gpu", "waiting": 1, "running": 0, "wanted": 1}
    assert found == {"group": "g", "waiting": 3, "running": 1, "wanted": 3, "tags": [plain, tagged]}
    found = (await world.guest.get("/scaling?group=g&slots=2&tag=gpu")).json()
    assert (found["waiting"], found["wanted"], found["tags"]) == (1, 1, [tagged])
    await world.api.patch("/groups/g", json={"concurrency_limit": 1})
    assert (await world.guest.get("/scaling?group=g")).json()["wanted"] == 1
    await world.api.patch("/groups/g", json={"concurrency_limit": 2})
    assert (await world.guest.get("/scaling?group=g")).json()["wanted"] == 2
    await world.api.patch("/workspace", json={"concurrency_limit": 1})
    assert (await world.guest.get("/scaling?group=g")).json()["wanted"] == 1
    await world.api.patch("/groups/g", json={"concurrency_limit": None})
    await world.api.patch("/workspace", json={"concurrency_limit": None})
    await world.api.post("/groups/g/pause")
    assert (await world.guest.get("/scaling?group=g")).json()["wanted"] == 1
    for wrong in ("", "?group=", "?group=g&slots=0", "?group=g&more=1"):
        assert (await world.guest.get(f"/scaling{wrong}")).status_code == 400, wrong
    assert (await world.nobody.get("/scaling?group=g")).status_code == 401
