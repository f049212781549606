"""Durable submits over HTTP, one request each, against Celery enqueueing to Redis."""

import json
from collections.abc import Sequence

from benchmarks import load, server
from benchmarks.api import BASE, Api, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, compared, missing, plain
from benchmarks.yardsticks import PeerFailed, PeerMissing

NAME = "submits"
RATE = "durable submits, 32 connections, one request each"
RATIO = "the same, against Celery enqueueing to Redis"
ANSWER = "answer to a submit under that load, p99"
LINES: Lines = {
    RATE: Requirement("figure", "at least", 5000, "/s"),
    RATIO: Requirement("ratio", "at least", 2.3),
    ANSWER: None,
}
GROUP = "bench"


def measure(bench: Bench) -> Sequence[Row]:
    """Submit into a paused group, so that no dispatch is measured along; in turns with Celery."""
    body = json.dumps({"command": ["true"], "group": GROUP}).encode()
    message = load.request("POST", f"{BASE}/tasks", server.TOKEN, body)
    rates: list[float] = []
    answers_ms: list[float] = []
    celery: list[float] = []
    reason, failed = "", False
    with server.running(bench.data) as running:
        Api(running.port).pause(GROUP)
        accepted(load.generate(running.port, message, duration_s=bench.scale.warm_up_s))
        for _ in range(bench.scale.rounds):
            run = accepted(load.generate(running.port, message, duration_s=bench.scale.submit_s))
            rates.append(run.rate)
            answers_ms.append(percentile(run.latencies_s, 0.99) * 1000)
            if reason:
                continue
            try:
                celery.append(bench.peers.rate("celery_redis", "enqueue", bench.scale.peer_tasks))
            except (PeerMissing, PeerFailed) as error:
                reason, failed = str(error), isinstance(error, PeerFailed)
    rows = [plain(NAME, RATE, "/s", rates, LINES[RATE])]
    if reason:
        rows.append(missing(NAME, RATIO, reason, LINES[RATIO], failed=failed))
    else:
        title = bench.peers.title("celery_redis")
        rows.append(compared(NAME, RATIO, "/s", rates, title, celery, LINES[RATIO]))
    return [*rows, plain(NAME, ANSWER, "ms", answers_ms)]
