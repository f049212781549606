"""Clients whose work is containers: of the native API, and of fastlane's and Drove's dialects."""

import base64
import time
from typing import Any

import httpx2
from histories import Client
from planes import Planes

from engines import IMAGE
from served import Served

APP = "CHAOS"
NO_ROOM = "no executor could take the task"


def _script(mark: str, chance: float) -> str:
    return f"echo out {mark}; sleep {chance:.1f}"


class Containers(Client):
    """Tasks of the native API with an image."""

    def ask(self, mark: str) -> None:
        """See the class."""
        command = ["sh", "-c", _script(mark, self.chance.uniform(0, 1))]
        body = {"image": IMAGE, "command": command, "idempotency_key": mark, "name": mark}
        answer = self.insist("POST", "/tasks", json=body).raise_for_status()
        self.history.acknowledged[mark] = str(answer.json()["id"])
        time.sleep(self.chance.uniform(1, 4))

    def check(self, planes: Planes) -> None:
        """All have succeeded, with their output."""
        for mark, task_id in self.history.acknowledged.items():
            task = planes.ask("GET", f"/tasks/{task_id}").raise_for_status().json()
            assert task["state"] == "succeeded", task
            output = planes.ask("GET", f"/tasks/{task_id}/logs/stdout").raise_for_status().text
            assert output == f"out {mark}\n", (task, output)


class Fastlane(Client):
    """Jobs of one of fastlane's tasks; a create must not be asked twice."""

    prefix = "/fastlane"

    def ask(self, mark: str) -> None:
        """See the class."""
        script = _script(mark, self.chance.uniform(0, 1))
        body = {"image": IMAGE, "command": f"sh -c '{script}'", "retries": 0}
        answer = self.once("POST", "/tasks/chaos", json=body)
        if answer is not None:
            self.history.acknowledged[mark] = answer.raise_for_status().json()["jobId"]
        time.sleep(self.chance.uniform(1, 4))

    def check(self, planes: Planes) -> None:
        """Each has one execution, which is done and has its output."""
        del planes
        for mark, job in self.history.acknowledged.items():
            found = self.insist("GET", f"/tasks/chaos/jobs/{job}").raise_for_status().json()
            (execution,) = found["job"]["executions"]
            assert execution["status"] == "done", execution
            assert execution["log"] == f"out {mark}\n", execution


class Drove(Client):
    """Tasks of Drove's, which never run again."""

    prefix = "/drove/apis/v1"

    def __init__(self, planes: Planes, name: str, most: int) -> None:
        super().__init__(planes, name, most)
        self.lost = 0

    def connection(self, plane: Served | None = None) -> httpx2.Client:
        """With the credentials of Drove's clients."""
        client = super().connection(plane)
        client.headers["Authorization"] = f"Basic {base64.b64encode(b'admin:admin').decode()}"
        return client

    def ask(self, mark: str) -> None:
        """See the class."""
        spec = {
            "sourceAppName": APP,
            "taskId": mark,
            "executable": {"type": "DOCKER", "url": IMAGE, "dockerPullTimeout": "100s"},
            "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 32}],
            "args": ["sh", "-c", _script(mark, self.chance.uniform(0, 1))],
        }
        policy = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
        body = {"type": "CREATE", "spec": spec, "opSpec": policy}
        answer = self.insist("POST", "/tasks/operations", json=body)
        # Without room for it a task is refused, perhaps after an answer was waited for in vain.
        if answer.is_success:
            self.history.acknowledged[mark] = mark
        elif answer.status_code == 400:
            self.refused.update(answer.json()["data"]["validationErrors"])
        else:
            answer.raise_for_status()
        time.sleep(self.chance.uniform(1, 4))

    def check(self, planes: Planes) -> None:
        """Each ended well or was lost, and none ran twice."""
        for mark in self.history.acknowledged:
            answer = self.insist("GET", f"/tasks/{APP}/instances/{mark}").raise_for_status()
            task: dict[str, Any] = answer.json()["data"]
            assert task["state"] in {"STOPPED", "LOST"}, task
            status = task["taskResult"]["status"]
            # Drove's tasks do not wait for long; on a slow machine room may come too late.
            assert status in {"SUCCESSFUL", "LOST"} or task["errorMessage"] == NO_ROOM, task
            self.lost += status == "LOST"
        twice = planes.rows(
            "SELECT t.id FROM tasks AS t JOIN attempts AS a ON a.task_seq = t.seq"
            " WHERE t.group_name = 'CHAOS' AND a.started_at IS NOT NULL"
            " GROUP BY t.id HAVING count(*) > 1"
        )
        assert twice == [], "what must not run again has"
