"""Calls of functions: no-ops under load and alone, cold starts, and what warm ones weigh."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load, server
from benchmarks.api import BASE, Api, FigureFailed, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, missing, plain
from benchmarks.yardsticks import SLOW_PEERS, PeerFailed, PeerMissing

NAME = "functions"
RATE = "no-op calls, durable submit and result, 32 connections"
RATIO = "the same, against Celery's no-ops (Redis, two processes)"
OTHERS = {
    "dramatiq_redis": "the same, against Dramatiq's no-ops (Redis, two processes)",
    "huey_redis": "the same, against Huey's no-ops (Redis, two processes)",
    "procrastinate_postgresql": "the same, against Procrastinate's no-ops (two processes)",
}
P50 = "synchronous warm call, p50"
P99 = "synchronous warm call, p99"
FORKED = "what a freshly forked process for each call adds, p50"
COLD = "first call of a function without dependencies"
WEIGHT = "memory of one more warm function, shared pages by share"
RETIRED = "processes of functions that were retired"
LINES: Lines = {
    RATE: Requirement("figure", "at least", 2500, "/s"),
    RATIO: Requirement("ratio", "at least", 2),
    **dict.fromkeys(OTHERS.values()),
    P50: Requirement("figure", "under", 4, "ms"),
    P99: Requirement("figure", "under", 15, "ms"),
    FORKED: Requirement("figure", "under", 5, "ms"),
    COLD: Requirement("figure", "under", 60, "ms"),
    WEIGHT: Requirement("figure", "under", 10, "MB"),
    RETIRED: Requirement("figure", "at most", 0, ""),
}
SOURCE = "def handle(request):\n    return None\n"
COLD_STARTS = 20
WARM = 40
"""Functions that are warm at once; each weighs as much as the next."""
RETIRE_S = 0.2


def measure(bench: Bench) -> Sequence[Row]:
    """Calls over HTTP, waited for, in turns with the peers; then one at a time, then cold."""
    message = load.request("POST", f"{BASE}/functions/noop/calls?wait=30s", server.TOKEN, b"x")
    rates: list[float] = []
    field = Field(bench)
    with server.running(bench.data) as running:
        api = Api(running.port)
        deploy(api, "noop")
        accepted(load.generate(running.port, message, duration_s=bench.scale.warm_up_s))
        for _ in range(bench.scale.rounds):
            run = load.generate(running.port, message, duration_s=bench.scale.submit_s)
            rates.append(accepted(run).rate)
            field.round()
        waits = waits_ms(bench, running.port, message)
        api.close()  # idle for longer than the server keeps a connection
        api = Api(running.port)
        cold = [cold_start_ms(api, running.port, f"cold{n}") for n in range(COLD_STARTS)]
        weights = [weight_mb(api, running)]
        api.close()
    forked = forked_waits_ms(bench, message)
    retired = retired_processes(bench.data)
    added = percentile(forked, 0.50) - percentile(waits, 0.50)
    return [
        plain(NAME, RATE, "/s", rates, LINES[RATE]),
        *field.rows(rates),
        plain(NAME, P50, "ms", [percentile(waits, 0.50)], LINES[P50]),
        plain(NAME, P99, "ms", [percentile(waits, 0.99)], LINES[P99]),
        plain(NAME, FORKED, "ms", [added], LINES[FORKED]),
        plain(NAME, COLD, "ms", cold, LINES[COLD]),
        plain(NAME, WEIGHT, "MB", weights, LINES[WEIGHT]),
        plain(NAME, RETIRED, "", retired, LINES[RETIRED]),
    ]


class Field:
    """The peers, each measured once a round, in turns with us."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._rates: dict[str, list[float]] = {peer: [] for peer in ("celery_redis", *OTHERS)}
        self._trouble: dict[str, PeerMissing | PeerFailed] = {}

    def round(self) -> None:
        """Measure all that could be measured so far."""
        scale = self._bench.scale
        for peer, rates in self._rates.items():
            if peer in self._trouble:
                continue
            count = scale.slow_peer_tasks if peer in SLOW_PEERS else scale.peer_tasks
            try:
                rates.append(self._bench.peers.rate(peer, "noop", count))
            except (PeerMissing, PeerFailed) as error:
                self._trouble[peer] = error

    def rows(self, ours: Sequence[float]) -> list[Row]:
        """A row for each peer, against our rates of the same rounds."""
        found = []
        for peer, rates in self._rates.items():
            what = OTHERS.get(peer, RATIO)
            error = self._trouble.get(peer)
            if error is not None:
                failed = isinstance(error, PeerFailed)
                found.append(missing(NAME, what, str(error), LINES[what], failed=failed))
            else:
                title = self._bench.peers.title(peer)
                found.append(compared(NAME, what, "/s", ours, title, rates, LINES[what]))
        return found


def waits_ms(bench: Bench, port: int, message: bytes) -> list[float]:
    """Milliseconds of calls that follow one another on one connection."""
    alone = load.generate(port, message, connections=1, duration_s=bench.scale.submit_s)
    return [one * 1000 for one in accepted(alone).latencies_s]


def forked_waits_ms(bench: Bench, message: bytes) -> list[float]:
    """The same where a process answers one call only: each is forked, into a cgroup of its own."""
    with configured(bench.data, "function_calls = 1") as running:
        api = Api(running.port)
        deploy(api, "noop")
        accepted(load.generate(running.port, message, connections=1, count=20))
        waits = waits_ms(bench, running.port, message)
        api.close()
    return waits


@contextmanager
def configured(data: Path, line: str) -> Iterator[server.Server]:
    """A server with a line of configuration."""
    folder = data / "configured"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "taskyard.toml"
    config.write_text(line + "\n")
    with server.running(data, "--config", str(config)) as running:
        yield running


def deploy(api: Api, name: str) -> None:
    """Deploy the no-op and wait for its build."""
    answer = api.call(
        "PUT", f"/functions/{name}?wait=60s", {"source": SOURCE, "language": "python"}
    )
    if answer["version"]["state"] != "ready":
        raise FigureFailed(f"the build of {name} is {answer['version']}")


def cold_start_ms(api: Api, port: int, name: str) -> float:
    """Milliseconds of the first call, over HTTP."""
    deploy(api, name)
    message = load.request("POST", f"{BASE}/functions/{name}/calls?wait=30s", server.TOKEN, b"")
    run = accepted(load.generate(port, message, connections=1, count=1))
    return run.latencies_s[0] * 1000


def weight_mb(api: Api, running: server.Server) -> float:
    """Megabytes that one more warm function adds: its zygote and members, by share of pages."""
    before = shares_bytes(running.data)
    for number in range(WARM):
        cold_start_ms(api, running.port, f"warm{number}")
    return (shares_bytes(running.data) - before) / WARM / 1e6


def retired_processes(data: Path) -> list[float]:
    """How many function processes are left some time after their last call."""
    with configured(data, f"function_idle_s = {RETIRE_S}") as running:
        api = Api(running.port)
        for number in range(5):
            cold_start_ms(api, running.port, f"gone{number}")
        deadline = time.monotonic() + 30
        left = len(members(running.data))
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            left = len(members(running.data))
        api.close()
    return [float(left)]


def members(data: Path) -> list[int]:
    """Processes that work below the data directory: zygotes and members."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        if place.is_relative_to(data.resolve() / "functions"):
            found.append(int(entry.name))
    return found


def shares_bytes(data: Path) -> int:
    """Proportional set size of all function processes."""
    total = 0
    for pid in members(data):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total
