"""Enqueueing through the fastlane dialect while 500 jobs are queued, against the empty queue.

Two fresh servers each round, measured in turns. Their group is paused, so that whatever could run
the jobs takes no part. A burst is short, as it lengthens the queue it is held against.
"""

import json
from collections.abc import Sequence

from benchmarks import load, server
from benchmarks.api import Api, accepted
from benchmarks.figures import Bench, Lines
from benchmarks.rows import Requirement, Row, compared

NAME = "fastlane"
COST = "cost of enqueueing a job (8 connections)"
LINES: Lines = {COST: Requirement("ratio", "at most", 1.2)}
GROUP = "bench"
QUEUED = 500
WARM_UP = 100
BURST = 300
CONNECTIONS = 8
TURNS = 5
"""Pairs of servers for each round of other figures: a burst is short, and so is its accuracy."""


def measure(bench: Bench) -> Sequence[Row]:
    """Milliseconds of server time for each job, with few and with many queued."""
    body = json.dumps(
        {"image": "busybox:latest", "command": "echo hi", "envs": {"A": "b"}, "retries": 1}
    ).encode()
    post = load.request("POST", f"/fastlane/tasks/{GROUP}", server.TOKEN, body)
    later = json.dumps({"image": "busybox:latest", "command": "true", "startIn": "240h"}).encode()
    warm_up = load.request("POST", "/fastlane/tasks/warm-up", server.TOKEN, later)
    costs: tuple[list[float], list[float]] = ([], [])
    for turn in range(bench.scale.rounds * TURNS):
        with server.running(bench.data) as calm, server.running(bench.data) as busy:
            for running in (calm, busy):
                Api(running.port).pause(GROUP)
                accepted(load.generate(running.port, warm_up, count=WARM_UP))
            accepted(load.generate(busy.port, post, count=QUEUED))
            # In turns first and second: a machine that wakes up or tires would favour one of them.
            sides = [(0, calm), (1, busy)]
            for side, running in sides if turn % 2 else reversed(sides):
                run = accepted(
                    load.generate(running.port, post, connections=CONNECTIONS, count=BURST)
                )
                costs[side].append(1000 / run.rate)
    return [compared(NAME, COST, "ms", costs[1], "empty queue", costs[0], LINES[COST])]
