"""The server is killed in the middle of workspaces that run; the next one shows the same."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventually import eventually
from served import Served, free_port, serving

SIMULATED_S = 1.5
CONFIG = f"""
[gx.sizes."gx.tiny"]
cpu = 0.25
memory_mib = 64
limit_s = 60
simulated_s = {SIMULATED_S}
"""
Tasks = list[dict[str, Any]]


class Gx:
    """A client of workspaces on a server's own listener for the dialect."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=30, trust_env=False, verify=False)

    def ask(self, method: str, path: str, workspace: str, **more: Any) -> httpx2.Response:
        """Send one request."""
        query = {"api_key": "dev", "workspace_id": workspace}
        return self.http.request(method, path, params=query, **more)

    def create(self, workspace: str, kind: str, name: str, **more: Any) -> int:
        """A new task's id."""
        body = {"name": name, "type": kind, **more}
        answer = self.ask("POST", "/tasks", workspace, json=body).raise_for_status()
        return int(answer.json()["task"]["id"])

    def tasks(self, workspace: str) -> Tasks:
        """The list."""
        found: Tasks = self.ask("GET", "/tasks", workspace).raise_for_status().json()["tasks"]
        return found

    def until(self, workspace: str, wanted: Callable[[Tasks], bool]) -> Tasks:
        """The list once it is as wanted."""
        return eventually(lambda: self.tasks(workspace), wanted)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Served, Gx]]:
    """A server with a listener for the dialect, and quick simulations of one type."""
    config = tmp_path / "taskyard.toml"
    config.write_text(CONFIG)
    port = free_port()
    options = ("--config", str(config), "--listen", f"gx=127.0.0.1:{port}")
    with serving(tmp_path / "data", *options) as served:
        gx = Gx(f"http://127.0.0.1:{port}")
        with gx.http:
            yield served, gx


def running(tasks: Tasks) -> list[int]:
    """What runs."""
    return [task["id"] for task in tasks if task["status"] == "running"]


@pytest.mark.timeout(120)
def test_workspaces_outlive_a_killed_server(served: tuple[Served, Gx]) -> None:
    """Ids, names, statuses and queues are as before, twice; what was taken off stays off."""
    server, gx = served
    for number in range(10):
        gx.create("w", "gx.heavy", f"n{number}\0ü")
    gx.create("other", "gx.tiny", "only")
    assert gx.ask("DELETE", "/tasks/9", "w").status_code == 204
    gx.until("w", lambda tasks: len(running(tasks)) == 6)
    gx.until("other", lambda tasks: tasks[0]["status"] == "completed")
    before = gx.tasks("w")
    for _ in range(2):
        server.kill()
        server.start()
        server.await_ready()
        for _ in range(5):
            assert gx.tasks("w") == before
        assert [task["status"] for task in gx.tasks("other")] == ["completed"]
    assert gx.ask("POST", "/tasks/flush", "w").status_code == 204
    server.kill()
    server.start()
    server.await_ready()
    # The slots are still taken by what nobody sees.
    left = gx.tasks("w")
    assert [(task["id"], task["status"]) for task in left] == [
        (7, "queued"),
        (8, "queued"),
        (10, "queued"),
    ]
    assert gx.create("w", "gx.heavy", "later") == 11
    assert gx.ask("DELETE", "/tasks/9", "w").status_code == 404


@pytest.mark.timeout(120)
def test_simulation_keeps_its_original_end(served: tuple[Served, Gx]) -> None:
    """A restart neither prolongs nor repeats it; those behind it follow."""
    server, gx = served
    for number in range(12):
        gx.create("w", "gx.tiny", f"n{number}")
    gx.until("w", lambda tasks: len(running(tasks)) == 6)
    server.kill()
    server.start()
    server.await_ready()
    gx.until("w", lambda tasks: {task["status"] for task in tasks} == {"completed"})
    for number in range(1, 13):
        task = gx.ask("GET", f"/tasks/{number}", "w").json()["task"]
        start, end = (datetime.fromisoformat(task[one]) for one in ("startedAt", "finishedAt"))
        assert SIMULATED_S / 2 - 0.001 <= (end - start).total_seconds() <= SIMULATED_S + 0.001


@pytest.mark.timeout(120)
def test_command_goes_on_and_is_seen_running(served: tuple[Served, Gx], common_path: Path) -> None:
    """Real work survives the server, runs once, and its output is whole."""
    server, gx = served
    go = common_path / "go"
    script = f"echo begun; while [ ! -e {go} ]; do sleep 0.02; done; echo done"
    assert gx.create("w", "gx.tiny", "work", command=script) == 1
    gx.until("w", lambda tasks: running(tasks) == [1])
    eventually(lambda: gx.ask("GET", "/tasks/1/logs", "w").text == "begun\n")
    server.kill()
    server.start()
    server.await_ready()
    assert running(gx.tasks("w")) == [1]
    go.touch()
    gx.until("w", lambda tasks: tasks[0]["status"] == "completed")
    assert gx.ask("GET", "/tasks/1/logs", "w").text == "begun\ndone\n"
