"""Submit to started on an idle system."""

import time
from collections.abc import Sequence

from benchmarks import server
from benchmarks.api import Api, FigureFailed, unix_s
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain

NAME = "latency"
P50 = "submit to started, idle, p50"
P99 = "submit to started, idle, p99"
LINES: Lines = {
    P50: Requirement("figure", "under", 5, "ms"),
    P99: Requirement("figure", "under", 20, "ms"),
}


def measure(bench: Bench) -> Sequence[Row]:
    """One task after the other, each on a system that has come to rest."""
    with server.running(bench.data) as running:
        api = Api(running.port)
        starts_ms(api, "warm-up", 20)
        values = starts_ms(api, "latency", bench.scale.latency_tasks)
        api.close()
    return [
        plain(NAME, P50, "ms", [percentile(values, 0.50)], LINES[P50]),
        plain(NAME, P99, "ms", [percentile(values, 0.99)], LINES[P99]),
    ]


def starts_ms(api: Api, group: str, count: int) -> list[float]:
    """Milliseconds from before the request was written to the attempt's `started_at`, task by task.

    Client and server read the same clock.
    """
    values: list[float] = []
    for _ in range(count):
        begin = time.time()
        task = api.submit({"command": ["true"], "group": group})
        api.call("GET", f"/tasks/{task}/wait?timeout_s=20")
        attempt = api.first_attempt(task)
        if attempt is None or attempt["state"] != "succeeded":
            raise FigureFailed(f"the attempt of task {task} did not succeed: {attempt}")
        values.append((unix_s(attempt["started_at"]) - begin) * 1000)
        time.sleep(0.01)
    return values
