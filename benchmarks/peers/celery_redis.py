"""Celery on Redis: default settings, JSON, no result back end, prefork pool of two."""

import os
import sys

from celery import Celery

from benchmarks.peers import harness

app = Celery("bench", broker=os.environ[harness.BROKER_VARIABLE])
TASKS = {
    "noop": app.task(harness.noop, name="noop", ignore_result=True),
    "command": app.task(harness.command, name="command", ignore_result=True),
}


def enqueue(kind: str, count: int) -> float:
    """Send with `delay()`, as applications do."""
    return harness.timed(TASKS[kind].delay, count)


WORKER = [
    sys.executable,
    "-m",
    "celery",
    "-A",
    __name__,
    "worker",
    "--concurrency",
    "2",
    "--loglevel",
    "WARNING",
]
PEER = harness.Peer(
    name="Celery",
    distribution="celery",
    broker="redis",
    enqueue=enqueue,
    workers=[WORKER],
)
