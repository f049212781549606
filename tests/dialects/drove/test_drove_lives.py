"""Lives of tasks: sections 6, 7 and 11 of the contract, over HTTP."""

import re
from pathlib import Path

import pytest
from drove_world import DroveWorld, opened, spec

from taskyard.core.ids import WorkerId

pytestmark = pytest.mark.anyio


async def test_create_answers_with_the_combined_id(world: DroveWorld) -> None:
    """And the task can be read at once, alone and in the list."""
    answer = await world.operate("CREATE", spec=spec("T1", "hang"))
    assert answer.json() == {
        "status": "SUCCESS",
        "data": {"taskId": "APP-T1"},
        "message": "success",
    }
    shown = await world.show()
    assert [one["taskId"] for one in await world.active()] == ["T1"]
    assert shown["state"] in {"PENDING", "PROVISIONING", "STARTING", "RUNNING"}


async def test_task_info_has_what_was_given(world: DroveWorld) -> None:
    """All members of section 7, normalised where it says so, and nothing else."""
    await world.create(
        "T1",
        "hang",
        volumes=[],
        env={"A": "1", "GONE": "", "A_TOKEN": "given"},
        logging={"type": "LOCAL", "maxSize": "10m", "maxFiles": 3, "compress": True},
        tags={"team": "x"},
        userSpec={"user": "1000", "group": "1000"},
    )
    await world.running()
    shown = await world.show()
    logging = {"type": "LOCAL", "maxSize": "10m", "maxFiles": 3, "compress": True}
    created, updated = shown.pop("created"), shown.pop("updated")
    assert updated >= created > 1_600_000_000_000
    assert re.fullmatch(r"TI-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-.*", shown.pop("instanceId"))
    executors = await world.get("/cluster/executors")
    assert shown == {
        "sourceAppName": "APP",
        "taskId": "T1",
        "executorId": executors[0]["executorId"],
        "hostname": "host-w1",
        "executable": {
            "type": "DOCKER",
            "url": "example/image",
            "dockerPullTimeout": "100 seconds",
        },
        "resources": [
            {"type": "CPU", "cores": {"0": [0]}},
            {"type": "MEMORY", "memoryInMB": {"0": 128}},
        ],
        "volumes": [],
        "env": {"A": "1", "GONE": "", "A_TOKEN": "given"},
        "state": "RUNNING",
        "metadata": {},
        "errorMessage": "",
        "loggingSpec": logging,
        "logging": logging,
    }
    (listed,) = await world.active()
    for one in (shown, listed):
        for name in ("created", "updated", "instanceId"):
            one.pop(name, None)
    assert listed == shown


async def test_other_views_hide_what_was_given(world: DroveWorld) -> None:
    """The native API shows no secrets of a task that came this way: here it answers as given."""
    env = {"A": "1", "A_TOKEN": "given-secret"}
    await world.create("T1", "hang", "--password", "given-secret", env=env)
    await world.running()
    assert (await world.show())["env"] == env
    url = f"{world.server_url}/api/v1/tasks"
    listed = await world.api.get(url)
    (task,) = listed.json()["items"]
    for answer in (listed, await world.api.get(f"{url}/{task['id']}")):
        assert answer.status_code == 200
        assert "given-secret" not in answer.text
    assert task["metadata"]["drove"]["env"] == {"A": "1", "A_TOKEN": "***"}
    assert task["env"]["A_TOKEN"] == "***"


async def test_optional_members_are_absent_rather_than_null(world: DroveWorld) -> None:
    """Clients stumble over null."""
    await world.create("T1", "hang")
    await world.running()
    shown = await world.show()
    assert not {"volumes", "env", "loggingSpec", "logging", "taskResult"} & shown.keys()
    assert None not in shown.values()


@pytest.mark.parametrize(
    ("args", "status", "code", "said"),
    [
        (("echo", "hi"), "SUCCESSFUL", 0, ""),
        (("fail", "7"), "FAILED", 7, "exit status 7"),
        (("signal",), "FAILED", 139, "139"),
        (("nopull",), "FAILED", -1, "example/image"),
        (("nostart",), "FAILED", -1, "no such program"),
        (("vanish",), "LOST", -1, "removed by somebody else"),
    ],
)
async def test_ends_are_told_apart_by_their_result(
    world: DroveWorld, args: tuple[str, ...], status: str, code: int, said: str
) -> None:
    """All end as STOPPED; section 11.2."""
    await world.create("T1", *args)
    shown = await world.in_state("STOPPED")
    assert shown["taskResult"] == {"status": status, "exitCode": code}
    assert said in shown["errorMessage"]
    assert bool(shown["errorMessage"]) == bool(said)
    assert ("hostname" in shown) == (args[0] not in {"nopull", "nostart"})
    assert await world.active() == []


async def test_kill_of_a_running_task(world: DroveWorld) -> None:
    """Asynchronous, answers with the plain id, ends as cancelled."""
    await world.create("T1", "hang")
    await world.running()
    answer = await world.kill()
    assert answer.json()["data"] == {"taskId": "T1"}
    shown = await world.in_state("STOPPED")
    assert shown["taskResult"] == {"status": "CANCELLED", "exitCode": -1}
    assert shown["errorMessage"] == ""


async def test_kill_before_running(world: DroveWorld) -> None:
    """The task stays visible until it is over, ends as cancelled, and never does its work."""
    await world.create("T1", "stuck")
    await world.stuck()
    assert (await world.show())["state"] == "PROVISIONING"
    assert len(await world.active()) == 1
    await world.kill()
    shown = await world.in_state("STOPPED")
    assert shown["taskResult"] == {"status": "CANCELLED", "exitCode": -1}
    assert not world.workers.hanging


async def test_kill_twice_is_fine_and_kill_of_nothing_is_refused(world: DroveWorld) -> None:
    """While a kill is under way it can be repeated; afterwards there is nothing to kill."""
    await world.create("T1", "hang")
    assignment = await world.running()
    world.workers.hanging.clear()
    for _ in range(2):
        assert (await world.kill()).status_code == 200
    world.workers.hanging[assignment.attempt_id] = assignment
    await world.in_state("STOPPED")
    for task_id in ("T1", "never"):
        answer = await world.kill(task_id)
        assert answer.status_code == 400
        assert f"APP/{task_id}" in answer.json()["data"]["validationErrors"][0]


async def test_duplicates_are_refused_while_there_is_a_record(world: DroveWorld) -> None:
    """In words that clients match, whether the first one runs or has ended; not for another app."""
    await world.create("T1", "hang")
    await world.create("T1", "hang", sourceAppName="OTHER")
    await world.running()
    for _ in range(2):
        answer = await world.operate("CREATE", spec=spec())
        assert answer.status_code == 400
        assert "Task already exists for APP/T1" in answer.json()["data"]["validationErrors"][0]
        await world.kill()
        await world.in_state("STOPPED")


async def test_deleting_makes_room_for_the_same_id(world: DroveWorld) -> None:
    """An active task is not forgotten; an ended one is, twice as good as once."""
    await world.create("T1", "hang")
    await world.running()
    path = "/tasks/APP/instances/T1"
    refused = await world.api.delete(path)
    assert refused.status_code == 200
    assert refused.json()["status"] == "FAILED"
    assert refused.json()["data"] == {"deleted": False}
    await world.kill()
    await world.in_state("STOPPED")
    for _ in range(2):
        answer = await world.api.delete(path)
        assert answer.json()["data"] == {"deleted": True}
    gone = await world.api.get(path)
    assert (gone.status_code, gone.json()["status"]) == (200, "FAILED")
    assert "data" not in gone.json()
    await world.create("T1", "echo")


async def test_updated_advances_while_running(world: DroveWorld) -> None:
    """With the heartbeats of its executor."""
    await world.create("T1", "hang")
    await world.running()
    first = (await world.show())["updated"]

    async def later() -> bool:
        listed = (await world.active())[0]["updated"]
        return bool((await world.show())["updated"] > first and listed > first)

    await world.until(later)


async def test_silent_executors_lose_their_tasks(world: DroveWorld) -> None:
    """A lost task is not run again."""
    await world.create("T1", "hang")
    await world.running()
    world.workers.beating.clear()
    shown = await world.in_state("LOST")
    assert shown["taskResult"] == {"status": "LOST", "exitCode": -1}
    assert shown["errorMessage"] == "Instance lost"
    assert await world.active() == []
    (executor,) = await world.get("/cluster/executors")
    assert executor["state"] == "REMOVED"
    assert (await world.get("/cluster"))["numExecutors"] == 0
    await world.workers.join("w2")
    assert len(world.workers.given) == 1


async def test_old_records_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot be read, and their ids can be used again."""
    async with opened(tmp_path, stale_task_age_s=60) as world:
        await world.create("T1", "echo")
        await world.in_state("STOPPED")
        clock = world.wired.engine.clock
        now = clock.now
        monkeypatch.setattr(clock, "now", lambda: now() + 61_000_000)
        gone = await world.api.get("/tasks/APP/instances/T1")
        assert gone.json()["status"] == "FAILED"
        await world.create("T1", "hang")


async def test_tasks_outlive_the_server(tmp_path: Path) -> None:
    """What ran before a restart is listed, killed and read after it."""
    async with opened(tmp_path) as world:
        await world.create("T1", "hang")
        await world.running()
        before = (await world.active())[0]
    async with opened(tmp_path, workers=False) as world:
        await world.workers.join("w1")
        (after,) = await world.active()
        assert {n: v for n, v in after.items() if n != "updated"} == {
            n: v for n, v in before.items() if n != "updated"
        }
        assert (await world.kill()).status_code == 200
        assert WorkerId("w1") in world.workers.beating


async def test_containers_of_other_dialects_are_shown(world: DroveWorld) -> None:
    """Under the group as application and the engine's own id, and can be killed."""
    url = world.server_url + "/api/v1/tasks"
    async with world.client(None) as native:
        answer = await native.post(
            url,
            json={"image": "other", "command": ["hang"], "group": "APP"},
            headers={"authorization": "Bearer dev"},
        )
        assert answer.status_code == 201, answer.text
    name = answer.json()["id"]
    await world.in_state("RUNNING", name)
    (listed,) = await world.active()
    assert (listed["taskId"], listed["executable"]["url"]) == (name, "other")
    assert (await world.kill(name)).status_code == 200
    await world.in_state("STOPPED", name)


async def test_what_was_retried_or_made_elsewhere_goes_by_a_name_that_leads_to_it(
    world: DroveWorld,
) -> None:
    """The pair stands for the task created here; others with its record go by the engine's id."""
    await world.create("T1", "fail")
    await world.in_state("STOPPED", "T1")
    async with world.client(None, headers={"authorization": "Bearer dev"}) as native:
        url = world.server_url + "/api/v1/tasks"
        (old,) = (await native.get(url)).json()["items"]
        retried = (await native.post(f"{url}/{old['id']}/retry")).json()["id"]
        made = await native.post(
            url,
            json={
                **{name: old[name] for name in ("image", "group", "name", "metadata")},
                "command": ["hang"],
            },
        )
        assert made.status_code == 201, made.text
    names = {retried, made.json()["id"]}
    await world.in_state("RUNNING", made.json()["id"])
    await world.in_state("STOPPED", retried)
    shown = [await world.show(name) for name in names] + [await world.show("T1")]
    assert {one["taskId"] for one in shown} == names | {"T1"}
    assert len({one["instanceId"] for one in shown}) == 3
    (listed,) = await world.active()
    assert listed["taskId"] == made.json()["id"]
    assert (await world.kill(listed["taskId"])).status_code == 200
    await world.in_state("STOPPED", listed["taskId"])
