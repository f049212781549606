"""The cluster, executors, capacity and placement: sections 9, 12 and 13, over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from drove_world import DroveWorld, opened, spec

pytestmark = pytest.mark.anyio

MATCH = {"type": "MATCH_TAG", "tag": "gpu"}


def cores(count: int) -> list[dict[str, Any]]:
    """So many cores, and a little memory."""
    return [{"type": "CPU", "count": count}, {"type": "MEMORY", "sizeInMB": 64}]


async def executor_of(world: DroveWorld, worker: str) -> dict[str, Any]:
    """An executor's row."""
    rows = await world.get("/cluster/executors")
    found: dict[str, Any] = next(one for one in rows if one["hostname"] == f"host-{worker}")
    return found


async def test_ping(world: DroveWorld) -> None:
    """With the whole envelope."""
    answer = await world.api.get("/ping")
    assert answer.json() == {"status": "SUCCESS", "data": "pong", "message": "success"}


async def test_cluster_is_summed_up_live(world: DroveWorld) -> None:
    """All members of section 9, before and while a task runs."""
    found = await world.get("/cluster")
    leader = found.pop("leader")
    assert leader.rpartition(":")[2].isdigit()
    idle = {
        "state": "NORMAL",
        "numExecutors": 1,
        "numApplications": 0,
        "numActiveApplications": 0,
        "numActiveTasks": 0,
        "numLocalServices": 0,
        "numActiveLocalServices": 0,
        "freeCores": 4,
        "usedCores": 0,
        "totalCores": 4,
        "freeMemory": 8192,
        "usedMemory": 0,
        "totalMemory": 8192,
    }
    assert found == idle
    await world.create("T1", "hang", resources=cores(2))
    found = await world.get("/cluster")
    del found["leader"]
    assert found == idle | {
        "numActiveTasks": 1,
        "freeCores": 2,
        "usedCores": 2,
        "freeMemory": 8128,
        "usedMemory": 64,
    }


async def test_executors_show_their_cores(world: DroveWorld) -> None:
    """In the list, and node by node; what a task has comes back with its end."""
    await world.create("T1", "hang", resources=cores(2))
    assignment = await world.running()
    row = await executor_of(world, "w1")
    name = row["executorId"]
    assert row == {
        "executorId": name,
        "hostname": "host-w1",
        "port": 0,
        "transportType": "HTTP",
        "freeCores": 2,
        "usedCores": 2,
        "freeMemory": 8128,
        "usedMemory": 64,
        "tags": ["host-w1"],
        "state": "ACTIVE",
    }
    found = await world.get(f"/cluster/executors/{name}")
    (task,) = found.pop("tasks")
    assert (task["taskId"], task["executorId"]) == ("T1", name)
    assert found.pop("updated") > 1_600_000_000_000
    assert found == {
        "type": "EXECUTOR",
        "hostname": "host-w1",
        "port": 0,
        "transportType": "HTTP",
        "state": {
            "executorId": name,
            "cpus": {
                "type": "CPU",
                "freeCores": {"0": [], "1": [2, 3]},
                "usedCores": {"0": [0, 1], "1": []},
            },
            "memory": {
                "type": "MEMORY",
                "freeMemory": {"0": 4032, "1": 4096},
                "usedMemory": {"0": 64, "1": 0},
            },
            "layout": {"cores": {"0": [0, 1], "1": [2, 3]}, "memory": {"0": 4096, "1": 4096}},
        },
        "instances": [],
        "serviceInstances": [],
        "tags": ["host-w1"],
        "metadata": {},
        "executorState": "ACTIVE",
        "blacklisted": False,
    }
    await world.workers.finish(assignment)
    await world.in_state("STOPPED")
    assert (await executor_of(world, "w1"))["freeCores"] == 4


async def test_unknown_executors_are_failed_lookups(world: DroveWorld) -> None:
    """With status 200 and no data."""
    answer = await world.api.get("/cluster/executors/nothing")
    assert (answer.status_code, answer.json()["status"]) == (200, "FAILED")
    assert "data" not in answer.json()


@pytest.mark.parametrize("bulk", [True, False])
async def test_blacklisting_drains(world: DroveWorld, bulk: bool) -> None:
    """What runs goes on, nothing new comes; afterwards it does again."""
    await world.create("T1", "hang")
    await world.running()
    name = (await executor_of(world, "w1"))["executorId"]
    base = "/cluster/executors"

    async def switch(what: str, body: bytes = b"") -> dict[str, Any]:
        path = f"{base}/{what}?id={name}&id=nothing" if bulk else f"{base}/{name}/{what}"
        answer = await world.api.post(path, content=body)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()["data"]
        assert isinstance(found["message"], str)
        assert isinstance(found["approxCompletionTimeMs"], int)
        return found

    failed = ["nothing"] if bulk else []
    found = await switch("blacklist", b"{}")
    assert (found["successful"], found["failed"]) == ([name], failed)
    assert (await executor_of(world, "w1"))["state"] == "BLACKLISTED"
    assert (await world.get("/cluster"))["numExecutors"] == 0
    found = await switch("blacklist", b"anything")
    assert (found["successful"], found["failed"]) == ([], [name, *failed])
    problems = await world.refused(taskId="T2")
    assert ["CPU" in one for one in problems].count(True) == 1
    assert any("Memory" in one and "Available: 0" in one for one in problems)
    assert not any("NUMA" in one for one in problems)
    assert (await world.show())["state"] == "RUNNING"
    found = await switch("unblacklist")
    assert (found["successful"], found["approxCompletionTimeMs"]) == ([name], 0)
    assert (await executor_of(world, "w1"))["state"] == "ACTIVE"
    await world.create("T2", "hang")


async def test_blacklisting_needs_ids(world: DroveWorld) -> None:
    """At least one."""
    for path in ("/cluster/executors/blacklist", "/cluster/executors/unblacklist?id="):
        answer = await world.api.post(path)
        assert answer.status_code == 400
        assert answer.json()["data"]["validationErrors"][0].startswith("query param id ")


async def test_maintenance_refuses_operations(tmp_path: Path) -> None:
    """Creation, kills, validation and blacklisting; reading goes on, also after a restart."""
    async with opened(tmp_path) as world:
        await world.create("T1", "hang")
        await world.running()
        name = (await executor_of(world, "w1"))["executorId"]
        first = await world.post("/cluster/maintenance/set", {})
        assert first.json()["data"]["state"] == "MAINTENANCE"
        again = await world.api.post("/cluster/maintenance/set")
        assert again.json()["data"] == first.json()["data"]
        assert await world.refused() == ["Cluster is in maintenance mode"]
        kill = await world.kill()
        problems = kill.json()["data"]["validationErrors"]
        assert (kill.status_code, problems) == (400, ["Cluster is in maintenance mode"])
        answer = await world.api.post(f"/cluster/executors/{name}/blacklist")
        assert answer.json() == {"status": "FAILED", "message": "Cluster is in maintenance mode"}
        assert (await world.get("/cluster"))["state"] == "MAINTENANCE"
        assert (await world.show())["state"] == "RUNNING"
        log = await world.api.get("/logfiles/tasks/APP/T1/list")
        assert log.status_code == 200
    async with opened(tmp_path) as world:
        assert (await world.get("/cluster"))["state"] == "MAINTENANCE"
        answer = await world.api.post("/cluster/maintenance/unset")
        assert answer.json()["data"]["state"] == "NORMAL"
        await world.create("T2", "hang")
        events = await world.events("MAINTENANCE_MODE_REMOVED")
        assert [set(one) for one in events] == [{"HOSTNAME"}]


async def test_violations_of_form_come_before_maintenance(world: DroveWorld) -> None:
    """In the order of section 2.2."""
    await world.api.post("/cluster/maintenance/set")
    (problem,) = await world.refused(taskId="a b")
    assert problem.startswith("taskId ")


async def test_what_has_no_room_is_refused_at_once(world: DroveWorld) -> None:
    """With numbers; nothing is queued."""
    problems = await world.refused(resources=cores(5))
    assert len(problems) == 2
    assert any("CPU" in one and "5" in one and "4" in one for one in problems)
    assert any("NUMA" in one and "5" in one and "2" in one for one in problems)
    (problem,) = await world.refused(resources=cores(3))
    assert "NUMA" in problem
    much = [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 9000}]
    (problem,) = await world.refused(resources=much)
    assert all(word in problem for word in ("Memory", "9000", "8192"))
    for number in range(2):
        await world.create(f"T{number}", "hang", resources=cores(2))
    problems = await world.refused(taskId="T9")
    assert len(problems) == 1
    assert "Available: 0" in problems[0]
    assert len(world.workers.given) == 2


async def test_what_cannot_be_placed_is_taken_back(world: DroveWorld) -> None:
    """Room enough, but not for this one: refused after a while, and nothing of it is left."""
    one_host = {"type": "ONE_PER_HOST"}
    await world.create("T1", "hang", placementPolicy=one_host)
    answer = await world.operate("CREATE", spec=spec("T2", placementPolicy=one_host))
    assert answer.status_code == 400
    assert "No executor could take the task" in answer.json()["data"]["validationErrors"][0]
    gone = await world.api.get("/tasks/APP/instances/T2")
    assert gone.json()["status"] == "FAILED"
    assert [one["taskId"] for one in await world.active()] == ["T1"]
    await world.kill()
    await world.in_state("STOPPED")
    await world.create("T2", "hang", placementPolicy=one_host)
    assert len(world.workers.given) == 2


@pytest.mark.parametrize(
    ("policy", "placed"),
    [
        (None, {"w1"}),
        ({"type": "ANY"}, {"w1"}),
        ({"type": "NO_TAG"}, {"w1"}),
        (MATCH, {"w2"}),
        ({"type": "MATCH_TAG", "tag": "host-w1"}, {"w1"}),
        ({"type": "COMPOSITE", "policies": [MATCH, {"type": "ONE_PER_HOST"}]}, {"w2"}),
        (
            {"type": "COMPOSITE", "combiner": "or", "policies": [MATCH, {"type": "NO_TAG"}]},
            {"w1", "w2"},
        ),
        (
            {
                "type": "RULE_BASED",
                "ruleType": "mvel",
                "rule": "allocatedExecutorNodeMetadata['zone'] == applicationEnvironment['ZONE']"
                " && !(1 == 2)",
            },
            {"w2"},
        ),
    ],
)
async def test_policies_choose_executors(
    world: DroveWorld, policy: dict[str, Any] | None, placed: set[str]
) -> None:
    """Tagged ones are reserved unless a policy asks for tags or decides by a rule."""
    await world.workers.join("w2", tags=("gpu",), metadata={"zone": "z"})
    await world.create("T1", "hang", placementPolicy=policy, env={"ZONE": "z"})
    shown = await world.in_state("RUNNING")
    assert shown["hostname"].removeprefix("host-") in placed
    assert (await executor_of(world, "w2"))["tags"] == ["gpu", "host-w2"]


async def test_rules_can_name_an_executor(world: DroveWorld) -> None:
    """By its id in this dialect."""
    await world.workers.join("w2", tags=("gpu",))
    name = (await executor_of(world, "w2"))["executorId"]
    rule = {"type": "RULE_BASED", "ruleType": "MVEL", "rule": f'executorNodeId == "{name}"'}
    await world.create("T1", "hang", placementPolicy=rule)
    assert (await world.in_state("RUNNING"))["executorId"] == name


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("HOPE", "'$.x' == 1"),
        ("MVEL", "1 +"),
        ("MVEL", "__import__('os')"),
        ("HOPE", "'/executorNodeId' > 1"),
        ("MVEL", "allExecutorMetadata['x'] == 1"),
        ("MVEL", "(" * 500),
        ("MVEL", "applicationEnvironment[hostname] == 1"),
    ],
)
async def test_rules_that_cannot_be_evaluated_are_refused(
    world: DroveWorld, kind: str, rule: str
) -> None:
    """Rather than ignored."""
    policy = {"type": "RULE_BASED", "ruleType": kind, "rule": rule}
    assert len(await world.refused(placementPolicy=policy)) == 1


async def test_tasks_of_an_application_are_counted_for_each_host(world: DroveWorld) -> None:
    """With ONE_PER_HOST and MAX_N_PER_HOST; other applications do not count."""
    await world.workers.join("w2")
    two = {"type": "MAX_N_PER_HOST", "max": 1}
    for number in range(2):
        await world.create(f"T{number}", "hang", placementPolicy=two)
    hosts = {(await world.in_state("RUNNING", f"T{n}"))["hostname"] for n in range(2)}
    assert hosts == {"host-w1", "host-w2"}
    answer = await world.operate("CREATE", spec=spec("T2", placementPolicy=two))
    assert answer.status_code == 400
    await world.create("T2", "hang", sourceAppName="OTHER", placementPolicy=two)


async def test_tags_that_nobody_carries_have_no_room(world: DroveWorld) -> None:
    """As if the cluster were full."""
    problems = await world.refused(placementPolicy=MATCH)
    assert {one.split()[5].rstrip(".") for one in problems} == {"CPU", "Memory"}


async def test_stubs_of_other_workloads_are_empty(world: DroveWorld) -> None:
    """A list and two maps."""
    assert await world.get("/endpoints") == []
    assert await world.get("/applications") == {}
    assert await world.get("/localservices") == {}


async def test_dashboard_has_all_sections(world: DroveWorld) -> None:
    """With every state counted."""
    await world.create("T1", "hang")
    await world.running()
    found = await world.get("/cluster/dashboard")
    assert found["clusterSummary"]["numActiveTasks"] == 1
    assert found["taskStats"]["taskCountByState"]["RUNNING"] == 1
    assert len(found["taskStats"]["taskCountByState"]) == 11
    assert [one["taskId"] for one in found["taskStats"]["topTasks"]] == ["T1"]
    assert found["executorStats"]["executorCountByState"] == {"ACTIVE": 1}
    assert found["executorStats"]["utilization"]["averageUtilization"] == 0.25
    assert found["generatedAt"] > 1_600_000_000_000


async def test_placement_can_be_simulated(world: DroveWorld) -> None:
    """One after the other, counting what is there; nothing is created."""
    await world.workers.join("w2", tags=("gpu",))
    await world.create("T0", "hang")
    path = "/cluster/placement/simulate?detail=true"
    answer = await world.post(path, {"spec": spec(resources=cores(2)), "numInstances": 2})
    found = answer.json()["data"]
    (placed,) = found["placements"]
    assert (found["requested"], found["placed"], len(found["errors"])) == (2, 1, 1)
    assert placed == {
        "executorId": (await executor_of(world, "w1"))["executorId"],
        "hostname": "host-w1",
        "port": 0,
        "executorState": "ACTIVE",
    }
    one_host = {"type": "ONE_PER_HOST"}
    body = {"spec": spec(), "placementPolicy": one_host}
    assert (await world.post(path, body)).json()["data"]["placed"] == 0
    body["placementPolicy"] = {"type": "COMPOSITE", "policies": [one_host, MATCH]}
    assert (await world.post(path, body)).json()["data"]["placed"] == 1
    assert len(await world.active()) == 1
    for wrong in ({"spec": spec(), "numInstances": 0}, {"spec": spec(taskId="")}, {}):
        assert (await world.post(path, wrong)).status_code == 400
