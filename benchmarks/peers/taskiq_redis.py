"""Taskiq on Redis: the stream broker (the one that acknowledges), two worker processes."""

import asyncio
import os
import sys
import time

from taskiq_redis import RedisStreamBroker

from benchmarks.peers import harness

broker = RedisStreamBroker(os.environ[harness.BROKER_VARIABLE])
TASKS = {
    "noop": broker.task(task_name="noop")(harness.noop),
    "command": broker.task(task_name="command")(harness.command),
}


def enqueue(kind: str, count: int) -> float:
    """Send with `kiq()`, one after the other."""
    return asyncio.run(_enqueue(kind, count))


async def _enqueue(kind: str, count: int) -> float:
    task = TASKS[kind]
    await broker.startup()
    begin = time.perf_counter()
    for _ in range(count):
        await task.kiq()
    elapsed = time.perf_counter() - begin
    await broker.shutdown()
    return elapsed


WORKER = [
    sys.executable,
    "-m",
    "taskiq",
    "worker",
    f"{__name__}:broker",
    "--workers",
    "2",
    "--log-level",
    "WARNING",
]
PEER = harness.Peer(
    name="Taskiq",
    distribution="taskiq",
    broker="redis",
    enqueue=enqueue,
    workers=[WORKER],
)
