"""A database that is away, cut off or hanging: what is answered, and that all is well again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from planes import Planes

import postgres
from eventually import eventually
from lone_postgres import LonePostgres, lone_postgres
from natsserver import nats_server
from served import serving

ANSWERED_S: Final = 12.0
"""A write that waits when the database begins to hang is told so after five seconds; a loaded
machine takes some more."""
_DROVE: Final = {
    "sourceAppName": "APP",
    "taskId": "T1",
    "executable": {"type": "DOCKER", "url": "example/image", "dockerPullTimeout": "100s"},
    "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 128}],
}
_OPTIONS: Final = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
WRITES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "native": ("/api/v1/tasks", {"json": {"command": "true"}}),
    "drove": (
        "/drove/apis/v1/tasks/operations",
        {"json": {"type": "CREATE", "opSpec": _OPTIONS, "spec": _DROVE}},
    ),
    "fastlane": ("/fastlane/tasks/shop", {"json": {"image": "x", "command": "true"}}),
    "greencloud": ("/greencloud/v1/tag", {"json": {"name": "one"}}),
    "gx": (
        "/gx/tasks",
        {
            "json": {"name": "one", "type": "default"},
            "params": {"api_key": "dev", "workspace_id": "away"},
        },
    ),
}
"""Something that has to be stored, in every dialect."""


def says_so(dialect: str, answer: httpx2.Response) -> bool:
    """Whether an answer is this dialect's error."""
    match dialect:
        case "native":
            return bool(answer.json()["type"] == "about:blank#unavailable")
        case "drove":
            return bool(answer.json()["status"] == "FAILED")
        case "greencloud":
            return bool(answer.json()["error"] == "UNAVAILABLE")
        case "gx":
            return list(answer.json()) == ["message"]
    return answer.headers["content-type"].startswith("text/plain") and bool(answer.text)


@contextmanager
def client(url: str) -> Iterator[httpx2.Client]:
    """Asks with the well-known credentials, for as long as an answer may take."""
    headers = {"Authorization": "Bearer dev"}
    with httpx2.Client(
        base_url=url, headers=headers, timeout=ANSWERED_S, trust_env=False
    ) as asking:
        yield asking


def health(asking: httpx2.Client) -> tuple[int, dict[str, Any]]:
    """Status and body of ``/health/ready``."""
    answer = asking.get("/health/ready")
    return answer.status_code, answer.json()


def refuses_writes_and_answers_reads(asking: httpx2.Client) -> None:
    """What users see of a server whose database is away."""
    eventually(
        lambda: health(asking)[1]["checks"]["database"],
        lambda found: not found,
        of=lambda: health(asking),
        within_s=20,
    )
    status, body = health(asking)
    assert status == 503
    assert body["live"]
    assert not body["checks"]["database"]
    assert "PostgreSQL" in body["reasons"]["database"]
    for dialect, (path, more) in WRITES.items():
        began = time.monotonic()
        answer = asking.post(path, **more)
        assert time.monotonic() - began < ANSWERED_S
        assert answer.status_code == 503, (dialect, answer.status_code, answer.text)
        assert int(answer.headers["retry-after"]) >= 1, dialect
        assert says_so(dialect, answer), (dialect, answer.text)
    for path in ("/health/live", "/metrics", "/api/v1/workers", "/api/v1/version", "/api/v1/me"):
        assert asking.get(path).status_code == 200, path
    seen = asking.get("/api/v1/cluster").raise_for_status().json()
    assert seen["planes"]
    assert not seen["hears_changes"]
    assert asking.get("/api/v1/tasks").status_code == 503


def is_whole(asking: httpx2.Client, task: str) -> None:
    """It takes and runs tasks again, and knows the one from before."""
    eventually(lambda: health(asking)[0] == 200, of=lambda: health(asking), within_s=40)
    # Each of its connections tries again at its own pace, two seconds apart at most.
    eventually(lambda: asking.get(f"/api/v1/tasks/{task}").status_code == 200, within_s=20)
    eventually(lambda: asking.get("/api/v1/cluster").json()["leader"], within_s=20)

    def runs() -> Any:
        made = asking.post("/api/v1/tasks", json={"command": "true"})
        if made.status_code != 201:
            return made.text
        path = f"/api/v1/tasks/{made.json()['id']}/wait"
        return asking.get(path, params={"timeout_s": 10}).json()["state"]

    eventually(runs, lambda found: found == "succeeded", within_s=30)


def stopped(database: LonePostgres) -> Callable[[], None]:
    """Its machine loses its power; answers with what brings it back."""
    database.stop()
    return database.start


def frozen(database: LonePostgres) -> Callable[[], None]:
    """It hangs; answers with what lets it go on."""
    database.freeze()
    return database.thaw


FAULTS: Final = [stopped, frozen]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_one_plane(tmp_path: Path) -> None:
    """Connections that end are not noticed; a database that is away or hangs is told, and comes
    back without anybody doing anything.
    """
    with (
        lone_postgres() as database,
        serving(tmp_path / "plane", "--database", database.url()) as served,
        client(served.url) as asking,
    ):
        task = asking.post("/api/v1/tasks", json={"command": "true"}).json()["id"]
        for _ in range(3):
            database.cut()
            is_whole(asking, task)
        for fault in FAULTS:
            mend = fault(database)
            refuses_writes_and_answers_reads(asking)
            mend()
            is_whole(asking, task)
        database.freeze()
        assert served.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(240)
def test_several_planes(tmp_path: Path) -> None:
    """All say so, and all are whole again, whoever leads then."""
    postgres.server()
    with lone_postgres() as database, nats_server(tmp_path) as nats:
        planes = Planes(tmp_path, (database, "taskyard"), nats, 2)
        try:
            planes.start()
            with client(planes.all[0].url) as one, client(planes.all[1].url) as other:
                task = one.post("/api/v1/tasks", json={"command": "true"}).json()["id"]
                for asking in (one, other):
                    is_whole(asking, task)
                for fault in FAULTS:
                    mend = fault(database)
                    for asking in (one, other):
                        refuses_writes_and_answers_reads(asking)
                    mend()
                    for asking in (one, other):
                        is_whole(asking, task)
        finally:
            planes.end()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_nats_away_leaves_planes_ready(tmp_path: Path) -> None:
    """All of them are without it at once: taking them all out of a balancer would help nobody."""
    with lone_postgres() as database, nats_server(tmp_path) as nats:
        planes = Planes(tmp_path, (database, "taskyard"), nats, 2)
        try:
            planes.start()
            nats.stop()
            for plane in planes.all:
                with client(plane.url) as asking:
                    eventually(lambda: not health(asking)[1]["checks"]["nats"], within_s=20)
                    status, body = health(asking)
                    assert status == 200
                    assert "NATS" in body["reasons"]["nats"]
                    is_whole(
                        asking, asking.post("/api/v1/tasks", json={"command": "true"}).json()["id"]
                    )
            nats.start()
            for plane in planes.all:
                with client(plane.url) as asking:
                    eventually(lambda: health(asking)[1]["checks"]["nats"], within_s=20)
        finally:
            planes.end()
