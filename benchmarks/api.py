"""Driving the server between measurements: the few calls of the native API the figures need."""

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from benchmarks.load import Load
from benchmarks.server import TOKEN

BASE = "/api/v1"
BATCH = 1000
"""The most tasks one batch may have."""


class ApiRefused(Exception):
    """The server answered outside 2xx; the message has status and body."""


class FigureFailed(Exception):
    """What was measured did not behave: tasks failed, survivors, answers outside 2xx."""


class Api:
    """One kept-alive connection. Not for measuring throughput: `load` is."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call a path below the base path; the decoded answer, None for an empty one.

        Raises:
            ApiRefused: the answer is outside 2xx.
            OSError: no connection.
        """
        headers = {"Authorization": f"Bearer {TOKEN}"}
        encoded = None
        if body is not None:
            encoded = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        self._connection.request(method, BASE + path, encoded, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if not 200 <= response.status < 300:
            raise ApiRefused(f"{method} {path}: {response.status} {answer[:500]!r}")
        return json.loads(answer) if answer else None

    def submit(self, spec: Mapping[str, object]) -> str:
        """Submit a task; its id."""
        return str(self.call("POST", "/tasks", spec)["id"])

    def submit_many(self, spec: Mapping[str, object], count: int) -> None:
        """Submit the same task so often, in batches."""
        for begin in range(0, count, BATCH):
            self.call("POST", "/tasks/batch", {"tasks": [spec] * min(BATCH, count - begin)})

    def pause(self, group: str) -> None:
        """Keep the tasks of a group waiting."""
        self.call("POST", f"/groups/{quote(group, safe='')}/pause")

    def limit(self, group: str, limit: int) -> None:
        """Let no more than so many tasks of a group run at once."""
        self.call("PATCH", f"/groups/{quote(group, safe='')}", {"concurrency_limit": limit})

    def counts(self, group: str) -> dict[str, int]:
        """How many tasks of a group are in which state; states without any may be left out."""
        return dict(self.call("GET", f"/tasks/counts?group={quote(group, safe='')}")["counts"])

    def first_attempt(self, task: str) -> dict[str, Any] | None:
        """The first attempt of a task, None before there is one."""
        items = self.call("GET", f"/tasks/{task}/attempts")["items"]
        return dict(items[0]) if items else None

    def wait_until_running(self, task: str, limit_s: float = 30) -> None:
        """Return when the task's first attempt has started.

        Raises:
            FigureFailed: it did not in time.
        """
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            attempt = self.first_attempt(task)
            if attempt is not None and attempt["started_at"] is not None:
                return
            time.sleep(0.005)
        raise FigureFailed(f"task {task} did not start within {limit_s:g} s")

    def wait_until_succeeded(self, group: str, count: int, limit_s: float = 120) -> None:
        """Return when so many tasks of a group have succeeded.

        Raises:
            FigureFailed: one ended otherwise, or time is up.
        """
        deadline = time.monotonic() + limit_s
        while True:
            counts = self.counts(group)
            if counts.get("succeeded", 0) >= count:
                return
            bad = {
                state: number
                for state, number in counts.items()
                if number and state in {"failed", "dead", "cancelled", "expired"}
            }
            if bad:
                raise FigureFailed(f"tasks of group {group} did not succeed: {bad}")
            if time.monotonic() > deadline:
                raise FigureFailed(f"group {group} has {counts} after {limit_s:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def unix_s(instant: str) -> float:
    """An instant of the API (RFC 3339) in seconds since 1970."""
    return datetime.fromisoformat(instant).timestamp()


def accepted(load: Load) -> Load:
    """The load itself when every answer was in 2xx.

    Raises:
        FigureFailed: one was not; the message has the first such answer.
    """
    if load.refusal is not None:
        raise FigureFailed(f"answers {load.statuses}; the first refusal: {load.refusal[:400]!r}")
    return load


def batch_body(specs: Sequence[Mapping[str, object]]) -> bytes:
    """The body of POST `/tasks/batch`."""
    return json.dumps({"tasks": specs}, separators=(",", ":")).encode()
