"""Tasks over HTTP."""

import anyio
import httpx2
import pytest
from anyio.lowlevel import checkpoint
from native_world import NativeWorld

from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.dialects.http.shares import Shares
from taskyard.dialects.native.answers_tasks import task_answers
from taskyard.ports.store import TaskPage

pytestmark = pytest.mark.anyio


async def test_submitted_task_is_answered_with_everything_it_was_given(
    world: NativeWorld,
) -> None:
    """201 with the task, its defaults, its location."""
    sent = {
        "command": ["echo", "hello"],
        "env": {"TZ": "UTC", "DB_PASSWORD": "hunter2", "KEY": {"secret": "k"}},
        "cwd": "/srv",
        "stdin": "in",
        "group": "reports/daily",
        "name": "monthly",
        "priority": 7,
        "resources": {"cpu": 0.5, "memory": "512MiB", "pids": 64},
        "timeout_s": 600,
        "kill": {"signal": "SIGINT", "grace_s": 3},
        "retry": {"max_attempts": 3, "factor": 3},
        "start_at": "2126-12-01T08:00:00+01:00",
        "expires_at": "2126-12-02T00:00:00Z",
        "labels": {"team": "x"},
        "metadata": {"any": [1, 1.5, None, {"x": "é"}]},
        "log_limit": "1k",
        "webhooks": [{"url": "https://app.example/", "headers": {"X-Api-Key": "s", "X-App": "1"}}],
    }
    answer = await world.api.post("/tasks", json=sent)
    assert answer.status_code == 201
    task = answer.json()
    assert answer.headers["location"] == f"/api/v1/tasks/{task['id']}"
    assert task["env"] == {"TZ": "UTC", "DB_PASSWORD": "***", "KEY": "***"} or task["env"] == {
        "TZ": "UTC",
        "DB_PASSWORD": "***",
        "KEY": {"secret": "k"},
    }
    assert task["state"] == "scheduled"
    assert task["start_at"] == "2126-12-01T07:00:00.000000Z"
    assert task["resources"] == {"cpu": 0.5, "memory": 512 << 20, "pids": 64, "cores": None}
    assert task["kill"] == {"signal": "SIGINT", "grace_s": 3.0}
    assert task["retry"]["max_attempts"] == 3
    assert task["retry"]["backoff_max_s"] == 3600
    assert task["log_limit"] == 1000
    assert task["metadata"] == sent["metadata"]
    assert task["webhooks"][0]["headers"] == {"X-Api-Key": "***", "X-App": "1"}
    assert task["webhooks"][0]["events"] == ["finished"]
    # What is given on standard input is often a password, and never shown.
    assert task["stdin"] == "***"
    for name in ("command", "cwd", "group", "name", "priority", "labels", "timeout_s"):
        assert task[name] == sent[name]
    assert task["placement"] is None
    again = (await world.api.get(f"/tasks/{task['id']}")).json()
    assert again == task


async def test_cores_and_placement_are_asked_for(world: NativeWorld) -> None:
    """A task gets cores to itself where its policy lets it go; another one says why it waits."""
    rule = {"type": "rule", "rule": 'worker == "w1"'}
    policy = {"type": "composite", "policies": [rule, {"type": "max_per_host", "max": 2}]}
    task = await world.submit(resources={"cores": 2}, placement=policy)
    assert task["resources"]["cores"] == 2
    assert task["placement"] == {**policy, "combiner": "and"}
    await world.ended(task["id"])
    attempts = (await world.api.get(f"/tasks/{task['id']}/attempts")).json()
    assert attempts["items"][0]["cores"] == [4, 5]
    waits = await world.submit(placement={"type": "match_tag", "tag": "gpu"})
    why = (await world.api.get(f"/tasks/{waits['id']}/why")).json()
    assert why["code"] == "placement"
    assert why["summary"] == "no worker satisfies its placement policy: w1 has no tag 'gpu'"


async def test_task_runs_and_shows_its_exit_code(world: NativeWorld) -> None:
    """From submit to the end, with attempts, events and the reason."""
    task = await world.submit(command="fail now")
    ended = await world.ended(task["id"])
    assert (ended["state"], ended["exit_code"], ended["reason"]) == ("failed", 3, "exit_code")
    attempts = (await world.api.get(f"/tasks/{task['id']}/attempts")).json()["items"]
    assert [one["state"] for one in attempts] == ["failed"]
    assert "lease_token" not in attempts[0]
    events = (await world.api.get(f"/tasks/{task['id']}/events", params={"limit": 2})).json()
    assert [one["number"] for one in events["items"]] == [1, 2]
    rest = await world.api.get(
        f"/tasks/{task['id']}/events", params={"cursor": events["next_cursor"]}
    )
    assert rest.json()["items"][0]["number"] == 3
    why = (await world.api.get(f"/tasks/{task['id']}/why")).json()
    assert why["code"] == "ended"
    assert why["story"]


async def test_known_idempotency_key_answers_with_the_first_task(world: NativeWorld) -> None:
    """200 and the same id, whatever else the second submit says."""
    first = await world.submit(idempotency_key="k")
    second = await world.api.post("/tasks", json={"command": "other", "idempotency_key": "k"})
    assert second.status_code == 200
    assert second.json()["id"] == first["id"]


async def test_pages_go_through_all_tasks_in_order(world: NativeWorld) -> None:
    """Cursors lose and repeat nothing, newest first and oldest first."""
    ids = [(await world.submit(start_in_s=1000))["id"] for _ in range(5)]
    for order, wanted in (("oldest", ids), ("newest", ids[::-1])):
        seen: list[str] = []
        params: dict[str, str | int] = {"limit": 2, "order": order}
        while True:
            page = (await world.api.get("/tasks", params=params)).json()
            seen += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert seen == wanted


async def test_filters_narrow_a_page(world: NativeWorld) -> None:
    """State, group, labels, text and time."""
    one = await world.submit(start_in_s=99, group="g1", labels={"a": "1", "b": "2"}, name="Needle")
    await world.submit(start_in_s=99, group="g2", labels={"a": "1"})

    async def ids(params: httpx2.QueryParams | str) -> list[str]:
        answer = await world.api.get(f"/tasks?{params}")
        assert answer.status_code == 200, answer.text
        return [task["id"] for task in answer.json()["items"]]

    assert await ids("group=g1") == [one["id"]]
    assert await ids("label=a:1&label=b:2") == [one["id"]]
    assert len(await ids("label=a:1&state=scheduled&state=queued")) == 2
    assert await ids("text=needle") == [one["id"]]
    assert await ids("state=succeeded") == []
    assert len(await ids("created_after=2020-01-01T00:00:00Z")) == 2
    assert await ids("created_before=2020-01-01T00:00:00Z") == []
    counts = (await world.api.get("/tasks/counts", params={"group": "g1"})).json()
    assert counts == {"counts": {"scheduled": 1}}


async def test_batch_is_stored_in_order_or_not_at_all(world: NativeWorld) -> None:
    """201 with one item each; a bad member refuses all and says which."""
    tasks = [{"command": ["x"], "start_in_s": 99, "name": str(n)} for n in range(3)]
    answer = await world.api.post("/tasks/batch", json={"tasks": tasks})
    assert answer.status_code == 201
    assert [one["created"] for one in answer.json()["items"]] == [True] * 3
    tasks[1] = {"command": ["x"], "cron": "nonsense for a cron rule"}
    refused = await world.api.post("/tasks/batch", json={"tasks": tasks})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "tasks.1.cron"
    assert (await world.api.get("/tasks/counts")).json() == {"counts": {"scheduled": 3}}


async def test_waiting_task_can_be_changed(world: NativeWorld) -> None:
    """Priority, start and schedule; an ended one cannot."""
    task = await world.submit(start_in_s=1000)
    path = f"/tasks/{task['id']}"
    changed = await world.api.patch(path, json={"priority": 5, "start_in_s": 2000})
    assert changed.status_code == 200, changed.text
    assert changed.json()["priority"] == 5
    assert changed.json()["start_at"] > task["start_at"]
    recurring = await world.submit(cron="0 0 1 1 *")
    answer = await world.api.patch(
        f"/tasks/{recurring['id']}", json={"cron": "0 8 * * *", "timezone": "Europe/Berlin"}
    )
    assert answer.json()["cron"] == "0 8 * * *"
    done = await world.ended((await world.submit())["id"])
    assert (await world.api.patch(f"/tasks/{done['id']}", json={"priority": 1})).status_code == 409
    assert (await world.api.patch(path, json={})).status_code == 422


async def test_cancel_of_a_running_task_can_wait_for_the_proof(world: NativeWorld) -> None:
    """202 with the outcome at once, 200 with the ended task when asked to wait."""
    waiting = await world.submit(start_in_s=1000)
    answer = await world.api.post(f"/tasks/{waiting['id']}/cancel")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "cancelled")
    again = await world.api.post(f"/tasks/{waiting['id']}/cancel", json={"grace_s": 1})
    assert again.json()["outcome"] == "ended"
    task = await world.submit(command=["hang"])
    await world.running(task["id"])
    killed = await world.api.post(f"/tasks/{task['id']}/cancel", params={"wait": 10})
    assert (killed.status_code, killed.json()["state"]) == (200, "cancelled")
    unknown = await world.api.post("/tasks/0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59/cancel")
    assert unknown.status_code == 404


async def test_many_are_cancelled_by_id_or_by_group(world: NativeWorld) -> None:
    """One outcome each; either ids or group."""
    ids = [(await world.submit(start_in_s=99, group="g"))["id"] for _ in range(3)]
    some = await world.api.post("/tasks/cancel", json={"ids": [ids[0], "nothing"]})
    assert [one["outcome"] for one in some.json()["items"]] == ["cancelled", "unknown"]
    rest = await world.api.post("/tasks/cancel", json={"group": "g"})
    assert sorted(one["task_id"] for one in rest.json()["items"]) == sorted(ids[1:])
    assert (await world.api.post("/tasks/cancel", json={})).status_code == 422


async def test_retry_submits_anew_and_delete_removes(world: NativeWorld) -> None:
    """A failed task leads to a new one that names it; an ended one can be removed."""
    failed = await world.ended((await world.submit(command=["fail"]))["id"])
    retried = await world.api.post(f"/tasks/{failed['id']}/retry")
    assert retried.status_code == 201
    assert retried.json()["retry_of"] == failed["id"]
    good = await world.ended((await world.submit())["id"])
    assert (await world.api.post(f"/tasks/{good['id']}/retry")).status_code == 409
    removed = await world.api.delete(f"/tasks/{good['id']}")
    assert (removed.status_code, removed.content) == (204, b"")
    assert (await world.api.get(f"/tasks/{good['id']}")).status_code == 404
    hanging = await world.submit(command=["hang"])
    assert (await world.api.delete(f"/tasks/{hanging['id']}")).status_code == 409


async def test_requests_that_wait_have_a_share(world: NativeWorld) -> None:
    """One too many is told so; a kill is not kept from happening, and answers at once."""
    world.streams._waits = Shares("requests that wait", 1)
    task = await world.submit(command="hang")
    await world.running(task["id"])
    path = f"/tasks/{task['id']}"
    with world.streams.waiting(Caller("x", WorkspaceName(task["workspace"]), Role.READ)):
        refused = await world.api.get(f"{path}/wait", params={"timeout_s": 20})
        assert refused.status_code == 429
        assert "retry-after" in refused.headers
        killed = await world.api.post(f"{path}/cancel", params={"wait": "20"})
        assert killed.status_code == 202, killed.text
    ended = await world.api.get(f"{path}/wait", params={"timeout_s": 20})
    assert ended.json()["state"] == "cancelled"


async def test_a_page_of_hostile_tasks_leaves_others_their_turn() -> None:
    """Looking for secrets in texts that are full of their names takes its time."""
    spec = TaskSpec(Command(tuple("key=" * 8 for _ in range(4000))))
    task = Task(1, TaskId("t"), WorkspaceName("w"), spec, TaskState.QUEUED, Instant(0))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        answers = await task_answers(TaskPage([task] * 20, None))
        group.cancel_scope.cancel()
    assert len(answers) == 20
    assert turns >= 5
