"""Jobs and executions over their lives: statuses, retries, stops, schedules, updates."""

import time
from uuid import UUID

import pytest
from fastlane_world import FastlaneWorld, Json

from taskyard.dialects.fastlane.statuses import STOPPED_BY_USER
from taskyard.ports.logs import Stream

pytestmark = pytest.mark.anyio


async def get(world: FastlaneWorld, enqueued: Json, rest: str = "") -> Json:
    """A document below the job."""
    answer = await world.api.get(f"/tasks/{enqueued['taskId']}/jobs/{enqueued['jobId']}{rest}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def post(world: FastlaneWorld, enqueued: Json, rest: str) -> int:
    """Status of a POST below the job."""
    path = f"/tasks/{enqueued['taskId']}/jobs/{enqueued['jobId']}{rest}"
    return (await world.api.post(path)).status_code


async def test_an_answer_has_all_seven_members(world: FastlaneWorld) -> None:
    """With URLs that lead to what they name, without final slash except the execution's."""
    found = await world.enqueue()
    assert set(found) == {
        "taskId",
        "taskUrl",
        "jobId",
        "jobUrl",
        "executionId",
        "executionUrl",
        "queueJobId",
    }
    assert found["jobUrl"] == f"{world.url}/tasks/mail/jobs/{found['jobId']}"
    assert found["executionUrl"] == f"{found['jobUrl']}/executions/{found['executionId']}/"
    assert found["queueJobId"]
    UUID(found["jobId"])
    for name in ("taskUrl", "jobUrl", "executionUrl"):
        assert (await world.api.get(found[name])).status_code == 200


async def test_a_job_shows_what_was_submitted(world: FastlaneWorld) -> None:
    """Every member of the contract, redacted, and the lists exactly as they came."""
    hooks = {"succeeds": [], "x": 1}
    enqueued = await world.enqueue(
        envs={"MY_PASSWORD": "p", "B": "2", "DEEP": {"api_key": "k", "n": 1}},
        retries=3,
        timeout=600,
        expiration=4_000_000_000,
        metadata={"username": "ana"},
        notify={"fails": []},
        webhooks=hooks,
        additionalDNSEntries={"db": "10.0.0.9"},
    )
    await world.execution(enqueued)
    found = await get(world, enqueued)
    assert found["task"] == {"id": "mail", "url": f"{world.url}/tasks/mail/"}
    job = found["job"]
    assert job["metadata"] == {
        "enqueued_id": enqueued["queueJobId"],
        "retries": 3,
        "retry_count": 0,
        "timeout": 600,
        "envs": {"MY_PASSWORD": "***", "B": "2", "DEEP": {"api_key": "***", "n": 1}},
        "notify": {"fails": []},
        "webhooks": hooks,
        "additional_dns_entries": [["db", "10.0.0.9"]],
        "expiration": 4_000_000_000,
        "custom": {"username": "ana"},
    }
    assert (job["taskId"], job["image"], job["command"]) == ("mail", "busybox:1", "echo hi")
    assert (job["scheduled"], job["executionCount"]) == (False, 1)
    assert job["requestIPAddress"] == "127.0.0.1"
    execution = job["executions"][0]
    assert execution["url"] == enqueued["executionUrl"]
    assert execution["metadata"] == {
        "docker_host": "docker.example",
        "docker_port": 2375,
        "container_id": "c0ffee",
    }
    assert (execution["log"], execution["error"], execution["exitCode"]) == ("hi\n", "", 0)
    alone = await get(world, enqueued, f"/executions/{enqueued['executionId']}")
    assert alone["execution"]["requestIPAddress"] == "127.0.0.1"
    assert alone["job"]["id"] == enqueued["jobId"]


@pytest.mark.parametrize(
    ("command", "status", "code", "log", "error"),
    [
        ("echo out", "done", 0, "out\n", ""),
        ("err oh no", "done", 0, "", "oh no\n"),
        ("exit 3", "failed", 3, "", "oh\n"),
        ("signal", "failed", 139, "", ""),
        ("lost-start", "failed", None, None, "no such image"),
        ("slow", "timedout", None, None, "timed out"),
    ],
)
async def test_ends_are_told_as_the_contract_says(
    world: FastlaneWorld, command: str, status: str, code: int, log: str, error: str
) -> None:
    """Status, exit code, output, and the outputs of the routes."""
    enqueued = await world.enqueue(command)
    found = await world.execution(enqueued)
    assert (found["status"], found["exitCode"], found["log"]) == (status, code, log)
    assert error in found["error"]
    assert (found["finishedAt"] is None) == (command == "lost-start")
    base = f"/tasks/mail/jobs/{enqueued['jobId']}"
    for at in (base, f"{base}/executions/{enqueued['executionId']}"):
        for slash in ("", "/"):
            out = await world.api.get(f"{at}/stdout{slash}")
            err = await world.api.get(f"{at}/stderr{slash}")
            both = await world.api.get(f"{at}/logs{slash}")
            assert out.text == (log or "")
            assert err.text == found["error"]
            assert both.text == f"{log or ''}\n-=-\n{found['error']}"
            for one in (out, err, both):
                assert one.headers["fastlane-exit-code"] == str(code)
                assert one.headers["content-type"] == "text/plain; charset=utf-8"


async def test_output_that_is_gone_is_told_in_its_place(world: FastlaneWorld) -> None:
    """One of many must not hide the others, so that no status tells it."""
    enqueued = await world.enqueue("echo out")
    found = await world.execution(enqueued)
    assert found["log"] == "out\n"
    await world.worker.logs.delete([*world.worker.logs.attempt_ids()])
    marker = "[taskyard: 4 bytes of stdout of attempt 1 are gone"
    assert marker in (await world.execution(enqueued))["log"]
    base = f"/tasks/mail/jobs/{enqueued['jobId']}"
    for kind in ("stdout", "logs"):
        answer = await world.api.get(f"{base}/{kind}")
        assert (answer.status_code, marker in answer.text) == (200, True)


async def test_running_and_pulling_are_told_apart(world: FastlaneWorld) -> None:
    """Pulling until the container was seen; output routes are empty until the end."""
    pulling = await world.enqueue("pull")
    assert (await world.execution(pulling, "pulling"))["metadata"] == {}
    running = await world.enqueue("hang")
    found = await world.execution(running, "running")
    assert found["startedAt"]
    assert (found["finishedAt"], found["exitCode"], found["log"], found["error"]) == (None,) * 4
    answer = await world.api.get(f"/tasks/mail/jobs/{running['jobId']}/logs")
    assert (answer.text, answer.headers["fastlane-exit-code"]) == ("", "None")


async def test_invalid_utf8_is_replaced(world: FastlaneWorld) -> None:
    """In objects and on the output routes."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    attempt = await world.hanging()
    world.worker.say(attempt, Stream.STDOUT, b"a\xff\xe2\x82\xacb")
    await world.worker.finish(attempt)
    assert (await world.execution(enqueued))["log"] == "a\ufffd€b"
    answer = await world.api.get(f"/tasks/mail/jobs/{enqueued['jobId']}/stdout")
    assert answer.content == "a\ufffd€b".encode()


async def test_long_output_is_whole_on_its_route(world: FastlaneWorld) -> None:
    """Objects hold its beginning and say so."""
    enqueued = await world.enqueue("hang")
    await world.execution(enqueued, "running")
    attempt = await world.hanging()
    world.worker.say(attempt, Stream.STDOUT, b"0123456789abcde\n" * (3 << 16))
    await world.worker.finish(attempt)
    found = await world.execution(enqueued)
    assert "cut here" in found["log"][-100:]
    answer = await world.api.get(f"/tasks/mail/jobs/{enqueued['jobId']}/stdout")
    assert len(answer.content) == 3 << 20


async def test_failures_are_retried_within_the_budget(world: FastlaneWorld) -> None:
    """So many more executions, each of its own, the last one failed too."""
    enqueued = await world.enqueue("exit 1", retries=2)
    found = await world.execution(enqueued, "failed", count=3)
    assert found["requestIPAddress"] is None
    job = await world.job(enqueued)
    assert job["metadata"]["retry_count"] == 2
    assert job["executionCount"] == 3
    assert [one["status"] for one in job["executions"]] == ["failed"] * 3
    assert len({one["executionId"] for one in job["executions"]}) == 3
    assert len(world.worker.ran) == 3


@pytest.mark.parametrize("command", ["slow", "lost-start", "echo fine"])
async def test_other_ends_are_not_retried(world: FastlaneWorld, command: str) -> None:
    """Only an exit that was not zero."""
    enqueued = await world.enqueue(command, retries=2)
    await world.execution(enqueued)
    marker = await world.enqueue("exit 1", retries=1)
    await world.execution(marker, "failed", count=2)
    assert (await world.job(enqueued))["executionCount"] == 1


async def test_back_off_grows_and_a_job_can_have_its_own(world: FastlaneWorld) -> None:
    """The waiting execution is enqueued meanwhile, and its start is what the formula says."""
    enqueued = await world.enqueue("exit 1", retries=1, backoff={"minMs": 30_000, "factor": 2})
    found = await world.execution(enqueued, "enqueued", count=2)
    answer = await world.api.get(f"/tasks/mail/jobs/{enqueued['jobId']}/stdout")
    assert (answer.text, answer.headers["fastlane-exit-code"]) == ("", "None")
    status = (await world.api.get("/status")).json()["queues"]["scheduled"]
    assert status["length"] == 1
    assert 0 < status["nextTimeStamp"] - time.time() <= 61
    assert found["startedAt"] is None
    # A start that is pending keeps a retry by hand away, and a stop cancels it.
    assert await post(world, enqueued, "/retry") == 400
    assert await post(world, enqueued, "/stop") == 200
    assert (await world.execution(enqueued))["status"] == "stopped"


async def test_trouble_with_the_engine_never_fails_an_execution(world: FastlaneWorld) -> None:
    """It waits as enqueued, takes nothing off the budget, and can be stopped meanwhile."""
    world.worker.troubles = 1
    enqueued = await world.enqueue("echo", retries=1)

    async def tried() -> Json | None:
        found: Json = (await world.job(enqueued))["executions"][0]
        return found if world.worker.ran and found["status"] == "enqueued" else None

    found = await world.until(tried)
    assert (found["startedAt"], found["error"], found["exitCode"]) == (None, None, None)
    job = await world.job(enqueued)
    assert (job["metadata"]["retry_count"], job["executionCount"]) == (0, 1)
    assert await post(world, enqueued, "/stop") == 200
    assert (await world.execution(enqueued))["status"] == "stopped"


async def test_stop_ends_a_running_job_for_good(world: FastlaneWorld) -> None:
    """Failed with the code of the killed process, its output so far, and a remark; no retry."""
    enqueued = await world.enqueue("hang", retries=5)
    await world.execution(enqueued, "running")
    world.worker.say(await world.hanging(), Stream.STDERR, b"so far")
    answer = await world.api.post(f"/tasks/mail/jobs/{enqueued['jobId']}/stop/")
    assert answer.json() == {
        "taskId": "mail",
        "jobId": enqueued["jobId"],
        "taskUrl": f"{world.url}/tasks/mail/",
        "jobUrl": f"{world.url}/tasks/mail/jobs/{enqueued['jobId']}/",
    }
    found = await world.execution(enqueued)
    assert (found["status"], found["exitCode"]) == ("failed", 143)
    assert found["error"] == f"so far\n{STOPPED_BY_USER}"
    assert found["finishedAt"]
    job = await world.job(enqueued)
    assert (job["metadata"]["retry_count"], job["executionCount"]) == (6, 1)
    # Stopping once more changes nothing.
    assert await post(world, enqueued, "/stop") == 200
    assert (await world.execution(enqueued))["status"] == "failed"


async def test_stop_of_an_execution_answers_with_references(world: FastlaneWorld) -> None:
    """And leaves a finished one as it is."""
    enqueued = await world.enqueue()
    await world.execution(enqueued)
    path = f"/tasks/mail/jobs/{enqueued['jobId']}/executions/{enqueued['executionId']}"
    found = (await world.api.post(path + "/stop")).json()
    assert found == {
        "task": {"id": "mail", "url": f"{world.url}/tasks/mail/"},
        "job": {"id": enqueued["jobId"], "url": f"{enqueued['jobUrl']}/"},
        "execution": {"id": enqueued["executionId"], "url": enqueued["executionUrl"]},
    }
    assert (await world.execution(enqueued))["status"] == "done"


async def test_retry_by_hand_runs_once_more(world: FastlaneWorld) -> None:
    """With the summary; a finished execution keeps its status, a running one is stopped."""
    enqueued = await world.enqueue("echo hi")
    await world.execution(enqueued)
    assert await post(world, enqueued, "/retry/") == 200
    await world.execution(enqueued, "done", count=2)
    assert (await world.job(enqueued))["metadata"]["retry_count"] == 0
    running = await world.enqueue("hang")
    await world.execution(running, "running")
    assert await post(world, running, "/retry") == 200
    await world.execution(running, "running", count=2)
    first = (await world.job(running))["executions"][1]
    assert (first["status"], first["exitCode"]) == ("failed", 143)


async def test_timeouts_are_reduced_to_the_hard_limit(world: FastlaneWorld) -> None:
    """Shown so, and asked of the container so."""
    for given, shown, asked in ((9999, 1800, 1800.0), (None, 1800, 1800.0), (0, 0, 1.0), (7, 7, 7)):
        enqueued = await world.enqueue(timeout=given)
        await world.execution(enqueued)
        assert (await world.job(enqueued))["metadata"]["timeout"] == shown
        assert world.worker.ran[-1].timeout_s == asked


async def test_caller_address_follows_the_headers(world: FastlaneWorld) -> None:
    """X-Real-IP, else the first of X-Forwarded-For, else the peer."""
    body = {"image": "x", "command": "echo"}
    for headers, wanted in (
        ({"x-real-ip": "1.2.3.4", "x-forwarded-for": "5.6.7.8"}, "1.2.3.4"),
        ({"x-forwarded-for": "5.6.7.8, 9.9.9.9"}, "5.6.7.8"),
        ({}, "127.0.0.1"),
    ):
        answer = await world.api.post("/tasks/t", json=body, headers=headers)
        assert (await world.job(answer.json()))["requestIPAddress"] == wanted


async def test_executions_are_tasks_of_ours(world: FastlaneWorld) -> None:
    """Seen, explained and killed through the native API; a kill is no reason to retry."""
    enqueued = await world.enqueue("hang", retries=3)
    await world.execution(enqueued, "running")
    headers = {"authorization": "Bearer dev"}
    native = f"{world.main_url}/api/v1/tasks/{enqueued['executionId']}"
    shown = (await world.api.get(native, headers=headers)).json()
    assert (shown["group"], shown["labels"]["job"]) == ("mail", enqueued["jobId"])
    assert (await world.api.get(f"{native}/why", headers=headers)).status_code == 200
    answer = await world.api.post(f"{native}/cancel", headers=headers, json={})
    assert answer.status_code in {200, 202}, answer.text
    assert (await world.execution(enqueued))["status"] == "failed"
    marker = await world.enqueue("exit 1", retries=1)
    await world.execution(marker, "failed", count=2)
    assert (await world.job(enqueued))["executionCount"] == 1


async def test_an_execution_that_is_retried_elsewhere_is_one_of_its_job(
    world: FastlaneWorld,
) -> None:
    """In the job's details and under its own address; nothing runs twice at once."""
    enqueued = await world.enqueue("exit 1")
    await world.execution(enqueued, "failed")
    headers = {"authorization": "Bearer dev"}
    tasks = f"{world.main_url}/api/v1/tasks"
    first = f"{tasks}/{enqueued['executionId']}"
    await world.put(enqueued["jobId"], "hang")
    await world.execution(enqueued, "running", count=2)
    refused = await world.api.post(f"{first}/retry", headers=headers)
    assert refused.status_code == 409
    assert "later execution" in refused.text
    last = (await world.job(enqueued))["executions"][0]["executionId"]
    await world.api.post(f"{tasks}/{last}/cancel", headers=headers, json={})
    await world.execution(enqueued, "failed", count=2)
    again = await world.api.post(f"{tasks}/{last}/retry", headers=headers)
    assert again.status_code == 201, again.text
    await world.execution(enqueued, "running", count=3)
    job = await world.job(enqueued)
    assert job["executions"][0]["executionId"] == again.json()["id"]
    await world.api.post(f"/tasks/mail/jobs/{enqueued['jobId']}/stop")
    shown = (await world.api.get(f"{tasks}/{again.json()['id']}", headers=headers)).json()
    assert shown["state"] == "cancelled"


async def test_jobs_that_wait_are_seen_and_cancelled_natively(world: FastlaneWorld) -> None:
    """The delayed and the recurring ones; a cancelled one never starts."""
    headers = {"authorization": "Bearer dev"}
    jobs = f"{world.main_url}/api/v1/jobs"
    delayed = await world.enqueue("echo later", startIn="1h")
    recurring = await world.enqueue("echo again", cron="0 0 1 1 *")
    await world.execution(await world.enqueue("echo now"))
    items = (await world.api.get(jobs, headers=headers)).json()["items"]
    assert [one["id"] for one in items] == [delayed["jobId"], recurring["jobId"]]
    assert [one["cron"] for one in items] == [None, "0 0 1 1 *"]
    assert items[0]["command"] == ["echo", "later"]
    assert (items[0]["group"], items[0]["image"]) == ("mail", "busybox:1")
    for one in items:
        path = f"{jobs}/{one['id']}/cancel"
        assert (await world.api.post(path, headers=headers)).status_code == 404
        answer = await world.api.post(f"{path}?group=mail", headers=headers)
        assert (answer.status_code, answer.json()["next_at"]) == (200, None)
    assert (await world.api.get(jobs, headers=headers)).json() == {"items": []}
