"""Clients of several planes that write down what they asked for and what was acknowledged."""

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from planes import Planes

COMMAND = (
    'echo "$MARK begin $(date +%s%N)" >> "$RUNS"; echo "out $MARK"; sleep 0.$TENTHS;'
    ' echo "$MARK end $(date +%s%N)" >> "$RUNS"; exit $CODE'
)
FUNCTION = """
import os, time

def handle(event, context):
    with open(os.environ["RUNS"], "a") as runs:
        runs.write(f"{event['mark']} begin {time.time_ns()}\\n")
    return event["mark"]
"""
LIMITED = "limited"
"""A group of which two tasks may run at once."""
LIMIT = 2
_GIVE_UP_S = 90.0


@dataclass
class History:
    """What one client did."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Task ids by mark; what was acknowledged has to be done."""
    killed: set[str] = field(default_factory=set)
    """Marks whose cancel was acknowledged."""
    trouble: list[str] = field(default_factory=list)
    """Answers that no client should ever get."""


class Client(threading.Thread):
    """Submits one task after the other, at whichever plane answers, until it is told to stop."""

    def __init__(self, planes: Planes, number: int, runs: Path, most: int, hook: str) -> None:
        super().__init__(name=f"client{number}", daemon=True)
        self.history = History()
        self._planes = planes
        self._number = number
        self._runs = runs
        self._most = most
        self._hook = hook
        self._chance = random.Random(number)
        self._told_to_stop = threading.Event()

    def finish(self) -> None:
        """End once what was begun is acknowledged."""
        self._told_to_stop.set()
        self.join(_GIVE_UP_S + 30)
        assert not self.is_alive()

    def run(self) -> None:
        """See the class."""
        for count in range(self._most):
            if self._told_to_stop.is_set():
                return
            mark = f"m{self._number}-{count}"
            answer = self._insist("POST", "/tasks", self._body(mark))
            if answer is None:
                continue
            task_id = str(answer.json()["id"])
            self.history.acknowledged[mark] = task_id
            if self._chance.random() < 0.1 and self._kill(task_id):
                self.history.killed.add(mark)

    def _body(self, mark: str) -> dict[str, Any]:
        chance = self._chance
        code = chance.choice((0, 0, 0, 3))
        body: dict[str, Any] = {
            "command": COMMAND,
            "env": {
                "MARK": mark,
                "RUNS": str(self._runs),
                "TENTHS": str(chance.randrange(6)),
                "CODE": str(code),
            },
            "idempotency_key": mark,
            "name": mark,
            "group": LIMITED if chance.random() < 0.3 else f"g{chance.randrange(3)}",
            "rerun_if_lost": chance.random() < 0.5,
            "labels": {"code": str(code)},
        }
        if chance.random() < 0.3:
            body["retry"] = {"max_attempts": 2, "backoff_min_s": 0.1}
        if chance.random() < 0.2:
            body["webhooks"] = [{"url": self._hook, "events": ["finished"]}]
        if chance.random() < 0.1:
            body["start_in_s"] = round(chance.uniform(0.1, 3), 2)
        return body

    def _kill(self, task_id: str) -> bool:
        time.sleep(self._chance.uniform(0, 0.3))
        answer = self._insist("POST", f"/tasks/{task_id}/cancel", {"grace_s": 0.1})
        return answer is not None

    def _insist(self, method: str, path: str, body: dict[str, Any]) -> httpx2.Response | None:
        """Ask whichever plane until one has done it; None if it was refused."""
        deadline = time.monotonic() + _GIVE_UP_S
        said = ""
        while time.monotonic() < deadline:
            number = self._chance.randrange(len(self._planes.all))
            with (
                contextlib.suppress(httpx2.TransportError),
                self._planes.client(number) as client,
            ):
                answer = client.request(method, path, json=body)
                if answer.is_success:
                    return answer
                said = f"{answer.status_code} {answer.text}"
                if answer.status_code in {404, 409} and path != "/tasks":
                    return None
                if answer.status_code != 503:
                    self.history.trouble.append(f"{method} {path}: {said}")
                    return None
            time.sleep(0.05)
        self.history.trouble.append(f"{method} {path} was never done: {said}")
        return None
