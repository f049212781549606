"""Two control planes as their users see them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planes import Planes, installation

from eventually import eventually


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    """Two of them, for all tests here."""
    with installation(tmp_path_factory.mktemp("planes"), 2) as planes:
        planes.await_leader()
        yield planes


def both(planes: Planes, path: str) -> list[Any]:
    """What each of the planes answers."""
    found = []
    for number in range(2):
        with planes.client(number) as client:
            found.append(client.get(path).raise_for_status().json())
    return found


def test_both_say_who_leads(planes: Planes) -> None:
    """And each says that it is the one who answers."""
    one, other = both(planes, "/cluster")
    assert one["leader"] == other["leader"] == planes.leader()
    assert {one["plane"], other["plane"]} == {plane["id"] for plane in one["planes"]}
    assert sorted(plane["state"] for plane in one["planes"]) == ["following", "leading"]
    assert one["hears_messages"]
    assert one["hears_changes"]


def test_the_command_line_shows_them(planes: Planes) -> None:
    """As a table and as JSON."""
    command = [str(Path(sys.executable).with_name("taskyard")), "cluster", "status", "--json"]
    command += ["--url", planes.all[0].url, "--token", "dev"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(shown.stdout)["leader"] == planes.leader()


@pytest.mark.parametrize("submitted_at", [0, 1])
def test_a_task_is_known_to_both_wherever_it_was_submitted(
    planes: Planes, submitted_at: int
) -> None:
    """Followed, read and ended through the other one."""
    with planes.client(submitted_at) as here, planes.client(1 - submitted_at) as there:
        body = {"command": "echo begun; sleep 0.3; echo over", "name": f"at {submitted_at}"}
        task = here.post("/tasks", json=body).raise_for_status().json()["id"]
        seen = there.get(f"/tasks/{task}/wait", params={"timeout_s": 20}).json()
        assert seen["state"] == "succeeded"
        for client in (here, there):
            assert client.get(f"/tasks/{task}/logs/stdout").text == "begun\nover\n"


def test_a_kill_at_either_plane_ends_the_task(planes: Planes) -> None:
    """Beside whichever worker it runs."""
    with planes.client(0) as one, planes.client(1) as other:
        for killer in (one, other):
            tasks = [
                one.post("/tasks", json={"command": "sleep 100"}).json()["id"] for _ in range(4)
            ]
            for task in tasks:
                eventually(lambda: one.get(f"/tasks/{task}").json()["state"] == "running")  # noqa: B023
                killer.post(f"/tasks/{task}/cancel", json={"grace_s": 0.1}).raise_for_status()
            for task in tasks:
                eventually(lambda: other.get(f"/tasks/{task}").json()["state"] == "cancelled")  # noqa: B023


def test_a_revoked_token_is_void_everywhere_within_a_second(planes: Planes) -> None:
    """Although the other plane has just taken it."""
    with planes.client(0) as one, planes.client(1) as other:
        made = one.post("/tokens", json={"name": "short", "role": "read"}).json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        eventually(lambda: other.get("/me", headers=headers).status_code == 200)
        one.delete(f"/tokens/{made['id']}").raise_for_status()
        time.sleep(1)  # what is promised
        assert other.get("/me", headers=headers).status_code == 401


def test_a_limit_set_at_one_plane_holds_at_the_other(planes: Planes) -> None:
    """And so does a pause."""
    with planes.client(0) as one, planes.client(1) as other:
        one.patch("/groups/held", json={"paused": True}).raise_for_status()
        task = other.post("/tasks", json={"command": "true", "group": "held"}).json()["id"]
        eventually(lambda: "paused" in json.dumps(other.get(f"/tasks/{task}/why").json()))
        assert one.get(f"/tasks/{task}").json()["state"] == "queued"
        other.patch("/groups/held", json={"paused": False}).raise_for_status()
        eventually(lambda: one.get(f"/tasks/{task}").json()["state"] == "succeeded")


def test_a_function_deployed_at_one_plane_answers_at_the_other(planes: Planes) -> None:
    """Whoever builds it."""
    source = "def handle(request):\n    return {'was': request.json()}\n"
    with planes.client(0) as one, planes.client(1) as other:
        deployed = one.put(
            "/functions/echo", params={"wait": "30s"}, json={"source": source, "language": "python"}
        )
        assert deployed.json()["version"]["state"] == "ready", deployed.text
        for client in (one, other):
            answer = client.post("/functions/echo/calls", params={"wait": "30s"}, json={"a": 1})
            assert (answer.status_code, answer.json()) == (200, {"was": {"a": 1}})
