"""An engine that is away when the server starts, or goes while containers run."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from engines import RealEngine
from eventually import eventually
from served import await_state, serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("engines")]


@pytest.fixture
def data(engine: RealEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server's data directory; the environment says which engine it is to use."""
    monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", engine.url)
    monkeypatch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
    monkeypatch.setenv("TASKYARD_WORKER_SLOTS", "20")
    monkeypatch.setenv("TASKYARD_CIRCUIT_MAX_FAILURES", "2")
    monkeypatch.setenv("TASKYARD_CIRCUIT_RESET_S", "1")
    monkeypatch.setenv("TASKYARD_CONTAINER_VOLUMES", str(tmp_path))
    yield tmp_path / "data"
    engine.clear()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that containers may see."""
    shared = tmp_path / "shared"
    shared.mkdir()
    return shared


def submit(client: httpx2.Client, script: str, shared: Path) -> str:
    """The id of a new task; what is shared with it is below ``/shared``."""
    body = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "retry": {"max_attempts": 1},
        "container": {"volumes": [{"host": str(shared), "container": "/shared"}]},
    }
    found: str = client.post("/tasks", json=body).raise_for_status().json()["id"]
    return found


def why(client: httpx2.Client, task_id: str) -> str:
    """What is said of a task."""
    return client.get(f"/tasks/{task_id}/why").raise_for_status().text


def workers(client: httpx2.Client) -> str:
    """All workers with the states of their runtimes."""
    return client.get("/workers").raise_for_status().text


def test_a_server_may_start_before_its_engine(data: Path, engine: RealEngine, shared: Path) -> None:
    """Tasks wait, told why; the circuit opens, and closes when the engine is there."""
    engine.stop()
    try:
        with serving(data) as served, served.client() as client:
            task_id = submit(client, "exit 3", shared)
            eventually(lambda: '"open"' in workers(client), of=lambda: workers(client))
            assert "tried again in" in why(client, task_id)
            assert str(engine.socket) in why(client, task_id)
            assert client.get(f"/tasks/{task_id}").json()["state"] == "queued"
            engine.start()
            task = await_state(client, task_id, "failed", within_s=60)
            assert (task["exit_code"], task["attempt_count"]) == (3, 1)
    finally:
        if not engine.is_running:
            engine.start()


@pytest.mark.parametrize("first", ["engine", "server"])
def test_engine_and_server_away_while_ten_run(
    data: Path, engine: RealEngine, first: str, shared: Path
) -> None:
    """Attempts wait for the engine, then end once: by their own codes, never by its absence."""
    # They go on when they are told to, those of Docker Engine in their second life: it ends them
    # when it ends, at once where they heed its signal, as they do while a server looks on.
    trap = "trap 'exit 143' TERM; " if first == "engine" else ""
    wait = "until [ -e /shared/go ]; do sleep 0.1; done"
    script = f"{trap}echo {{n}}; [ $TASKYARD_ATTEMPT = 2 ] || {wait}; exit {{n}}"
    with serving(data) as served, served.client() as client:
        ids = [submit(client, script.format(n=number), shared) for number in range(10)]
        for number, task_id in enumerate(ids):
            eventually(
                lambda task_id=task_id, number=number: (  # type: ignore[misc]
                    client.get(f"/tasks/{task_id}/logs/stdout").text == f"{number}\n"
                ),
                of=lambda task_id=task_id: why(client, task_id),  # type: ignore[misc]
            )
        label = engine.containers()[0]["Labels"]["taskyard.installation"]
        if first == "engine":
            engine.stop()
            served.kill()
        else:
            served.kill()
            engine.stop()
        try:
            served.start()
            served.await_ready()
            for task_id in ids:
                assert client.get(f"/tasks/{task_id}").json()["state"] == "running"
            if engine.kind == "podman":
                (shared / "go").touch()
        finally:
            engine.start()
        stray = {"taskyard.installation": label, "taskyard.attempt": "nobody"}
        engine.create("stray", stray, "sleep 600")
        for number, task_id in enumerate(ids):
            task = await_state(client, task_id, "succeeded", "failed", within_s=90)
            story = client.get(f"/tasks/{task_id}/why").json()["story"]
            assert task["exit_code"] == number, (task, story)
            kinds = [e["kind"] for e in client.get(f"/tasks/{task_id}/events").json()["items"]]
            assert kinds.count("failed") + kinds.count("succeeded") == 1, kinds
            if engine.kind == "podman":
                # Its containers do not need the service.
                assert task["attempt_count"] == 1, story
                assert client.get(f"/tasks/{task_id}/logs/stdout").text == f"{number}\n"
            else:
                # Docker Engine takes its containers with it, which costs the task nothing.
                assert len(story) == 2, story
        eventually(lambda: not engine.containers(), of=engine.containers)
