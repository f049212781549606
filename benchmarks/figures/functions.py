"""Calls of functions: no-ops under load and alone, cold starts, and what warm ones weigh."""

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load, server
from benchmarks.api import BASE, Api, FigureFailed, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, missing, plain
from benchmarks.yardsticks import PeerFailed, PeerMissing

NAME = "functions"
RATE = "no-op calls, durable submit and result, 32 connections"
RATIO = "the same, against Celery's no-ops (Redis, two processes)"
P50 = "synchronous warm call, p50"
P99 = "synchronous warm call, p99"
COLD = "first call of a function without dependencies"
WEIGHT = "memory of one more warm function, shared pages by share"
RETIRED = "processes of functions that were retired"
LINES: Lines = {
    RATE: Requirement("figure", "at least", 2500, "/s"),
    RATIO: Requirement("ratio", "at least", 2),
    P50: Requirement("figure", "under", 4, "ms"),
    P99: Requirement("figure", "under", 15, "ms"),
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
    """Calls over HTTP, waited for, in turns with Celery; then one at a time, then cold."""
    message = load.request("POST", f"{BASE}/functions/noop/calls?wait=30s", server.TOKEN, b"x")
    rates: list[float] = []
    celery: list[float] = []
    reason, failed = "", False
    with server.running(bench.data) as running:
        api = Api(running.port)
        deploy(api, "noop")
        accepted(load.generate(running.port, message, duration_s=bench.scale.warm_up_s))
        for _ in range(bench.scale.rounds):
            run = load.generate(running.port, message, duration_s=bench.scale.submit_s)
            rates.append(accepted(run).rate)
            if reason:
                continue
            try:
                celery.append(bench.peers.rate("celery_redis", "noop", bench.scale.peer_tasks))
            except (PeerMissing, PeerFailed) as error:
                reason, failed = str(error), isinstance(error, PeerFailed)
        alone = load.generate(running.port, message, connections=1, duration_s=bench.scale.submit_s)
        waits = [one * 1000 for one in accepted(alone).latencies_s]
        cold = [cold_start_ms(api, running.port, f"cold{n}") for n in range(COLD_STARTS)]
        weights = [weight_mb(api, running)]
        api.close()
    retired = retired_processes(bench.data)
    rows = [plain(NAME, RATE, "/s", rates, LINES[RATE])]
    if reason:
        rows.append(missing(NAME, RATIO, reason, LINES[RATIO], failed=failed))
    else:
        title = bench.peers.title("celery_redis")
        rows.append(compared(NAME, RATIO, "/s", rates, title, celery, LINES[RATIO]))
    return [
        *rows,
        plain(NAME, P50, "ms", [percentile(waits, 0.50)], LINES[P50]),
        plain(NAME, P99, "ms", [percentile(waits, 0.99)], LINES[P99]),
        plain(NAME, COLD, "ms", cold, LINES[COLD]),
        plain(NAME, WEIGHT, "MB", weights, LINES[WEIGHT]),
        plain(NAME, RETIRED, "", retired, LINES[RETIRED]),
    ]


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
    (data / "quick").mkdir(parents=True, exist_ok=True)
    config = data / "quick" / "taskyard.toml"
    config.write_text(f"function_idle_s = {RETIRE_S}\n")
    with server.running(data, "--config", str(config)) as running:
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
