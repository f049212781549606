"""RQ on Redis: two default workers, each of which forks for every job."""

import os
import sys
from pathlib import Path

from redis import Redis
from rq import Queue

from benchmarks.peers import harness

URL = os.environ[harness.BROKER_VARIABLE]
TASKS = {"noop": harness.noop, "command": harness.command}


def enqueue(kind: str, count: int) -> float:
    """Send with `Queue.enqueue()`."""
    with Redis.from_url(URL) as connection:
        queue = Queue("bench", connection=connection)
        return harness.timed(lambda: queue.enqueue(TASKS[kind]), count)


WORKER = [str(Path(sys.executable).parent / "rq"), "worker", "--url", URL, "--quiet", "bench"]
PEER = harness.Peer(
    name="RQ", distribution="rq", broker="redis", enqueue=enqueue, workers=[WORKER, WORKER]
)
