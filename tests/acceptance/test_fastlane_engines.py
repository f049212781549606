"""The fastlane dialect on real engines, used as a client written for fastlane uses it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from engines import RealEngine
from eventually import eventually
from served import Served, free_port, serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("engines")]

Json = dict[str, Any]
FINAL = ("done", "failed", "timedout", "expired", "stopped")


class Client:
    """What a user of fastlane would write."""

    def __init__(self, served: Served, url: str) -> None:
        self.served = served
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=40, trust_env=False, verify=False)

    def enqueue(self, command: str, image: str = "busybox", **body: Any) -> Json:
        """The answer to a new job."""
        answer = self.http.post("/tasks/real", json={"image": image, "command": command, **body})
        found: Json = answer.raise_for_status().json()
        return found

    def execution(self, job: Json, *statuses: str, count: int = 1, within_s: float = 90) -> Json:
        """The newest execution once there are so many and it has one of these statuses."""
        seen: list[Json] = []

        def look() -> Json | None:
            nonlocal seen
            with contextlib.suppress(httpx2.TransportError):
                seen = self.http.get(job["jobUrl"]).raise_for_status().json()["job"]["executions"]
            if len(seen) >= count and seen[0]["status"] in (statuses or FINAL):
                return seen[0]
            return None

        return until(look, within_s, lambda: str(seen))


def until(look: Callable[[], Json | None], within_s: float, said: Callable[[], str]) -> Json:
    """What ``look`` answers once it answers with something."""
    found = eventually(look, of=said, within_s=within_s)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def client(engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server that uses the engine; one for all tests, whose jobs know no others."""
    port = free_port()
    data = tmp_path_factory.mktemp("fastlane") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKYARD_CONTAINER_ENGINE", engine.url)
        patch.setenv("TASKYARD_CONTAINER_NETWORK", "none")
        patch.setenv("TASKYARD_CIRCUIT_RESET_S", "1")
        patch.setenv("TASKYARD_WORKER_SLOTS", "20")
        patch.setenv("TASKYARD_LOG_LIMIT_BYTES", "200MiB")
        patch.setenv("TASKYARD_FASTLANE_PULL", "missing")
        patch.setenv("TASKYARD_FASTLANE_RETRY_BACKOFF_MIN_MS", "50")
        with serving(data, "--listen", f"fastlane=127.0.0.1:{port}") as served:
            found = Client(served, f"http://127.0.0.1:{port}")
            with found.http:
                yield found
    engine.clear()


def test_a_command_runs_and_is_told_of(client: Client) -> None:
    """Both streams, exit code, variables, the place of the container."""
    job = client.enqueue("sh -c 'echo out $A; echo err >&2; exit 3'", envs={"A": "b c"}, retries=1)
    found = client.execution(job, count=2)
    assert (found["status"], found["exitCode"]) == ("failed", 3)
    assert (found["log"], found["error"]) == ("out b c\n", "err\n")
    assert found["metadata"]["container_id"]
    answer = client.http.get(f"{job['jobUrl']}/logs/")
    assert answer.text == "out b c\n\n-=-\nerr\n"
    assert answer.headers["fastlane-exit-code"] == "3"


def test_output_that_is_no_text_is_replaced(client: Client) -> None:
    """Nothing breaks, the rest is there."""
    job = client.enqueue("printf 'a\\377b'")
    assert client.execution(job, "done")["log"] == "a\ufffdb"


def test_a_socket_follows_live_output(client: Client) -> None:
    """From the beginning to the end, closed as done."""
    job = client.enqueue("sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done'")
    client.execution(job, "running", "done")
    with connect(client.url.replace("http", "ws") + _path(job) + "/ws/", proxy=None) as socket:
        messages = "".join(str(one) for one in socket)
        assert socket.close_reason == "done"
    assert "1\n2\n3\n" in messages


def _path(job: Json) -> str:
    return f"/tasks/{job['taskId']}/jobs/{job['jobId']}"


def test_an_unknown_image_fails_with_a_reason(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exit code, no finish time, and no retry."""
    with monkeypatch.context() as patch:
        patch.setenv("TASKYARD_FASTLANE_PULL", "never")
        client.served.again()
    try:
        job = client.enqueue("true", image="nobody/has:this", retries=3)
        found = client.execution(job)
    finally:
        client.served.again()
    assert (found["status"], found["exitCode"], found["finishedAt"]) == ("failed", None, None)
    assert "nobody/has" in found["error"]


def test_what_ignores_the_polite_signal_is_killed(client: Client) -> None:
    """With its children, and the exit code says so."""
    job = client.enqueue("sh -c 'trap \"\" TERM; sleep 600 & echo up; wait; sleep 600'")
    client.execution(job, "running")
    answer = client.http.post(f"{job['jobUrl']}/stop")
    assert answer.status_code == 200
    found = client.execution(job)
    assert (found["status"], found["exitCode"]) == ("failed", 137)
    assert "stopped by a user" in found["error"]


def test_a_timeout_ends_a_container(client: Client) -> None:
    """Timed out, without exit code and log."""
    command = "sh -c 'trap exit TERM; echo up; sleep 600 & wait'"
    found = client.execution(client.enqueue(command, timeout=2))
    assert (found["status"], found["exitCode"], found["log"]) == ("timedout", None, None)


@pytest.mark.parametrize("size", [1, 100_000_000])
def test_logs_arrive_whole(client: Client, size: int) -> None:
    """From one byte to a hundred million."""
    job = client.enqueue(f"sh -c 'head -c {size} /dev/zero | tr \"\\\\0\" x'")
    client.execution(job, "done", within_s=200)
    received = 0
    with client.http.stream("GET", f"{job['jobUrl']}/stdout") as answer:
        for piece in answer.iter_bytes():
            assert piece.strip(b"x") == b""
            received += len(piece)
    assert received == size


def test_ten_jobs_outlive_a_killed_server(client: Client) -> None:
    """Each ends once, with its own exit code and all it said; retries go on."""
    script = "sh -c 'for i in 1 2 3 4; do echo $i; sleep 0.7; done; exit %d'"
    jobs = [client.enqueue(script % number) for number in range(10)]
    retried = client.enqueue("sh -c 'sleep 2; exit 1'", retries=1)
    for job in jobs:
        client.execution(job, "running")
    client.served.kill()
    client.served.start()
    client.served.await_ready()
    for number, job in enumerate(jobs):
        found = client.execution(job)
        assert found["exitCode"] == number
        assert found["log"] == "1\n2\n3\n4\n"
        shown = client.http.get(job["jobUrl"]).json()["job"]
        assert shown["executionCount"] == 1
    assert client.execution(retried, "failed", count=2)["exitCode"] == 1


def test_jobs_wait_while_the_engine_is_out(client: Client, engine: RealEngine) -> None:
    """They are enqueued, none fails, and they run when it is back."""
    engine.stop()
    try:
        jobs = [client.enqueue("echo back") for _ in range(10)]
        with client.served.client() as native:

            def noticed() -> Json | None:
                (worker,) = native.get("/workers").raise_for_status().json()["items"]
                found: Json = worker["unavailable"]
                return found or None

            until(noticed, 30, lambda: "the worker does not notice")
        for job in jobs:
            shown = client.http.get(job["jobUrl"]).json()["job"]["executions"][0]
            assert shown["status"] in {"enqueued", "pulling"}
    finally:
        engine.start()
    for job in jobs:
        assert client.execution(job, within_s=120)["log"] == "back\n"
