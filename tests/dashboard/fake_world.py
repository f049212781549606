"""The data behind the fake API: tasks in every state, a log that grows, changes as they come."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from taskyard.core.instants import Instant, after, rfc3339
from taskyard.core.states import TaskState

Json = dict[str, Any]
WAITING = {"scheduled", "queued", "retrying"}
ENDED = {"succeeded", "failed", "dead", "cancelled", "expired"}


def ago(seconds: float) -> str:
    """RFC 3339 of so many seconds before now."""
    return rfc3339(after(Instant(time.time_ns() // 1000), -seconds))


class World:
    """Everything the fake API answers from."""

    def __init__(self) -> None:
        self.tasks: dict[str, Json] = {}
        self.submitted: list[Json] = []
        """Bodies of submits, as they came."""
        self.attempts: dict[str, list[Json]] = {}
        self.events: dict[str, list[Json]] = {}
        self.logs: dict[tuple[str, str], bytearray] = {}
        self.groups: dict[str, Json] = {}
        self.jobs: list[Json] = []
        self.listeners: set[MemoryObjectSendStream[Json]] = set()
        self.log_connections = 0
        self.log_epoch = 0
        self.dev = False
        self.cluster: Json = {
            "plane": None, "leader": None, "term": None, "hears_messages": True,
            "hears_changes": True, "planes": [],
        }  # fmt: skip
        self.cluster_asked = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.roles = {"dev": "admin", "reader": "read"}

    def add(self, state: str, command: str | list[str], age: float = 60, **more: Any) -> Json:
        """Store a task as if submitted ``age`` seconds ago."""
        task_id = str(uuid.uuid4())
        ended = state in ENDED
        task: Json = {
            "id": task_id, "workspace": "default", "state": state, "created_at": ago(age),
            "start_at": None, "finished_at": ago(age / 3) if ended else None,
            "attempt_count": 0, "current_attempt": None, "kill_requested_at": None,
            "reason": None, "message": None, "exit_code": None, "schedule_id": None,
            "due_at": None, "retry_of": None, "runtime": "command", "command": command,
            "image": None, "container": None, "placement": None, "env": {}, "cwd": None,
            "stdin": None, "user": None, "isolate": False, "network": True,
            "group": "default", "name": None,
            "priority": 0, "resources": {"cpu": None, "memory": None, "pids": None},
            "timeout_s": None, "kill": {"signal": "SIGTERM", "grace_s": 10.0},
            "retry": {"max_attempts": 1, "backoff_min_s": 1.0, "backoff_max_s": 3600.0,
                      "factor": 2.0, "jitter": 0.1},
            "cron": None, "timezone": "UTC", "catch_up": "one", "expires_at": None,
            "idempotency_key": None, "rerun_if_lost": True, "strict": False, "log_limit": None,
            "labels": {}, "metadata": {}, "webhooks": [], **more,
        }  # fmt: skip
        self.tasks[task_id] = task
        self.attempts[task_id] = []
        self.events[task_id] = []
        self.event(task_id, "submitted", age, actor="token ci")
        return task

    def event(self, task_id: str, kind: str, age: float, **more: Any) -> None:
        """Add a line to a task's history."""
        lines = self.events[task_id]
        blank = {"attempt_id": None, "actor": None, "detail": None}
        lines.append({"number": len(lines) + 1, "kind": kind, "at": ago(age), **blank, **more})

    def attempt(self, task: Json, state: str, age: float, **more: Any) -> Json:
        """Add an attempt, and its part of the history."""
        tries = self.attempts[task["id"]]
        ended = state != "running"
        size = {"stored_bytes": 0, "dropped_bytes": 0}
        made: Json = {
            "id": str(uuid.uuid4()), "task_id": task["id"], "number": len(tries) + 1,
            "worker_id": "forge-1", "state": state, "assigned_at": ago(age),
            "started_at": ago(age - 0.01), "finished_at": ago(age / 2) if ended else None,
            "exit_code": None, "signal": None, "reason": None, "message": None,
            "kill_report": None, "usage": None, "stdout": size, "stderr": size, **more,
        }  # fmt: skip
        tries.append(made)
        task["attempt_count"] = len(tries)
        self.event(task["id"], "assigned", age, attempt_id=made["id"])
        self.event(task["id"], "started", age - 0.01, attempt_id=made["id"])
        for stream in ("stdout", "stderr"):
            self.logs.setdefault((task["id"], stream), bytearray())
        return made

    def move(self, task: Json, state: str, kind: str) -> None:
        """Change a task's state and tell everybody."""
        was, task["state"] = task["state"], state
        if state in ENDED:
            task["finished_at"] = ago(0)
        self.event(task["id"], kind, 0)
        self.announce(task, kind, was)

    def announce(self, task: Json, kind: str, was: str | None) -> None:
        """Send a change to every listener."""
        self.tell({
            "type": "change", "kind": kind, "at": ago(0), "task_id": task["id"],
            "group": task["group"], "state": task["state"], "was": was, "attempt_id": None,
            "attempt_number": None, "reason": None,
        })  # fmt: skip

    def tell(self, message: Json) -> None:
        """Send any message to every listener."""
        for listener in list(self.listeners):
            listener.send_nowait(message)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[MemoryObjectReceiveStream[Json]]:
        """What is told from now on."""
        send, receive = anyio.create_memory_object_stream[Json](100_000)
        with send, receive:
            self.listeners.add(send)
            try:
                yield receive
            finally:
                self.listeners.discard(send)

    def counts(self, group: str | None = None) -> dict[str, int]:
        """Tasks by state."""
        states = [t["state"] for t in self.tasks.values() if group in (None, t["group"])]
        return {state.value: states.count(state) for state in TaskState if state in states}

    def group(self, name: str) -> Json:
        """A group with its counts."""
        settings = self.groups.setdefault(name, {"paused": False, "concurrency_limit": None})
        return {"name": name, **settings, "counts": self.counts(name)}


def populated() -> World:
    """A world with something of everything."""
    world = World()
    for i in range(70):
        done = world.add("succeeded", ["resize", f"photo-{i}.jpg"], 4000 + i * 20,
                         group="thumbnails", labels={"batch": "7"})  # fmt: skip
        world.attempt(done, "succeeded", 3990 + i * 20, exit_code=0)
    recurring = world.add("scheduled", "backup --all /srv/data | zstd -o backup.zst", 90_000,
                          name="nightly backup", group="maintenance", cron="15 3 * * *",
                          timezone="Europe/Berlin", start_at=ago(-30_000))  # fmt: skip
    world.add("scheduled", ["send-report", "--to", "team"], 300, name="weekly report",
              group="reports", start_at=ago(-5400))  # fmt: skip
    world.add("expired", ["notify"], 5000, reason="expired", message="came up too late")
    world.add("cancelled", ["sleep", "600"], 900, reason="killed", group="experiments")
    firing = world.add("succeeded", "backup --all /srv/data", 2000, name="nightly backup",
                       group="maintenance", schedule_id=recurring["id"])  # fmt: skip
    world.attempt(firing, "succeeded", 1990, exit_code=0)
    dead = world.add("dead", ["import", "--feed", "prices"], 1500, name="price import",
                     group="imports", reason="exit_code", message="exited with code 1 (3 of 3)",
                     retry={"max_attempts": 3, "backoff_min_s": 1.0, "backoff_max_s": 60.0,
                            "factor": 2.0, "jitter": 0.1},
                     webhooks=[{"url": "https://app.example/hook", "events": ["finished"],
                                "headers": {}}])  # fmt: skip
    for n in (3, 2, 1):
        world.attempt(dead, "failed", 400 * n, exit_code=1, reason="exit_code",
                      message="exited with code 1",
                      usage={"cpu_user_s": 0.42, "cpu_system_s": 0.05,
                             "memory_peak_bytes": 48 << 20})  # fmt: skip
        if n > 1:
            world.event(dead["id"], "retrying", 200 * n, detail="in 2 s")
            world.event(dead["id"], "due", 200 * n - 2)
    world.event(dead["id"], "dead", 200)
    world.logs[dead["id"], "stderr"] += b"Traceback: <b>no markup</b> \xff\xfe here\n"
    killed = world.add(
        "cancelled",
        ["bash", "-c", "fork-in-a-loop"],
        700,
        name="runaway",
        group="experiments",
        reason="killed",
        message="killed by user admin",
    )
    world.attempt(killed, "killed", 690, signal="SIGKILL", reason="killed", message="killed",
                  kill_report={"requested_at": ago(600), "done_at": ago(589.915),
                               "signal": "SIGTERM", "forced": True, "method": "cgroup",
                               "killed_count": 37, "survivors": []})  # fmt: skip
    world.event(killed["id"], "kill_requested", 600, actor="user admin")
    world.event(killed["id"], "cancelled", 589)
    waiting = world.add("queued", ["send-mail", "--batch", "12"], 40, name="mail batch 12",
                        group="mail", priority=5)  # fmt: skip
    world.groups["mail"] = {"paused": False, "concurrency_limit": 4}
    world.groups["experiments"] = {"paused": True, "concurrency_limit": None}
    world.events[waiting["id"]][0]["detail"] = "through the native API"
    world.add("retrying", ["flaky-check"], 120, name="flaky check", reason="timeout")
    running = world.add("running", ["make", "-j4", "report"], 125, name="monthly report",
                        group="reports", timeout_s=3600,
                        resources={"cpu": 2.0, "memory": 512 << 20, "pids": 64},
                        env={"TZ": "UTC", "API_TOKEN": "***", "DB": {"secret": "db-password"}},
                        labels={"team": "data", "env": "prod"},
                        metadata={"ticket": 42})  # fmt: skip
    world.attempt(running, "running", 120)
    out = world.logs[running["id"], "stdout"]
    out += b"\x1b[1mBuilding\x1b[0m report \x1b[32m\xe2\x9c\x93 ok\x1b[0m\n"
    out += b"10%\r55%\r100%\n\x1b]0;title\x07\x1b[38;5;208morange\x1b[0m and \x1b[44mblue\x1b[0m\n"
    out += b"<img src=x onerror=alert(1)>\n"
    world.logs[running["id"], "stderr"] += b"warning: clock skew detected\n"
    return world
