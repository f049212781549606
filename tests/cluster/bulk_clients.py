"""Clients whose work costs next to nothing, so that there can be very much of it."""

import contextlib
from pathlib import Path
from typing import Any

import httpx2
from histories import REFUSED_FOR_NOW, Calls, Client, Tasks
from planes import Planes

BATCH = 20
"""Tasks or calls that are asked for in one go."""
FINISH_S = 300.0
"""A machine that does a lot else may be that slow."""
_COMMAND = 'echo "$MARK $$ ran 0" >> "$RUNS"'
QUICK = """
import os

def handle(event, context):
    mark = event.body.decode()
    with open({runs!r}, "a") as runs:
        runs.write(f"{{mark}} {{os.getpid()}} ran 0\\n")
    return mark
"""
"""Source of a function that notes that it was called."""


class Bulk(Client):
    """Asks for all that it has to, however long that takes; without pauses once told to finish."""

    pause_s = 0.0
    """Between two batches."""

    def finish(self) -> None:
        """End once all of it is acknowledged."""
        self._told_to_stop.set()
        self.join(FINISH_S)
        assert not self.is_alive()

    def run(self) -> None:
        """See the class."""
        for count in range(self._most // BATCH):
            try:
                self.ask(f"{self.name}-{count}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test has to tell
                self.history.trouble.append(f"{self.name}-{count}: {error!r}")
            self._told_to_stop.wait(self.pause_s)


class Batches(Bulk, Tasks):
    """Commands of the native API that do next to nothing, each batch stored whole or not at all."""

    def __init__(self, planes: Planes, name: str, most: int, runs: Path, pause_s: float) -> None:
        super().__init__(planes, name, most, runs, "")
        self.pause_s = pause_s

    def ask(self, mark: str) -> None:
        """See the class."""
        marks = [f"{mark}-{number}" for number in range(BATCH)]
        self.history.tried.update(marks)
        answer = self.insist("POST", "/tasks/batch", json={"tasks": list(map(self._body, marks))})
        stored = answer.raise_for_status().json()["items"]
        ids = [str(one["id"]) for one in stored]
        assert len(set(ids)) == BATCH, stored
        self.history.acknowledged.update(zip(marks, ids, strict=True))

    def _body(self, mark: str) -> dict[str, Any]:
        return {
            "command": _COMMAND,
            "env": {"MARK": mark, "RUNS": str(self._runs)},
            "idempotency_key": mark,
            "name": mark,
            "group": f"bulk{self.chance.randrange(3)}",
            "rerun_if_lost": self.chance.random() < 0.5,
            "labels": {"code": "0"},
        }


class QuickCalls(Bulk, Calls):
    """Calls of a function that does next to nothing, many over each connection."""

    def __init__(self, planes: Planes, name: str, most: int, function: str, pause_s: float) -> None:
        super().__init__(planes, name, most, function)
        self.pause_s = pause_s

    def ask(self, mark: str) -> None:
        """See the class."""
        marks = [f"{mark}-{number}" for number in range(BATCH)]
        self.history.tried.update(marks)
        with self.connection() as client, contextlib.suppress(httpx2.TransportError):
            for one in marks:
                answer = client.post(self._path, content=one, headers=_key(one))
                if answer.status_code in REFUSED_FOR_NOW:
                    break
                self._note(one, answer)
        # The plane is away or frozen: the others have the rest.
        for one in marks:
            if one not in self.history.acknowledged:
                self._note(one, self.insist("POST", self._path, content=one, headers=_key(one)))

    def _note(self, mark: str, answer: httpx2.Response) -> None:
        self.history.acknowledged[mark] = str(answer.raise_for_status().json()["id"])

    @property
    def _path(self) -> str:
        return f"/functions/{self._function}/calls"


def _key(mark: str) -> dict[str, str]:
    return {"Idempotency-Key": mark}
