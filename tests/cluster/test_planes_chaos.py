"""Three control planes on one database under load, killed, frozen and cut off in turns."""

import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from checking import WORKSPACE_LIMIT, Checker, Rows, await_all_ended, check_leaders
from container_clients import Containers, Drove, Fastlane
from dialect_clients import CONFIG, GreenCloud, Gx
from faults import Faults
from followers import Follower
from histories import LIMIT, LIMITED, Calls, Client, Tasks
from hook import counting_hook
from planes import Planes, installed
from runs import FUNCTION, Runs

from engines import RealEngine
from eventually import eventually
from lone_postgres import lone_postgres

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
"""How long faults go on, beyond one of each kind; ``make chaos`` takes ten minutes."""
TASKS = int(os.environ.get("CHAOS_TASKS", "500"))
"""How much clients ask for at most, all together."""


def limit(planes: Planes) -> None:
    """Set the limits that the checker looks for."""
    planes.ask("PATCH", f"/groups/{LIMITED}", json={"concurrency_limit": LIMIT}).raise_for_status()
    body = {"concurrency_limit": WORKSPACE_LIMIT}
    planes.ask("PATCH", "/workspace", json=body).raise_for_status()


def prepared(planes: Planes, runs: Path, hook: str) -> list[Client]:
    """Clients of several dialects, and all that they need."""
    limit(planes)
    planes.ask("POST", "/tasks", json={"command": "true", "cron": "* * * * *"}).raise_for_status()
    source = {"source": FUNCTION.format(runs=str(runs), prefix=""), "language": "python"}
    query = {"wait": "60s"}
    deployed = planes.ask("PUT", "/functions/recorded", params=query, json=source)
    assert deployed.raise_for_status().json()["version"]["state"] == "ready", deployed.text
    for number in range(len(planes.all)):
        with planes.client(number) as client:
            eventually(lambda: client.get("/functions/recorded").json().get("live_version"))
    most = TASKS // 6
    green = GreenCloud(planes, "green", most)
    green.prepare(runs)
    return [
        Tasks(planes, "t0", most, runs, hook),
        Tasks(planes, "t1", most, runs, hook),
        Tasks(planes, "t2", most, runs, hook),
        Calls(planes, "calls", most, "recorded"),
        Gx(planes, "gx", most, runs),
        green,
        Follower(planes, "follower0", most),
        Follower(planes, "follower1", most),
    ]


@contextmanager
def chaos(root: Path, runs: Path) -> Iterator[tuple[Planes, Faults]]:
    """Three planes that write their runs there, and what is to befall them."""
    runs.touch()
    runs.chmod(0o666)
    config = root / "taskyard.toml"
    config.write_text(CONFIG)
    more = ("--config", str(config))
    with (
        lone_postgres(durable=True) as database,
        installed(root, (database, "taskyard"), 3, more) as planes,
    ):
        planes.seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(1 << 30))))
        yield planes, Faults(planes, database, random.Random(planes.seed))


def befall(planes: Planes, faults: Faults, clients: list[Client]) -> Rows:
    """Have faults befall the planes while clients ask them; all tasks once they have ended."""
    for client in clients:
        client.start()
    try:
        faults.run(SECONDS)
    finally:
        for client in clients:
            client.finish()
    for plane in planes.all:
        plane.await_ready()
    return await_all_ended(planes, 120)


def tell(faults: Faults, *more: Mapping[str, object]) -> None:
    """Print what befell the planes, and figures."""
    for line in ({"seed": faults.planes.seed, **faults.done}, *more):
        print(json.dumps(line))  # noqa: T201


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 400)
def test_nothing_is_lost_or_doubled_whatever_befalls_the_planes(
    tmp_path: Path, common_path: Path
) -> None:
    """What was acknowledged is done as it was asked for; nobody's plan is carried out twice."""
    runs = common_path / "runs"
    with counting_hook() as (url, told), chaos(tmp_path, runs) as (planes, faults):
        clients = prepared(planes, runs, url)
        tasks = befall(planes, faults, clients)
        figures = Checker(planes, clients, Runs.read(runs), told, tasks).check()
        tell(faults, figures, check_leaders(planes, faults))
    assert all(client.history.acknowledged for client in clients)


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 400)
def test_containers_are_not_lost_or_doubled_either(
    engine: RealEngine, tmp_path: Path, common_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all planes are on one engine; each takes care of its own."""
    monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", engine.url)
    monkeypatch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
    monkeypatch.setenv("TASKYARD_CIRCUIT_RESET_S", "1")
    monkeypatch.setenv("TASKYARD_FASTLANE_PULL", "missing")
    monkeypatch.setenv("TASKYARD_DROVE_PULL", "missing")
    monkeypatch.setenv("TASKYARD_DROVE_OPEN_FILES", "0")  # not everybody may raise their limit
    runs = common_path / "runs"
    with counting_hook() as (url, told), chaos(tmp_path, runs) as (planes, faults):
        # What befalls workers; runtimes have nothing to do with the rest.
        faults.kinds = "leader killed", "plane killed", "leader frozen past its lease"
        most = TASKS // 6
        limit(planes)
        clients: list[Client] = [
            Tasks(planes, "tasks", most, runs, url),
            Containers(planes, "containers", most),
            Fastlane(planes, "fastlane", most),
            Drove(planes, "drove", most),
        ]
        tasks = befall(planes, faults, clients)
        figures = Checker(planes, clients, Runs.read(runs), told, tasks).check()
        tell(faults, figures, check_leaders(planes, faults))
    assert all(client.history.acknowledged for client in clients)
