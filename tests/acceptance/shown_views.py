"""Everything that a server shows, asked for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus

import httpx2
from shown_tools import Stream
from shown_town import Town


class Views:
    """Asks a server for all that it shows, and keeps it in what was seen of it."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.answered: dict[str, bool] = {}
        """Routes, and whether one of their answers was none of an error."""

    def collect(self) -> None:
        """Ask every route that answers, and look everywhere else."""
        self._native()
        self._dialects()
        task = self._town.known["task_id"]
        for arguments in (
            *(
                ("ls", "--json"),
                ("ls",),
                ("audit", "--json"),
                ("audit",),
                ("token", "ls", "--json"),
            ),
            *(("user", "ls", "--json"), ("secret", "ls", "--json"), ("webhook", "ls", "--json")),
            *(("worker", "ls", "--json"), ("cron", "ls", "--json"), ("function", "ls", "--json")),
            *(("group", "ls", "--json"), ("parked", "--json"), ("webhook", "ls")),
            *((word, one, "--json") for word in ("show", "why") for one in task),
            *((word, task[0]) for word in ("show", "why", "events")),
        ):
            self._town.seen[f"command line {' '.join(arguments)}"] = self._town.program(*arguments)
        with httpx2.Client(base_url=self._town.served.url, timeout=30) as client:
            for headers in ({}, {"authorization": "Bearer dev"}):
                self._town.seen[f"metrics {len(headers)}"] = client.get(
                    "/metrics", headers=headers
                ).content
            for path in ("/", "/health", "/health/ready", "/health/live", "/openapi.json", "/docs"):
                self._town.seen[f"page {path}"] = client.get(path).content

    def after(self) -> None:
        """What is left once the server has ended."""
        self._town.seen["log"] = self._town.served.log.read_bytes()
        paths = list(self._town.served.data.rglob("*"))
        self._town.seen["file names"] = "\n".join(map(str, paths)).encode()
        self._town.seen["stored"] = self._town.stored()

    def _operator(self) -> dict[str, str]:
        """The credential of an admin of the installation, whom some routes are for."""
        made = subprocess.run(
            [
                *(sys.executable, "-m", "taskyard", "token", "create", "views", "--installation"),
                *("--json", "--data", str(self._town.served.data)),
            ],
            capture_output=True,
            check=True,
            timeout=60,
        )
        return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}

    def _native(self) -> None:
        operator = self._operator()
        with self._town.served.client() as api:
            described = api.get(f"{self._town.served.url}/openapi.json").json()["paths"]
            for path, methods in described.items():
                if "get" not in methods or path.endswith(("/stream", "/follow")):
                    continue
                for filled in self._filled(path.removeprefix("/api/v1")):
                    query = {"timeout_s": "0"} if "wait" in filled else {}
                    query |= {"group": "default"} if filled.endswith("/scaling") else {}
                    answer = api.get(filled, params=query)
                    if answer.status_code == HTTPStatus.FORBIDDEN:
                        answer = api.get(filled, params=query, headers=operator)
                    self._town.seen[f"native GET {filled}"] = answer.content
                    self.answered[path] = self.answered.get(path, False) or answer.is_success
            for task in self._town.known["task_id"]:
                events = Stream(f"{api.base_url}tasks/{task}/logs/follow", dict(api.headers))
                self._town.seen[f"native GET /tasks/{task}/logs/follow"] = events.close()

    def _filled(self, path: str) -> Iterator[str]:
        given = {
            "task_id": self._town.known["task_id"],
            "delivery_id": self._town.known["delivery_id"],
            "function": self._town.known["function"],
            "version": self._town.known["version"],
            "stream": ["stdout", "stderr"],
            "name": ["default", "db", "bob"],
            "worker_id": ["local"],
            "token_id": [self._town.marker("token").split("_")[1]],
        }
        head, brace, rest = path.partition("{")
        if not brace:
            yield path
            return
        name, _, tail = rest.partition("}")
        for value in given[name.partition(":")[0]]:
            yield from self._filled(head + value + tail)

    def _dialects(self) -> None:
        with self._town.fastlane() as client:
            job = f"/tasks/jobs/jobs/{self._town.known['job'][0]}"
            execution = f"{job}/executions/{self._town.known['execution'][0]}"
            lists = ("/", "/status", "/tasks", "/search?query=jobs", "/tasks/jobs")
            outputs = [f"{one}/{kind}" for one in (job, execution) for kind in ("stdout", "logs")]
            for path in (*lists, job, execution, *outputs, f"{job}/stream"):
                self._saw("fastlane", client.get(path))
        with self._town.drove() as client:
            instance = "/tasks/APP/instances/T1"
            cluster = (
                "/cluster",
                "/cluster/executors",
                "/cluster/events",
                "/cluster/events/latest",
            )
            for path in ("/tasks", instance, *cluster, "/cluster/events/summary"):
                self._saw("drove", client.get(path))
        key = {"api_key": self._town.marker("gx key")}
        with httpx2.Client(
            base_url=f"{self._town.served.url}/gx", params=key, timeout=30
        ) as client:
            task = f"/tasks/{self._town.known['gx'][0]}"
            for path in ("/tasks", task, f"{task}/logs", "/stats"):
                self._saw("gx", client.get(path))
        headers = {"authorization": self._town.marker("greencloud token")}
        base = f"{self._town.served.url}/greencloud/v1"
        with httpx2.Client(base_url=base, headers=headers, timeout=30) as client:
            function, task = self._town.known["functionId"][0], self._town.known["greenTask"][0]
            greens = [
                f"/{kind}/list" for kind in ("task", "function", "build", "endpoint", "trigger")
            ]
            for path in (
                *(*greens, "/scheduled/list", "/tag/list", "/node/list", "/metrics", "/user"),
                *(f"/task/{task}", f"/task/{task}/result", f"/task/{function}/csv"),
                *(f"/function/{function}", f"/endpoint/{self._town.known['endpointId'][0]}"),
            ):
                self._saw("greencloud", client.get(path))

    def _saw(self, dialect: str, answer: httpx2.Response) -> None:
        path = answer.request.url.path
        self.answered[path] = answer.is_success
        self._town.seen[f"{dialect} GET {path}"] = answer.content
