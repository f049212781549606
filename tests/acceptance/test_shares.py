"""A workspace that uses all it gets of something that is common, and another one beside it."""

import contextlib
import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from eventually import eventually
from served import Served

pytestmark = [pytest.mark.timeout(180)]
PATIENCE_S = 20.0
"""An innocent request that takes longer was kept waiting by the other workspace."""


def client(url: str, token: str, timeout_s: float = PATIENCE_S) -> httpx2.Client:
    """The native API with one token."""
    headers = {"authorization": f"Bearer {token}"}
    base = f"{url}/api/v1"
    return httpx2.Client(
        base_url=base, headers=headers, trust_env=False, verify=False, timeout=timeout_s
    )


def token_of(workspace: str, data: Path) -> str:
    """A token that may write in a workspace."""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "taskyard", "token", "create", "test", "--json"),
            *("--workspace", workspace, "--role", "write", "--data", str(data)),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return str(json.loads(made.stdout)["token"])


class Town:
    """A server with an innocent workspace and a greedy one."""

    def __init__(self, served: Served) -> None:
        self.port = served.port
        self.token = token_of("greedy", served.data)
        self.innocent = client(served.url, token_of("innocent", served.data))
        # What it asks for itself may take its time: that is nobody else's.
        self.greedy = client(served.url, self.token, timeout_s=3 * PATIENCE_S)

    def connect(self, request: str, body: bytes = b"") -> socket.socket:
        """A connection of the greedy workspace on which a request was begun, and maybe no more."""
        head = f"{request}\r\nhost: localhost\r\nauthorization: Bearer {self.token}\r\n"
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        opened.sendall(head.encode() + b"\r\n" + body)
        return opened

    def innocent_runs(self) -> None:
        """A command of the innocent workspace is done soon, whatever the other one does."""
        made = self.innocent.post("/tasks", json={"command": "true"})
        assert made.status_code == 201, made.text
        path = f"/tasks/{made.json()['id']}/wait"
        ended = self.innocent.get(path, params={"timeout_s": PATIENCE_S - 1})
        assert ended.json()["state"] == "succeeded"


SETTINGS = """
max_bodies_bytes = "1MiB"
max_streams = 8
max_waits = 8
output_quota_bytes = 20000
"""
UPLOAD = "POST /api/v1/tasks HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 400000"


def status_of(opened: socket.socket) -> int:
    """Status of the answer that is coming."""
    with opened.makefile("rb") as answer:
        return int(answer.readline().split()[1])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """With a server of its own for each test."""
    config = tmp_path / "taskyard.toml"
    config.write_text(SETTINGS)
    served = Served(tmp_path / "data", "--config", str(config))
    served.start()
    served.await_ready()
    try:
        town = Town(served)
        with town.innocent, town.greedy:
            yield town
    finally:
        served.stop()


def heavy(number: int) -> dict[str, object]:
    """One of many placement policies as large as may be, none of which any worker satisfies."""
    tests = " and ".join(f'get(metadata,"a{number}{n}",{n})=={n}' for n in range(40))
    rules = [f'{tests} and worker=="x{number}{n}"' for n in range(4)]
    parts = [{"type": "rule", "rule": rule} for rule in rules]
    return {"type": "composite", "combiner": "or", "policies": parts}


@pytest.mark.timeout(300)
def test_policies_of_one_workspace_do_not_hold_up_another(town: Town) -> None:
    """However many, however large."""
    for batch in range(8):
        numbers = range(50 * batch, 50 * batch + 50)
        tasks = [{"command": "true", "group": f"g{n}", "placement": heavy(n)} for n in numbers]
        assert town.greedy.post("/tasks/batch", json={"tasks": tasks}).status_code == 201
        town.innocent_runs()
    last = town.greedy.get("/tasks", params={"limit": 1}).json()["items"][0]
    why = town.greedy.get(f"/tasks/{last['id']}/why").json()
    assert why["code"] in {"evaluating", "placement"}
    town.innocent_runs()


def test_bodies_of_one_workspace_leave_room_for_those_of_others(town: Town) -> None:
    """What one has under way is bounded; what goes beyond is refused at once."""
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(town.connect(UPLOAD, b"x" * 300_000)) for _ in range(2)]
        # Their bytes may arrive in any order: whichever goes past the share is refused.
        (refused,), _, _ = select.select(uploads, [], [], PATIENCE_S)
        assert status_of(refused) == 429
        made = town.innocent.post("/tasks", json={"command": "wc -c", "stdin": "x" * 400_000})
        assert made.status_code == 201, made.text
        town.innocent_runs()


def test_streams_and_waiting_requests_of_one_workspace_leave_room_for_others(town: Town) -> None:
    """Half of them is the most that one has; the next is refused at once."""
    hang = town.greedy.post("/tasks", json={"command": "sleep 100"}).json()["id"]
    for path in ("events/stream", f"tasks/{hang}/wait?timeout_s=50"):
        request = f"GET /api/v1/{path} HTTP/1.1"
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(town.connect(request)) for _ in range(5)]
            ready, _, _ = select.select(opened, [], [], PATIENCE_S)
            statuses = [status_of(one) for one in opened] if "stream" in path else []
            assert sorted(statuses) == [200] * 4 + [429] if statuses else len(ready) == 1
            if not statuses:
                assert status_of(ready[0]) == 429
            with town.innocent.stream("GET", "/events/stream") as stream:
                assert stream.status_code == 200
            town.innocent_runs()
    town.greedy.post(f"/tasks/{hang}/cancel", json={"grace_s": 0})


def test_output_of_one_workspace_has_a_quota(town: Town) -> None:
    """What is beyond is cut, then nothing more is taken, until output is deleted."""
    tasks = [
        town.greedy.post("/tasks", json={"command": "head -c 50000 /dev/zero; exit 0"}).json()["id"]
        for _ in range(8)
    ]
    for task in tasks:
        town.greedy.get(f"/tasks/{task}/wait", params={"timeout_s": 19})
        assert b"output limit reached" in town.greedy.get(f"/tasks/{task}/logs/stdout").content

    def answered(status: int) -> httpx2.Response:
        return eventually(
            lambda: town.greedy.post("/tasks", json={"command": "true"}),
            lambda answer: answer.status_code == status,
            within_s=PATIENCE_S,
        )

    refused = answered(429)
    assert "may keep 20000" in refused.text
    me = town.greedy.get("/me").json()
    assert me["output_bytes"] > me["output_quota_bytes"] == 20000
    town.innocent_runs()
    for task in tasks:
        town.greedy.delete(f"/tasks/{task}")
    answered(201)
