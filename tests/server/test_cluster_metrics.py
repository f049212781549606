"""What ``/metrics`` shows of an installation on a database server."""

from pathlib import Path

import anyio
import pytest
from two_planes import once, two_planes

import postgres
from eventually import eventually_async
from fakes.stores import postgres_url
from taskyard.core.errors import Unavailable
from taskyard.core.ids import Term
from taskyard.ports.database import DatabaseCondition
from taskyard.server import cluster_metrics
from taskyard.server.cluster_metrics import ClusterMetrics
from taskyard.server.metrics import Metrics
from taskyard.services.control_planes import InstallationStatus
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.store import PostgresStore

pytestmark = pytest.mark.anyio
OF_LEADER = (
    b"taskyard_leader_term",
    b"taskyard_planes{",
    b"taskyard_database_oldest_snapshot_seconds",
    b"taskyard_database_dead_tuples{",
)


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


class Leads:
    """Leads, in a term."""

    is_leader = True
    term = Term(3)


class Planes:
    """There are none."""

    async def status(self) -> InstallationStatus:
        """Nobody."""
        return InstallationStatus(None, None, None, (), hears_messages=True, hears_changes=True)


class Database:
    """Answers, fails, or hangs."""

    def __init__(self) -> None:
        self.looks = 0
        self.fails = False
        self.hangs = False

    async def condition(self) -> DatabaseCondition:
        """What was asked for."""
        self.looks += 1
        if self.hangs:
            await anyio.sleep_forever()
        if self.fails:
            raise Unavailable("away")
        return DatabaseCondition(12.5, {"tasks": 7})


async def test_the_leader_shows_the_database_and_others_what_they_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that sums over all control planes are those of the installation."""
    async with two_planes(tmp_path, monkeypatch, once) as planes:
        leader = planes.leader()
        follower = planes.second if leader is planes.first else planes.first
        await eventually_async(lambda: OF_LEADER[0] in leader.metrics.page(), within_s=20)
        page, other = leader.metrics.page(), follower.metrics.page()
    assert b"taskyard_leader 1.0" in page
    assert b"taskyard_leader 0.0" in other
    for name in OF_LEADER:
        assert name in page
        assert b"\n" + name not in other
    assert b'taskyard_planes{state="leading"} 1.0' in page
    assert b'taskyard_planes{state="silent"} 0.0' in page
    assert b'taskyard_database_dead_tuples{table="tasks"}' in page
    for one in (page, other):
        (behind,) = [
            float(line.split()[1])
            for line in one.splitlines()
            if line.startswith(b"taskyard_changes_behind_seconds ")
        ]
        assert behind < 5


async def test_a_transaction_that_holds_back_vacuum_is_seen(tmp_path: Path) -> None:
    """Until it ends."""
    import psycopg  # noqa: PLC0415 - an optional dependency

    url = postgres_url(tmp_path)
    store = PostgresStore(database_address(url))
    await store.open()
    try:
        with psycopg.connect(url) as holder:
            holder.execute("SELECT pg_current_xact_id(); SELECT pg_sleep(0.2)")
            seen = await store.condition()
        assert seen.oldest_snapshot_s >= 0.2
        assert {"tasks", "changes", "leadership"} <= seen.dead_tuples.keys()
        server = postgres.server()
        server.run("SELECT 1")
        assert (await store.condition()).oldest_snapshot_s < seen.oldest_snapshot_s
    finally:
        await store.close()


async def test_old_numbers_are_not_shown_as_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database is away or hangs, or this control plane leads no more."""
    monkeypatch.setattr(cluster_metrics, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(cluster_metrics, "LOOK_S", 0.2)
    database, metrics = Database(), Metrics()
    cluster = ClusterMetrics(Leads(), Planes(), database, lambda: 0.25)
    metrics.watch_cluster(cluster)

    def shows() -> bool:
        return b"taskyard_database_oldest_snapshot_seconds 12.5" in metrics.page()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await eventually_async(shows)
        assert b"taskyard_changes_behind_seconds 0.25" in metrics.page()
        database.fails = True
        await eventually_async(lambda: not shows())
        database.fails = False
        await eventually_async(shows)
        database.hangs = True
        await eventually_async(lambda: not shows())
        database.hangs = False
        await eventually_async(shows)
        tasks.cancel_scope.cancel()
    assert not shows()


async def test_the_database_is_asked_four_times_a_minute() -> None:
    """Not by each who reads the metrics."""
    database, metrics = Database(), Metrics()
    cluster = ClusterMetrics(Leads(), Planes(), database, lambda: 0.0)
    metrics.watch_cluster(cluster)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await eventually_async(lambda: database.looks == 1)
        for _ in range(50):
            metrics.page()
        tasks.cancel_scope.cancel()
    assert database.looks == 1
    assert cluster_metrics.LOOK_EVERY_S == 15
