"""Clients of several planes that write down what they asked for and what was acknowledged."""

import contextlib
import random
import threading
import time
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from planes import Planes
from runs import COMMAND

from served import Served

LIMITED = "limited"
"""A group of which two tasks may run at once."""
LIMIT = 2
REFUSED_FOR_NOW = frozenset({429, 503})
_GIVE_UP_S = 90.0


@dataclass
class History:
    """What one client did."""

    tried: set[str] = field(default_factory=set)
    """Marks of all that was asked for, whether that was acknowledged or not."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Task ids by mark; what was acknowledged has to be done."""
    killed: set[str] = field(default_factory=set)
    """Marks whose cancel was acknowledged."""
    trouble: list[str] = field(default_factory=list)
    """What no client should ever see."""


class Client(threading.Thread):
    """Asks for one thing after the other, at whichever plane answers, until told to stop.

    Args:
        planes: whom it asks.
        name: its own; marks begin with it.
        most: how many things it asks for.
    """

    prefix = "/api/v1"
    """Where its dialect is."""

    def __init__(self, planes: Planes, name: str, most: int) -> None:
        super().__init__(name=name, daemon=True)
        self.history = History()
        self.planes = planes
        self.chance = random.Random(f"{planes.seed} {name}")
        self.refused: Counter[str] = Counter()
        """What was refused for good reasons, by reason."""
        self._most = most
        self._told_to_stop = threading.Event()

    @abstractmethod
    def ask(self, mark: str) -> None:
        """Ask for one thing."""

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
            mark = f"{self.name}-{count}"
            try:
                self.ask(mark)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test has to tell
                self.history.trouble.append(f"{mark}: {error!r}")

    def connection(self, plane: Served | None = None) -> httpx2.Client:
        """A client of this plane; of any if None."""
        plane = plane or self.chance.choice(self.planes.all)
        return httpx2.Client(
            base_url=f"{plane.url}{self.prefix}",
            headers={"Authorization": "Bearer dev"},
            timeout=httpx2.Timeout(10.0),
            verify=False,  # nothing is encrypted; certificates would be read each time
            trust_env=False,
        )

    def once(self, method: str, path: str, **more: Any) -> httpx2.Response | None:
        """Ask one plane; None if nobody knows what became of it, or it was refused for now."""
        with contextlib.suppress(httpx2.TransportError), self.connection() as client:
            answer = client.request(method, path, **more)
            if answer.status_code not in REFUSED_FOR_NOW:
                return answer
        time.sleep(0.05)
        return None

    def insist(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Ask whichever plane until one has answered; for what may be asked twice."""
        deadline = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < deadline:
            answer = self.once(method, path, **more)
            if answer is not None:
                return answer
        raise TimeoutError(f"{method} {path} was never answered")


class Tasks(Client):
    """Commands of the native API, of all kinds: retried, killed, late, limited, with webhooks."""

    def __init__(self, planes: Planes, name: str, most: int, runs: Path, hook: str) -> None:
        super().__init__(planes, name, most)
        self._runs = runs
        self._hook = hook

    def ask(self, mark: str) -> None:
        """See the class."""
        self.history.tried.add(mark)
        answer = self.insist("POST", "/tasks", json=self._body(mark)).raise_for_status()
        task_id = str(answer.json()["id"])
        self.history.acknowledged[mark] = task_id
        if self.chance.random() < 0.1:
            time.sleep(self.chance.uniform(0, 0.3))
            answer = self.insist("POST", f"/tasks/{task_id}/cancel", json={"grace_s": 0.1})
            if answer.status_code != 409:
                answer.raise_for_status()
                self.history.killed.add(mark)

    def _body(self, mark: str) -> dict[str, Any]:
        chance = self.chance
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


class Calls(Client):
    """Calls of a function through the native API, which are not waited for."""

    def __init__(self, planes: Planes, name: str, most: int, function: str) -> None:
        super().__init__(planes, name, most)
        self._function = function

    def ask(self, mark: str) -> None:
        """See the class."""
        self.history.tried.add(mark)
        path, headers = f"/functions/{self._function}/calls", {"Idempotency-Key": mark}
        answer = self.insist("POST", path, content=mark, headers=headers).raise_for_status()
        self.history.acknowledged[mark] = str(answer.json()["id"])
        time.sleep(self.chance.uniform(0, 0.3))
