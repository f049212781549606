"""Containers as a user runs them: by HTTP and command line, through a crash of the server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from engines import RealEngine
from eventually import eventually
from registry import registry
from served import Served, await_state, serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("engines")]


@pytest.fixture
def settings(engine: RealEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server's data directory; the environment says which engine it is to use."""
    monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", engine.url)
    monkeypatch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
    # On a busy machine checks of an engine fail; the circuit must not stay open for a minute.
    monkeypatch.setenv("TASKYARD_CIRCUIT_RESET_S", "1")
    monkeypatch.setenv("TASKYARD_WORKER_SLOTS", "20")
    yield tmp_path / "data"
    engine.clear()


def test_ten_containers_outlive_a_killed_server(settings: Path) -> None:
    """All end by their own exit codes, once, with all they said."""
    script = "i=0; while [ $i -lt 5 ]; do echo $N $i; i=$((i+1)); sleep 0.5; done; exit $N"
    with serving(settings) as served, served.client() as client:
        ids = []
        for number in range(10):
            body = {
                "image": "busybox",
                "command": ["sh", "-c", script],
                "env": {"N": str(number)},
            }
            ids.append(client.post("/tasks", json=body).raise_for_status().json()["id"])
        for task_id in ids:
            _await_output(served, task_id)
        served.kill()
        time.sleep(0.5)  # some write and end while nobody is there
        served.start()
        served.await_ready()
        for number, task_id in enumerate(ids):
            task = await_state(client, task_id, "succeeded", "failed", within_s=60)
            assert task["exit_code"] == number, task
            assert task["attempt_count"] == 1
            output = client.get(f"/tasks/{task_id}/logs/stdout").text
            assert output == "".join(f"{number} {line}\n" for line in range(5))
            kinds = [e["kind"] for e in client.get(f"/tasks/{task_id}/events").json()["items"]]
            assert kinds.count("assigned") == 1
            assert kinds[-1] in {"succeeded", "failed"}


def test_what_never_starts_fails_after_one_attempt(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; it is not tried again by the machinery."""
    monkeypatch.setenv("TASKYARD_CONTAINER_NETWORKS", "container:there-is-none")
    with serving(settings) as served, served.client() as client:
        body = {
            "image": "busybox",
            "command": ["true"],
            "container": {"pull": "never", "network": "container:there-is-none"},
        }
        task_id = client.post("/tasks", json=body).raise_for_status().json()["id"]
        task = await_state(client, task_id, "succeeded", "failed")
        assert (task["state"], task["reason"]) == ("failed", "start_failed"), task
        assert task["attempt_count"] == 1
        assert "there-is-none" in task["message"], task


def _await_output(served: Served, task_id: str) -> None:
    with served.client() as client:
        path = f"/tasks/{task_id}/logs/stdout"
        # An answer that there is no attempt yet has a text as well.
        eventually(lambda: client.get(path), lambda found: found.is_success and found.content)


def test_command_line_secrets_and_clean_up(settings: Path, engine: RealEngine) -> None:
    """``taskyard run --image`` streams and exits as the container does; nothing is left behind."""
    with serving(settings) as served, served.client() as client:
        env = {**os.environ, "TASKYARD_URL": served.url, "TASKYARD_TOKEN": "dev"}
        command = [sys.executable, "-m", "taskyard", "run", "--image", "busybox", "--"]
        ran = subprocess.run(
            [*command, "sh", "-c", "echo hi; echo oh >&2; exit 7"],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (7, "hi\n")
        assert ran.stderr.startswith("oh\n")
        client.put("/secrets/word", json={"value": "hunter2"}).raise_for_status()
        client.put("/secrets/registry", json={"value": "no JSON: hunter3"}).raise_for_status()
        body = {
            "image": "busybox",
            "command": ["sh", "-c", "echo $WORD"],
            "env": {"WORD": {"secret": "word"}},
        }
        task_id = client.post("/tasks", json=body).raise_for_status().json()["id"]
        await_state(client, task_id, "succeeded")
        assert client.get(f"/tasks/{task_id}/logs/stdout").text == "hunter2\n"
        credentials = {"image": "busybox", "container": {"credentials": "registry"}}
        task_id = client.post("/tasks", json=credentials).raise_for_status().json()["id"]
        task = await_state(client, task_id, "failed")
        assert "username and password" in task["message"]
        assert "hunter3" not in str(task)
        eventually(lambda: not engine.containers())
    assert "hunter" not in served.log.read_text()


def test_images_are_pulled_with_credentials_from_a_stored_secret(settings: Path) -> None:
    """The registry gets them, and nobody else."""
    with (
        registry("harness:hunter2") as found,
        serving(settings) as served,
        served.client() as client,
    ):
        name = f"img-{uuid4().hex[:12]}"
        found.push(name, "latest", name)
        image = f"{found.host}/{name}"
        secret = json.dumps({"username": "harness", "password": "hunter2"})
        client.put("/secrets/registry", json={"value": secret}).raise_for_status()
        body = {
            "image": image,
            "command": ["cat", "/mark"],
            "container": {"credentials": "registry"},
        }
        task_id = client.post("/tasks", json=body).raise_for_status().json()["id"]
        task = await_state(client, task_id, "succeeded", "failed")
        assert client.get(f"/tasks/{task_id}/logs/stdout").text == name, task
        assert f"pulled {image}:latest" in client.get(f"/tasks/{task_id}/logs/stderr").text
        assert "hunter2" not in client.get(f"/tasks/{task_id}/logs/stderr").text + str(task)
    assert "hunter2" not in served.log.read_text()
