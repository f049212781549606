"""Schedules and updates: what starts later, again and again, or in another form."""

from uuid import uuid4

import pytest
from fastlane_world import FastlaneWorld, Json

pytestmark = pytest.mark.anyio


async def post(world: FastlaneWorld, enqueued: Json, rest: str) -> int:
    """Status of a POST below the job."""
    path = f"/tasks/{enqueued['taskId']}/jobs/{enqueued['jobId']}{rest}"
    return (await world.api.post(path)).status_code


async def test_a_delayed_job_can_be_stopped(world: FastlaneWorld) -> None:
    """It never starts, and there is nothing to show of it."""
    enqueued = await world.enqueue(startIn="1h")
    assert (await world.job(enqueued))["scheduled"] is False
    base = f"/tasks/mail/jobs/{enqueued['jobId']}"
    answer = await world.api.get(base + "/stdout")
    assert answer.status_code == 400
    assert answer.json()["operation"] == "retrieve_execution_details"
    assert (await world.api.get("/status")).json()["queues"]["scheduled"]["length"] == 1
    answer = await world.api.post(base + "/retry")
    assert (answer.status_code, answer.json()["operation"]) == (400, "retry_job")
    assert await post(world, enqueued, "/stop") == 200
    assert (await world.api.get("/status")).json()["queues"]["scheduled"]["length"] == 0


async def test_put_creates_and_then_replaces(world: FastlaneWorld) -> None:
    """Everything but metadata falls back to defaults, and the job runs once more."""
    job_id = str(uuid4())
    first = await world.put(
        job_id, "exit 1", retries=1, metadata={"a": 1}, envs={"X": "1"}, timeout=5
    )
    await world.execution(first, "failed", count=2)
    second = await world.put(job_id, "echo new")
    assert second["jobId"] == job_id
    assert second["queueJobId"] != first["queueJobId"]
    await world.execution(second, "done", count=3)
    job = await world.job(second)
    metadata = job["metadata"]
    assert (metadata["retries"], metadata["retry_count"], metadata["envs"]) == (0, 0, {})
    assert (metadata["timeout"], metadata["custom"]) == (1800, {"a": 1})
    assert job["command"] == "echo new"
    # Executions of before show what they ran.
    assert [one["command"] for one in job["executions"]] == ["echo new", "exit 1", "exit 1"]
    third = await world.put(job_id, "echo new", metadata={"b": 2}, startIn="1h")
    assert third["executionId"] is None
    assert (await world.job(third))["metadata"]["custom"] == {"b": 2}
    # Counted once, however often it is put.
    assert (await world.api.get("/tasks")).json()["items"][0]["jobsCount"] == 1


async def test_put_looks_inside_its_task_only(world: FastlaneWorld) -> None:
    """The same id in another task is another job."""
    job_id = uuid4()
    body = {"image": "x", "command": "echo"}
    for task in ("one", "two"):
        answer = await world.api.put(f"/tasks/{task}/jobs/{job_id}", json=body)
        assert answer.status_code == 200
        await world.execution(answer.json())
    found = await world.api.get(f"/tasks/one/jobs/{job_id}")
    assert found.json()["job"]["executionCount"] == 1


async def test_put_cancels_what_was_pending(world: FastlaneWorld) -> None:
    """A delay, and a retry's back-off, which becomes stopped."""
    job_id = str(uuid4())
    first = await world.put(job_id, "exit 1", retries=1, backoff={"minMs": 60_000})
    await world.execution(first, "enqueued", count=2)
    second = await world.put(job_id, "echo", startIn="1h")
    assert (await world.job(second))["executions"][0]["status"] == "stopped"
    third = await world.put(job_id, "echo")
    await world.execution(third, "done", count=3)
    assert (await world.api.get("/status")).json()["queues"]["scheduled"]["length"] == 0


async def test_cron_fires_again_and_again_until_stopped(world: FastlaneWorld) -> None:
    """With seconds as the sixth field, last; firings may overlap."""
    enqueued = await world.enqueue("hang", cron="* * * * * */1")
    assert enqueued["executionId"] is None
    job = await world.job(enqueued)
    assert (job["scheduled"], job["metadata"]["cron"]) == (True, "* * * * * */1")
    found = await world.execution(enqueued, "running", count=2)
    assert found["requestIPAddress"] is None
    assert await post(world, enqueued, "/retry") == 400
    listed = (await world.api.get("/status")).json()["jobs"]["scheduled"]
    assert [one["task"]["id"] for one in listed] == ["mail"]
    assert listed[0]["nextScheduledAt"]
    assert listed[0]["stopUrl"] == f"{enqueued['jobUrl']}/stop/"
    assert {"executions", "taskId"} & set(listed[0]) == set()
    assert await post(world, enqueued, "/stop") == 200
    job = await world.job(enqueued)
    assert job["scheduled"] is False
    assert job["executions"][0]["status"] == "failed"
    assert job["executions"][1]["status"] == "running"
    assert (await world.api.get("/status")).json()["jobs"]["scheduled"] == []


async def test_put_without_a_schedule_ends_a_cron(world: FastlaneWorld) -> None:
    """It runs once more, and that was it, also after the first firing."""
    job_id = str(uuid4())
    first = await world.put(job_id, "echo", cron="* * * * * *")
    await world.execution(first, "done")
    await world.put(job_id, "echo last")
    job = await world.job(first)
    assert job["scheduled"] is False
    assert "cron" not in job["metadata"]
    assert (await world.api.get("/status")).json()["jobs"]["scheduled"] == []


async def test_what_comes_up_too_late_expires(world: FastlaneWorld) -> None:
    """Status, error and finish time; nothing runs."""
    enqueued = await world.enqueue(expiration=1_000_000_000, webhooks={"finishes": [{"url": "x"}]})
    found = await world.execution(enqueued)
    assert found["status"] == "expired"
    assert found["finishedAt"]
    assert "2001-09-09T01:46:40" in found["error"]
    assert found["startedAt"] is None
    assert not world.worker.ran
    delayed = await world.enqueue(startIn="0s", expiration=1_000_000_000)
    assert (await world.execution(delayed))["status"] == "expired"


async def test_newest_twenty_executions_are_shown(world: FastlaneWorld) -> None:
    """The count is the full one."""
    job_id = str(uuid4())
    enqueued: Json = {}
    for _ in range(22):
        enqueued = await world.put(job_id, "echo")
    job = await world.job(enqueued)
    assert len(job["executions"]) == 20
    assert job["executionCount"] == 22
    assert job["executions"][0]["executionId"] == enqueued["executionId"]


async def test_a_task_can_be_limited(world: FastlaneWorld) -> None:
    """By its group: what is above the limit stays enqueued, in order, and runs later."""
    headers = {"authorization": "Bearer dev"}
    answer = await world.api.patch(
        f"{world.main_url}/api/v1/groups/mail", headers=headers, json={"concurrency_limit": 1}
    )
    assert answer.status_code == 200, answer.text
    first, second = await world.enqueue("hang"), await world.enqueue("echo second")
    await world.execution(first, "running")
    assert (await world.execution(second, "enqueued"))["startedAt"] is None
    await world.worker.finish(await world.hanging())
    assert (await world.execution(second, "done"))["log"] == "second\n"
