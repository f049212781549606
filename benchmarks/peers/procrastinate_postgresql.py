"""Procrastinate on PostgreSQL: two default workers; the one peer whose enqueue is durable."""

import os
import sys

import procrastinate

from benchmarks.peers import harness

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ[harness.BROKER_VARIABLE])
)
TASKS = {
    "noop": app.task(harness.noop, name="noop"),
    "command": app.task(harness.command, name="command"),
}


def prepare() -> None:
    """Create Procrastinate's schema."""
    with app.open():
        app.schema_manager.apply_schema()


def enqueue(kind: str, count: int) -> float:
    """Send with `defer()`."""
    with app.open():
        return harness.timed(TASKS[kind].defer, count)


WORKER = [sys.executable, "-m", "procrastinate", "--app", f"{__name__}.app", "worker"]
PEER = harness.Peer(
    name="Procrastinate",
    distribution="procrastinate",
    broker="postgresql",
    enqueue=enqueue,
    workers=[WORKER, WORKER],
    prepare=prepare,
)
