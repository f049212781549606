"""Functions that are images as a user meets them: HTTP, command line, and a server that dies."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from engines import KINDS, RealEngine, real_engine
from eventually import eventually
from function_program import function_program
from registry import Registry, registry
from served import await_state, serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("containers")]


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine."""
    with real_engine(request.param) as engine:
        yield engine


@pytest.fixture
def data(engine: RealEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server's data directory; the environment says which engine it is to use."""
    monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", engine.url)
    monkeypatch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
    # An outage may be long on a busy machine; the circuit must not stay open for a minute then.
    monkeypatch.setenv("TASKYARD_CIRCUIT_RESET_S", "1")
    yield tmp_path / "data"
    engine.clear()


@pytest.fixture
def images() -> Iterator[Registry]:
    """A registry that anybody may pull from."""
    with registry() as found:
        yield found


def push(images: Registry, name: str = "", mark: str = "m") -> str:
    """Offer an image with the program; its name."""
    name = name or f"fn-{uuid4().hex[:12]}"
    images.push(name, "latest", mark, program=function_program(), command=("/program",))
    return f"{images.host}/{name}:latest"


def deploy(client: httpx2.Client, image: str, **members: Any) -> Any:
    """Deploy ``f`` and wait for its build; the version."""
    body = {"image": image, **members}
    answer = client.put("/functions/f?wait=60s", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["version"]


def call(client: httpx2.Client, body: str, wait: str = "30s") -> httpx2.Response:
    """Call ``f``."""
    answer = client.post(f"/functions/f/calls?wait={wait}", content=body)
    if answer.headers.get("location", "").startswith("/api/v1/tasks/"):
        # It waits still: the test says why, rather than that a task is not its answer.
        task_id = answer.json()["id"]
        told = [client.get(path).text for path in (f"/tasks/{task_id}/why", "/workers")]
        raise AssertionError(f"not answered within {wait}: {told}")
    return answer


def test_from_an_image_to_an_answer(data: Path, images: Registry) -> None:
    """Deploy, call, logs, a failed pull, a tag that moves, roll back, delete."""
    image = push(images, mark="old")
    with serving(data) as served, served.client() as client:
        version = deploy(client, image, limits={"memory": "64MiB", "timeout_s": 5})
        assert (version["state"], version["image"]) == ("ready", image), version
        assert version["digest"].startswith("sha256:")
        log = client.get("/functions/f/versions/1/log").text
        assert f"pulling {image}" in log
        assert f"resolved to {version['digest']}" in log
        answer = call(client, "echo hi")
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (
            201,
            "echo hi",
            "x/y",
        )
        printed = call(client, "print 2000")
        task_id = printed.headers["taskyard-task-id"]
        assert client.get(f"/tasks/{task_id}/logs/stdout").text == f"{'x' * 999}\n" * 2
        assert client.get(f"/tasks/{task_id}/logs/stderr").text == "oh\n"
        task = client.get(f"/tasks/{task_id}").json()
        assert (task["runtime"], task["function_version"]) == ("function", 1)
        failed = deploy(client, f"{images.host}/none:1")
        assert (failed["state"], failed["digest"]) == ("failed", None)
        assert "cannot be pulled" in failed["message"]
        push(images, name=image.rpartition("/")[2].partition(":")[0], mark="new")
        assert call(client, "read /mark").text == "old"
        assert deploy(client, image)["number"] == 3
        assert call(client, "read /mark").text == "new"
        client.post("/functions/f/rollback").raise_for_status()
        assert call(client, "read /mark").text == "old"
        assert call(client, "sleep 20").status_code == 504
        assert client.delete("/functions/f").status_code == 204


def test_the_command_line_deploys_images(data: Path, images: Registry) -> None:
    """``taskyard function deploy NAME --image REF`` shows the pull."""
    image = push(images)
    with serving(data) as served:
        env = {**os.environ, "TASKYARD_URL": served.url, "TASKYARD_TOKEN": "dev"}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "taskyard", "function", *arguments]
            return subprocess.run(
                command, env=env, capture_output=True, text=True, timeout=60, check=False
            )

        deployed = run("deploy", "f", "--image", image)
        assert deployed.returncode == 0, deployed.stderr
        told = json.loads(deployed.stdout)
        assert (told["version"]["state"], told["version"]["image"]) == ("ready", image)
        assert f"pulling {image}" in told["log"]
        assert run("invoke", "f", "echo").stdout == "echo"
        both = run("deploy", "f", ".", "--image", image)
        assert both.returncode != 0
        assert "either a path or --image" in both.stderr
        refused = run("deploy", "f", "--image", "Not An Image")
        assert refused.returncode != 0
        assert "must look like" in refused.stderr


def test_credentials_for_a_registry_come_from_a_secret(data: Path) -> None:
    """Without them, or with wrong ones, the pull fails; they are in no log."""
    with registry("robot:hunter2") as private, serving(data) as served, served.client() as client:
        image = push(private)
        failed = deploy(client, image)
        assert failed["state"] == "failed", failed
        secret = {"value": json.dumps({"username": "robot", "password": "hunter2"})}
        client.put("/secrets/registry", json=secret).raise_for_status()
        version = deploy(client, image, credentials="registry")
        assert version["state"] == "ready", version
        assert call(client, "echo").text == "echo"
        assert "hunter" not in client.get("/functions/f/versions/2/log").text
    assert "hunter" not in served.log.read_text()


def test_a_killed_server_leaves_no_container(
    data: Path, images: Registry, engine: RealEngine
) -> None:
    """A call under way is lost and runs again; what ran before is gone, and nothing piles up."""
    image = push(images)
    with serving(data) as served, served.client() as client:
        deploy(client, image)
        assert call(client, "echo").status_code == 201
        submitted = client.post("/functions/f/calls", content="sleep 3").raise_for_status()
        task_id = submitted.json()["id"]
        await_state(client, task_id, "running")
        before = {one["Id"] for one in engine.containers()}
        assert before
        served.kill()
        served.start()
        served.await_ready()
        task = await_state(client, task_id, "succeeded", "failed", "dead", within_s=60)
        attempts = client.get(f"/tasks/{task_id}/attempts").json()["items"]
        assert attempts[0]["state"] == "lost", attempts
        assert (task["state"], task["attempt_count"]) == ("succeeded", 2)
        assert before.isdisjoint({one["Id"] for one in engine.containers()})
        assert served.stop() == 0
        assert engine.containers() == []


def test_without_an_engine_everything_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build fails with a reason; and where the engine has gone away, ``why`` tells of it."""
    monkeypatch.setenv("TASKYARD_CONTAINER_ENGINE", f"unix://{tmp_path}/none")
    with serving(tmp_path / "data") as served, served.client() as client:
        version = deploy(client, "busybox")
        assert version["state"] == "failed"
        assert "there is no tool chain for image on this worker" in version["message"]
        assert "no container engine" in version["message"]
        assert call(client, "x").status_code == 409
        for body in (
            {"image": "busybox", "source": "x"},
            {"image": "busybox", "language": "python"},
            {"image": "busy box"},
            {"source": "x", "language": "image"},
            {"source": "x", "language": "python", "credentials": "s"},
        ):
            refused = client.put("/functions/g", json=body)
            assert refused.status_code == 422, refused.text
        form = {"file": b"x", "meta": b'{"image": "busybox"}'}
        assert client.put("/functions/g", files=form).status_code == 422
        assert client.get("/functions/g").status_code == 404


def test_calls_wait_for_an_engine_that_is_away(
    data: Path, images: Registry, engine: RealEngine
) -> None:
    """They are queued, ``why`` names the runtime and the reason, and they go on by themselves."""
    with serving(data) as served, served.client() as client:
        deploy(client, push(images))
        assert call(client, "echo").status_code == 201
        engine.stop()
        try:
            _await_runtime(client, "function-image", available=False)
            task_id = client.post("/functions/f/calls", content="echo").json()["id"]
            why = client.get(f"/tasks/{task_id}/why").raise_for_status().json()
            assert why["code"] == "no_runtime", json.dumps(why)
            assert "no worker can run a function-image now" in why["summary"]
        finally:
            engine.start()
        await_state(client, task_id, "succeeded", within_s=60)
        assert call(client, "echo").status_code == 201
        assert served.stop() == 0
        assert engine.containers() == []


def _await_runtime(client: httpx2.Client, runtime: str, *, available: bool) -> None:

    def look() -> bool:
        (worker,) = client.get("/workers").json()["items"]
        return (runtime in worker["runtimes"]) == available

    eventually(look, within_s=60)
