"""What a workspace notices of another one that uses all it gets of what they have in common."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks import server
from benchmarks.api import Api, FigureFailed
from benchmarks.figures import Bench, Lines
from benchmarks.greed import KINDS
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared
from benchmarks.server import Server

NAME = "shares"
LIMIT = Requirement("ratio", "at most", 2)
WHAT = {
    "policies": "a command beside placement policies",
    "bodies": "a command beside slow bodies",
    "streams": "a command beside 1,000 streams",
    "waits": "a command beside 2,000 requests that wait",
    "webhooks": "a webhook beside dead endpoints",
    "output": "a command beside output past its quota",
    "builds": "a build beside a full queue of builds",
}
PERCENTILES = {"p50": 0.50, "p99": 0.99}
LINES: Lines = {f"{what}, {name}": LIMIT for what in WHAT.values() for name in PERCENTILES}
CONFIG = 'output_quota_bytes = "64MiB"\n'
READY_S = 120.0
Sample = Callable[[], float]


def measure(bench: Bench) -> Sequence[Row]:
    """For each share: alone and beside, in turns, on a server of its own."""
    bench.data.mkdir(parents=True, exist_ok=True)
    config = bench.data / "shares.toml"
    config.write_text(CONFIG)
    rows: list[Row] = []
    for kind in KINDS:
        with server.running(bench.data, "--config", str(config.resolve())) as running:
            rows += _measured(kind, running, bench)
    return rows


def _measured(kind: str, running: Server, bench: Bench) -> list[Row]:
    api, token = Api(running.port), _token(running.data)
    count = max(50, bench.scale.latency_tasks // 2)
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    with _receiving() as receiver:
        samples = {"webhooks": receiver.sample, "builds": _build}
        sample = samples.get(kind, _command)(api)
        _ = [sample() for _ in range(20)]
        for _ in range(bench.scale.rounds):
            alone.append([sample() for _ in range(count)])
            with _greedy(kind, running.port, token):
                beside.append([sample() for _ in range(count)])
    api.close()
    return [
        compared(
            NAME,
            f"{WHAT[kind]}, {name}",
            "ms",
            [percentile(values, part) for values in beside],
            "alone",
            [percentile(values, part) for values in alone],
            LIMIT,
        )
        for name, part in PERCENTILES.items()
    ]


def _command(api: Api) -> Sample:
    """Milliseconds from before a submit until the answer that its task has ended."""

    def sample() -> float:
        begin = time.perf_counter()
        task = api.submit({"command": ["true"]})
        ended = api.call("GET", f"/tasks/{task}/wait?timeout_s=20")
        took = time.perf_counter() - begin
        if ended["state"] != "succeeded":
            raise FigureFailed(f"task {task} is {ended['state']}")
        time.sleep(0.01)
        return took * 1000

    return sample


def _build(api: Api) -> Sample:
    """Milliseconds from before a deploy until the answer that its version is ready."""

    def sample() -> float:
        begin = time.perf_counter()
        body = {"source": "def handle(request): return 1\n", "language": "python"}
        version = api.call("PUT", "/functions/mine?wait=60s", body)["version"]
        if version["state"] != "ready":
            raise FigureFailed(f"a version is {version['state']}")
        return (time.perf_counter() - begin) * 1000

    return sample


class Receiver:
    """Takes webhooks, and knows when the last one came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.came = threading.Event()

    def sample(self, api: Api) -> Sample:
        """Milliseconds from before a submit until the message that its task has ended."""

        def sample() -> float:
            self.came.clear()
            begin = time.perf_counter()
            url = f"http://127.0.0.1:{self.port}/"
            api.submit({"command": ["true"], "webhooks": [{"url": url}]})
            if not self.came.wait(30):
                raise FigureFailed("a webhook did not come within 30 s")
            return (time.perf_counter() - begin) * 1000

        return sample


@contextmanager
def _receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()
            receiver.came.set()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        receiver = Receiver(http.server_address[1])
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield receiver
        http.shutdown()
        thread.join()


@contextmanager
def _greedy(kind: str, port: int, token: str) -> Iterator[None]:
    """The other workspace at work, from the moment it has its share."""
    command = [sys.executable, "-m", "benchmarks.greed", kind, str(port), token]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            if process.stdout.readline().strip() != "ready":
                raise FigureFailed(f"the greedy workspace for {kind} did not come up")
            yield
        finally:
            process.kill()


def _token(data: Path) -> str:
    program = Path(sys.executable).parent / "taskyard"
    made = subprocess.run(
        [
            *(str(program), "token", "create", "greedy", "--json", "--workspace", "greedy"),
            *("--role", "write", "--data", str(data)),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return str(json.loads(made.stdout)["token"])
