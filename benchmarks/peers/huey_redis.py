"""Huey on Redis: a consumer with two worker processes, otherwise the defaults."""

import os
import sys
from pathlib import Path

from huey import RedisHuey

from benchmarks.peers import harness

huey = RedisHuey("bench", url=os.environ[harness.BROKER_VARIABLE])
TASKS = {
    "noop": huey.task(name="noop")(harness.noop),
    "command": huey.task(name="command")(harness.command),
}


def enqueue(kind: str, count: int) -> float:
    """Send by calling the task."""
    return harness.timed(TASKS[kind], count)


WORKER = [
    str(Path(sys.executable).parent / "huey_consumer"),
    f"{__name__}.huey",
    "--workers",
    "2",
    "--worker-type",
    "process",
    "--quiet",
]
PEER = harness.Peer(
    name="Huey",
    distribution="huey",
    broker="redis",
    enqueue=enqueue,
    workers=[WORKER],
)
