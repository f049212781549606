"""Dramatiq on Redis: two processes with the default eight threads each, no results."""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import harness

dramatiq.set_broker(RedisBroker(url=os.environ[harness.BROKER_VARIABLE]))
TASKS = {
    "noop": dramatiq.actor(harness.noop, actor_name="noop"),
    "command": dramatiq.actor(harness.command, actor_name="command"),
}


def enqueue(kind: str, count: int) -> float:
    """Send with `send()`."""
    return harness.timed(TASKS[kind].send, count)


PEER = harness.Peer(
    name="Dramatiq",
    distribution="dramatiq",
    broker="redis",
    enqueue=enqueue,
    workers=[[sys.executable, "-m", "dramatiq", __name__, "--processes", "2"]],
)
