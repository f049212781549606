"""Three control planes on one database under load, killed, frozen and cut off in turns."""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from bulk_clients import BATCH, QUICK, Batches, QuickCalls
from checking import WORKSPACE_LIMIT, Checker, Rows, await_all_ended, check_leaders
from container_clients import Containers, Drove, Fastlane
from dialect_clients import GreenCloud, Gx
from evidence import SETTINGS, gather
from faults import Faults
from followers import Follower
from histories import LIMIT, LIMITED, Calls, Client, Tasks
from hook import counting_hook
from planes import Planes, installed
from runs import FUNCTION, Runs

from engines import RealEngine, real_engine, why_missing
from eventually import eventually
from lone_postgres import lone_postgres

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
"""How long faults go on, beyond one of each kind; ``make chaos`` takes ten minutes."""
TASKS = int(os.environ.get("CHAOS_TASKS", "2000"))
"""How many tasks there are to be."""
USUAL_S = 30.0
"""For how long faults go on at least."""
CONFIG = """
container_engine = "{engine}"
container_network = "none"
circuit_reset_s = 1.0

[fastlane]
pull = "missing"

[drove]
pull = "missing"
placement_wait_s = 8.0
open_files = 0  # not everybody may raise their limit

[gx.sizes."gx.tiny"]
cpu = 0.02
memory_mib = 16
limit_s = 60
simulated_s = 1
"""


def limit(planes: Planes) -> None:
    """Set the limits that the checker looks for."""
    planes.ask("PATCH", f"/groups/{LIMITED}", json={"concurrency_limit": LIMIT}).raise_for_status()
    body = {"concurrency_limit": WORKSPACE_LIMIT}
    planes.ask("PATCH", "/workspace", json=body).raise_for_status()


class Took(dict[str, float]):
    """Seconds, by what they went to."""

    @contextmanager
    def by(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        began = time.monotonic()
        try:
            yield
        finally:
            self[name] = round(time.monotonic() - began, 1)
            print(f"{name}: {self[name]} s")  # noqa: T201


def deployed(planes: Planes, name: str, source: str) -> str:
    """The name of a function that all planes know."""
    body, query = {"source": source, "language": "python"}, {"wait": "60s"}
    answer = planes.ask("PUT", f"/functions/{name}", params=query, json=body).raise_for_status()
    assert answer.json()["version"]["state"] == "ready", answer.text
    for number in range(len(planes.all)):
        with planes.client(number) as client:
            eventually(lambda: client.get(f"/functions/{name}").json().get("live_version"))
    return name


def prepared(planes: Planes, runs: Path, hook: str) -> list[Client]:
    """Clients of several dialects, and all that they need."""
    limit(planes)
    planes.ask("POST", "/tasks", json={"command": "true", "cron": "* * * * *"}).raise_for_status()
    place = str(runs)
    recorded = deployed(planes, "recorded", FUNCTION.format(runs=place, prefix=""))
    quick = deployed(planes, "quick", QUICK.format(runs=place))
    most = TASKS // 20
    bulk = int(TASKS * 0.45)
    pause_s = max(USUAL_S, SECONDS) / (bulk / BATCH)
    green = GreenCloud(planes, "green", most)
    green.prepare(runs)
    return [
        *(Tasks(planes, f"t{number}", most, runs, hook) for number in range(3)),
        Calls(planes, "calls", most, recorded),
        Gx(planes, "gx", most, runs),
        green,
        *(Follower(planes, f"follower{number}", most) for number in range(2)),
        Batches(planes, "batch", bulk, runs, pause_s),
        *(
            QuickCalls(planes, f"quick{number}", bulk // 2, quick, 2 * pause_s)
            for number in range(2)
        ),
    ]


def containers(planes: Planes) -> list[Client]:
    """Clients whose work is containers, which cost a hundred times what others do."""
    most = max(4, TASKS // 400)
    return [
        Containers(planes, "containers", most),
        Fastlane(planes, "fastlane", most),
        Drove(planes, "drove", most),
    ]


@contextmanager
def engines() -> Iterator[list[RealEngine]]:
    """One of each kind that can be started here; of all kinds under CI."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(real_engine(kind))
            for kind in ("podman", "docker")
            if os.environ.get("CI") == "true" or why_missing(kind) is None
        ]


@contextmanager
def chaos(root: Path, runs: Path, found: list[RealEngine]) -> Iterator[tuple[Planes, Faults]]:
    """Three planes that write their runs there, and what is to befall them.

    The first engine is that of two planes: each takes care of its own containers.
    """
    runs.touch()
    runs.chmod(0o666)

    def options(number: int) -> tuple[str, ...]:
        url = found[number % len(found)].url if found else "off"
        config = root / f"taskyard{number}.toml"
        config.write_text(CONFIG.format(engine=url))
        return "--config", str(config)

    with (
        lone_postgres(durable=True, settings=SETTINGS) as database,
        installed(root, (database, "taskyard"), 3, options) as planes,
    ):
        planes.seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(1 << 30))))
        gather(lambda sql: planes.postgres.run(sql, planes.database))
        yield planes, Faults(planes, database, random.Random(planes.seed))


def befall(planes: Planes, faults: Faults, clients: list[Client], took: Took) -> Rows:
    """Have faults befall the planes while clients ask them; all tasks once they have ended."""
    for client in clients:
        client.start()
    try:
        with took.by("faults"):
            faults.run(SECONDS)
    finally:
        with took.by("clients"):
            for client in clients:
                client.finish()
    with took.by("ends"):
        for plane in planes.all:
            plane.await_ready()
        return await_all_ended(planes, 180)


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_nothing_is_lost_or_doubled_whatever_befalls_the_planes(
    tmp_path: Path, common_path: Path
) -> None:
    """What was acknowledged is done as it was asked for, in all dialects and runtimes; nobody's
    plan is carried out twice, and that of no leader after its term.
    """
    runs = common_path / "runs"
    with (
        engines() as found,
        counting_hook() as (url, told),
        chaos(tmp_path, runs, found) as (planes, faults),
    ):
        took = Took()
        with took.by("preparing"):
            clients = prepared(planes, runs, url)
        if found:
            clients += containers(planes)
        tasks = befall(planes, faults, clients, took)
        with took.by("checking"):
            figures = Checker(planes, clients, Runs.read(runs), told, tasks).check()
            leaders = check_leaders(planes, faults)
    for line in ({"seed": faults.planes.seed, **faults.done}, figures, leaders):
        print(json.dumps(line))  # noqa: T201
    assert all(client.history.acknowledged or client.refused for client in clients)
    assert len(tasks) >= TASKS
