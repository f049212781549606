"""Durable submits, 100 tasks per request."""

from collections.abc import Sequence

from benchmarks import load, server
from benchmarks.api import BASE, Api, accepted, batch_body
from benchmarks.figures import Bench, Lines
from benchmarks.rows import Requirement, Row, plain

NAME = "bulk"
RATE = "durable submits, 32 connections, 100 tasks per request"
LINES: Lines = {RATE: Requirement("figure", "at least", 25_000, "/s")}
GROUP = "bench"
TASKS = 100


def measure(bench: Bench) -> Sequence[Row]:
    """Submit batches into a paused group."""
    body = batch_body([{"command": ["true"], "group": GROUP}] * TASKS)
    message = load.request("POST", f"{BASE}/tasks/batch", server.TOKEN, body)
    rates: list[float] = []
    with server.running(bench.data) as running:
        Api(running.port).pause(GROUP)
        accepted(load.generate(running.port, message, duration_s=bench.scale.warm_up_s))
        for _ in range(bench.scale.rounds):
            run = accepted(load.generate(running.port, message, duration_s=bench.scale.submit_s))
            rates.append(run.rate * TASKS)
    return [plain(NAME, RATE, "/s", rates, LINES[RATE])]
