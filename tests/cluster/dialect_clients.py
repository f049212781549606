"""Clients of GreenCloud's and GX's dialects, none of whose creates may be asked twice."""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histories import Client
from planes import Planes
from runs import COMMAND, FUNCTION

from eventually import eventually
from served import Served

WORKSPACE = "chaos"
AT_ONCE = 6
"""Tasks of a GX workspace that run at once."""


class GreenCloud(Client):
    """Issues tasks of a function, each of which triggers one of another function."""

    prefix = "/greencloud/v1"

    def __init__(self, planes: Planes, name: str, most: int) -> None:
        super().__init__(planes, name, most)
        self.function = self.next = ""

    def prepare(self, runs: Path) -> None:
        """Deploy both functions, and connect them."""
        self.function = self._deployed("first", FUNCTION.format(runs=str(runs), prefix=""))
        self.next = self._deployed("second", FUNCTION.format(runs=str(runs), prefix="chained-"))
        body = {"functionId": self.function, "nextId": self.next, "includeResult": True}
        self.insist("POST", "/trigger", json=body).raise_for_status()

    def ask(self, mark: str) -> None:
        """See the class."""
        self.history.tried |= {mark, f"chained-{mark}"}
        answer = self.once("POST", f"/task/{self.function}", content=mark)
        if answer is not None:
            self.history.acknowledged[mark] = str(answer.raise_for_status().json()["id"])
        time.sleep(self.chance.uniform(0.1, 0.4))

    def _deployed(self, name: str, source: str) -> str:
        body = {"name": name, "lang": "PY", "type": "DOCKER"}
        created = self.insist("POST", "/function", json=body).raise_for_status()
        function = str(created.json()["id"])
        self._await_everywhere(f"/function/{function}", lambda _found: True)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("handler.py", source)
        path = f"/build/{function}?arch=amd64"
        build = self.insist("POST", path, content=buffer.getvalue()).raise_for_status().json()["id"]

        self._await_everywhere(f"/build/{build}", lambda found: found["status"] == "SUCCESS")
        self._await_everywhere(f"/function/{function}", lambda found: bool(found["deployed"]))
        return function

    def _await_everywhere(self, path: str, wanted: Callable[[Any], bool]) -> None:
        """Until all planes answer as wanted: news takes a moment to get to the others."""
        for plane in self.planes.all:

            def look(plane: Served = plane) -> bool:
                with self.connection(plane) as client:
                    answer = client.get(path)
                return answer.is_success and wanted(answer.json())

            eventually(look)


class Gx(Client):
    """Puts commands into the queue of one workspace, and takes some off again."""

    prefix = "/gx"

    def __init__(self, planes: Planes, name: str, most: int, runs: Path) -> None:
        super().__init__(planes, name, most)
        self._runs = runs
        self.query = {"api_key": "dev", "workspace_id": WORKSPACE}
        self.deleted: set[str] = set()
        """Marks of those that were taken off the queue."""
        self.doubtful: set[str] = set()
        """Marks of those of which nobody knows whether they were."""

    def ask(self, mark: str) -> None:
        """See the class."""
        self.history.tried.add(mark)
        tenths = str(self.chance.randrange(4))
        env = {"MARK": mark, "RUNS": str(self._runs), "TENTHS": tenths, "CODE": "0"}
        body = {"name": mark, "type": "gx.tiny", "command": COMMAND, "env": env}
        answer = self.once("POST", "/tasks", params=self.query, json=body)
        if answer is not None:
            number = str(answer.raise_for_status().json()["task"]["id"])
            self.history.acknowledged[mark] = number
            if self.chance.random() < 0.1:
                gone = self.once("DELETE", f"/tasks/{number}", params=self.query)
                if gone is None:
                    self.doubtful.add(mark)
                elif gone.status_code != 404:
                    gone.raise_for_status()
                    self.deleted.add(mark)
        time.sleep(self.chance.uniform(0.05, 0.3))
