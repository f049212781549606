"""Faults of the server, executors that are not like the others, and hostile requests."""

import httpx2
import pytest
from drove_world import DroveWorld, opened, spec

from taskyard.core.errors import Overloaded, StorageFull, Unavailable
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology

pytestmark = pytest.mark.anyio
GIB = 1 << 30


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("secret detail"), 500),
        (Unavailable("stopping"), 503),
        (StorageFull("full"), 507),
        (Overloaded("too many", 2.5), 429),
    ],
)
async def test_faults_are_told_in_the_envelope(
    world: DroveWorld, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Without what they were; nothing is created."""

    async def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(world.wired.engine.tasks, "submit", fail)
        answer = await world.operate("CREATE", spec=spec())
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, "FAILED")
    assert "secret detail" not in answer.text
    if status == 500:
        assert body["message"] == "Unexpected Server error"
        assert isinstance(body["data"]["failure"], str)
    if status == 429:
        assert answer.headers["retry-after"] == "3"
    assert await world.active() == []


async def test_overprovisioned_cores_count_but_do_not_widen_nodes(tmp_path: object) -> None:
    """What is free counts each core as often as it is offered; the layout does not."""
    async with opened(tmp_path, workers=False) as world:  # type: ignore[arg-type]  # a path
        nodes = (NumaNode(0, (0, 1), GIB),)
        topology = Topology(nodes, cpu_factor=2, memory_factor=2)
        capacity = Capacity(100, 4000, 2 * GIB)
        await world.workers.join("w1", topology=topology, capacity=capacity)
        (row,) = await world.get("/cluster/executors")
        assert (row["freeCores"], row["freeMemory"]) == (4, 2048)
        detail = await world.get(f"/cluster/executors/{row['executorId']}")
        assert len(detail["state"]["cpus"]["freeCores"]["0"]) == 4
        assert detail["state"]["layout"] == {"cores": {"0": [0, 1]}, "memory": {"0": 1024}}
        memory = {"type": "MEMORY", "sizeInMB": 1}
        (problem,) = await world.refused(resources=[{"type": "CPU", "count": 3}, memory])
        assert "NUMA" in problem
        for number in range(4):
            await world.create(f"T{number}", "hang")
        assert (await world.get("/cluster"))["freeCores"] == 0


async def test_executors_without_an_engine_are_not_ready(tmp_path: object) -> None:
    """They are listed, count for nothing, and take no task."""
    async with opened(tmp_path, workers=False) as world:  # type: ignore[arg-type]  # a path
        assert await world.get("/cluster/executors") == []
        assert len(await world.refused()) == 2
        await world.workers.join("w1", runtimes=("command",))
        (row,) = await world.get("/cluster/executors")
        assert row["state"] == "UNREADY"
        assert (await world.get("/cluster"))["totalCores"] == 0
        assert len(await world.refused()) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/%00/instances/%00",
        "/tasks/..%2f..%2fetc/instances/x",
        "/tasks/%ff%fe/instances/%f0%9f",
        "/tasks/A/instances/" + "x" * 5000,
        "/tasks/A/instances/%ed%b0%af",
        "/tasks/drove/instances/00000000-0000-0000-0000-000000000000",
    ],
)
async def test_odd_names_are_just_unknown(world: DroveWorld, path: str) -> None:
    """Read or deleted."""
    url = httpx2.URL(world.url + path)
    found = await world.api.get(url)
    assert (found.status_code, found.json()["status"]) == (200, "FAILED")
    assert (await world.api.delete(url)).json()["data"] == {"deleted": True}


async def test_deep_bodies_are_refused(world: DroveWorld) -> None:
    """Without falling over."""
    policy: dict[str, object] = {"type": "ANY"}
    for _ in range(30):
        policy = {"type": "COMPOSITE", "policies": [policy]}
    assert len(await world.refused(placementPolicy=policy)) == 1
    deep = b'{"type":"CREATE","spec":' + b'{"placementPolicy":' * 100_000
    answer = await world.api.post(
        "/tasks/operations", content=deep, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["message"]) == (400, "JSON validation failure")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"env": {"A B": "1"}}, "env.A"),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"env": {"A_TOKEN": "***"}}, "env.A_TOKEN"),
        ({"args": ["\0"]}, "args"),
        ({"userSpec": {"user": "a b"}}, "userSpec"),
        (
            {"executable": {"url": "NOT AN IMAGE", "dockerPullTimeout": "1s"}},
            "executable.url",
        ),
        (
            {"volumes": [{"pathOnHost": "/a:b", "pathInContainer": "/c", "mode": "READ_ONLY"}]},
            "volumes",
        ),
    ],
)
async def test_what_no_engine_takes_is_refused_by_path(
    world: DroveWorld, changes: dict[str, object], path: str
) -> None:
    """On validation and on creation alike."""
    (problem,) = await world.refused(**changes)
    assert problem.split(" ")[0] == path
