"""A server into which a marker was planted wherever a secret can enter, and all that it shows."""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx2
import websockets.sync.client
from greencloud_client import deployed
from shown_tools import Markers, Receiver, Stream

from served import Served, await_state, processes_with

ENDED: Final = ("succeeded", "failed", "dead", "cancelled", "expired")


class Town:
    """The server, what was planted, and what it says."""

    def __init__(self, directory: Path) -> None:
        self.marker = Markers()
        self.receiver = Receiver()
        self.seen: dict[str, bytes] = {}
        """What was shown, by where."""
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.environment = {"TASKYARD_SECRET_KEY": self.marker.note("setting secret_key", key)}
        config = directory / "taskyard.toml"
        config.write_text(self._config(), "utf-8")
        options = ("--config", str(config), "--log-level", "debug")
        self.served = Served(directory / "data", *options, forked=False)
        self.known: dict[str, list[str]] = {}
        """Values for the parameters of routes."""

    def _config(self) -> str:
        mark = self.marker
        return f"""
            access_log = true
            [fastlane]
            basic_auth_username = "ann"
            basic_auth_password = "{mark("setting fastlane.basic_auth_password")}"
            smtp_host = "127.0.0.1"
            smtp_port = 9
            smtp_from = "yard@example.com"
            smtp_user = "yard"
            smtp_password = "{mark("setting fastlane.smtp_password")}"
            [greencloud.accounts.acme]
            key = "{mark("greencloud key")}"
            tokens = ["{mark("greencloud token")}"]
            workspace = "default"
            email = "ann@example.com"
            [gx.types."gx.tiny"]
            command = "true"
            env = {{ API_TOKEN = "{mark("setting gx env")}" }}
        """

    def plant(self) -> None:
        """Put a marker into everything that takes a secret."""
        with self.served.client() as api:
            streams = {
                "native GET /events/stream": Stream(
                    f"{self.served.url}/api/v1/events/stream", {"authorization": "Bearer dev"}
                )
            }
            self._access(api)
            self._tasks(api)
            self._functions(api)
            self._fastlane()
            self._drove()
            self._gx(api)
            self._bad_credentials()
            self._settle(api)
            for name, stream in streams.items():
                self.seen[name] = stream.close()

    def _access(self, api: httpx2.Client) -> None:
        mark = self.marker
        api.put("/secrets/db", json={"value": mark("stored secret")}).raise_for_status()
        login = json.dumps({"username": "ann", "password": mark("registry password")})
        api.put("/secrets/registry", json={"value": login}).raise_for_status()
        user = {"name": "bob", "password": mark("user password"), "role": "admin"}
        api.post("/users", json=user).raise_for_status()
        made = api.post("/tokens", json={"name": "ci", "role": "admin"}).raise_for_status()
        mark.note("token", made.json()["token"])

    def _tasks(self, api: httpx2.Client) -> None:
        """Each member of a task, running and ended, killed, retried, refused, recurring."""
        mark = self.marker
        hooks = [
            {
                "url": f"{self.receiver.url}/{path}/{mark('webhook path')}"
                f"?token={mark('webhook query')}",
                "events": ["started", "finished"],
                "headers": {"Authorization": f"Bearer {mark('webhook header')}"},
            }
            for path in ("taking", "refusing")
        ]
        shown = {
            "name": f"deploy --token {mark('name')}",
            "labels": {"api_token": mark("label")},
            "metadata": {
                "db_password": mark("metadata"),
                "deep": [{"env": {"KEYCODE": mark("metadata env")}}],
                "note": f"see https://ann:{mark('metadata url')}@host/",
            },
            "webhooks": hooks,
            "env": {
                "DB_PASSWORD": mark("env"),
                "DATABASE_URL": f"postgres://ann:{mark('env url')}@host/db",
                "STORED": {"secret": "db"},
            },
            "stdin": f"{mark('stdin')}\n",
        }
        waiting = ["sleep", "600"]
        for command in (
            ["sh", "-c", "trap '' TERM; cat >/dev/null; sleep 600 & wait", "--token", mark("argv")],
            f"true || curl -u ann:{mark('shell user')} -H 'X-Api-Key: {mark('shell header')}' h",
            ["/nonexistent", f"--password={mark('argv of a failure')}"],
        ):
            self._note("task_id", api.post("/tasks", json={**shown, "command": command}))
        container = {**shown, "image": "busybox", "container": {"credentials": "registry"}}
        container["command"] = ["true", "--token", mark("container argv")]
        self._note("task_id", api.post("/tasks", json=container))
        cron = {**shown, "command": waiting, "cron": "0 0 1 1 *"}
        self._note("task_id", api.post("/tasks", json=cron))
        refused = {**shown, "command": waiting, "group": "\0"}
        self.seen["native POST /tasks (refused)"] = api.post("/tasks", json=refused).content
        first, _, failed, *_ = self.known["task_id"]
        await_state(api, failed, *ENDED)
        await_state(api, first, "running")
        self._note("task_id", api.post(f"/tasks/{failed}/retry"))
        self.seen["command line submit"] = self.program(
            *("submit", "-e", f"A_TOKEN={mark('command line env')}", "--", "true")
        )
        # A mask that comes back is refused, and names no other value.
        again = api.get(f"/tasks/{first}").json()
        answer = api.post("/tasks", json={"command": again["command"], "env": again["env"]})
        assert answer.status_code == 422
        assert "placeholder of a hidden value" in answer.text
        self.seen["native POST /tasks (masked)"] = answer.content

    def _functions(self, api: httpx2.Client) -> None:
        mark = self.marker
        authorization = {"authorization": mark("greencloud token")}
        base = f"{self.served.url}/greencloud/v1"
        with httpx2.Client(base_url=base, headers=authorization, timeout=60) as green:
            function = deployed(green, "def handle(request):\n    return 'done'\n")
            self.known["functionId"] = [function]
            given = green.post("/auth/apiKey", json={"key": mark("greencloud key")})
            for name, value in given.raise_for_status().json().items():
                if "token" in name.lower() and isinstance(value, str):
                    mark.note(f"greencloud {name}", value)
            made = green.post(f"/endpoint/{function}").raise_for_status()
            self.known["endpointId"] = [made.json()["id"]]
            headers = {
                "Authorization": f"Bearer {mark('header of a call')}",
                "X-Api-Key": mark("key of a call"),
                "Cookie": f"session={mark('cookie of a call')}",
            }
            public = f"{self.served.url}/greencloud/gc/{self.known['endpointId'][0]}"
            query = {"token": mark("query of a call")}
            body = json.dumps({"password": mark("body of a call")})
            answer = httpx2.post(public, headers=headers, params=query, content=body, timeout=60)
            assert answer.status_code < 300, answer.text
            issued = green.post(f"/task/{function}", content=body)
            self.known["greenTask"] = [issued.json()["id"]]
        bearer = {**headers, "Authorization": "Bearer dev", "Content-Type": "application/json"}
        called = api.post(f"/functions/{function}/calls", content=body, headers=bearer)
        assert called.status_code < 300, called.text
        self.known["task_id"].append(called.headers["taskyard-task-id"])
        self.known["function"] = [function]
        self.known["version"] = ["1"]

    def fastlane(self) -> httpx2.Client:
        """A client with the name and password of the dialect."""
        auth = ("ann", self.marker("setting fastlane.basic_auth_password"))
        return httpx2.Client(base_url=f"{self.served.url}/fastlane", auth=auth, timeout=30)

    def _fastlane(self) -> None:
        mark = self.marker
        job = {
            "image": "busybox",
            "command": f"run --password {mark('fastlane command')}",
            "envs": {
                "A_PASSWORD": mark("fastlane envs"),
                "DEEP": {"secret": mark("fastlane deep")},
            },
            "metadata": {"api_token": mark("fastlane metadata")},
            "notify": {"finishes": [f"{mark('fastlane notify')}@example.com"]},
            "webhooks": {
                "finishes": [
                    {
                        "url": f"{self.receiver.url}/taking?token={mark('fastlane webhook url')}",
                        "headers": {"Authorization": mark("fastlane webhook header")},
                    }
                ]
            },
        }
        with self.fastlane() as client:
            made = client.post("/tasks/jobs", json=job).raise_for_status().json()
        self.known["job"] = [made["jobId"]]
        self.known["execution"] = [made["executionId"]]
        self.known["task_id"].append(made["executionId"])

    def drove(self) -> httpx2.Client:
        """A client of the dialect."""
        url = f"{self.served.url}/drove/apis/v1"
        return httpx2.Client(base_url=url, auth=("admin", "admin"), timeout=30)

    def _drove(self) -> None:
        mark = self.marker
        spec = {
            "sourceAppName": "APP",
            "taskId": "T1",
            "executable": {"type": "DOCKER", "url": "busybox", "dockerPullTimeout": "100s"},
            "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 64}],
            "env": {"A_TOKEN": mark("drove env")},
            "args": ["run", "--token", mark("drove args")],
            "configs": [
                {
                    "type": "INLINE",
                    "localFilename": "/etc/x",
                    "data": base64.b64encode(mark("drove config").encode()).decode(),
                }
            ],
        }
        mark.note("drove config (encoded)", spec["configs"][0]["data"])  # type: ignore[index]
        fetched = {
            "type": "CONTROLLER_HTTP_FETCH",
            "localFilename": "/etc/y",
            "http": {
                "hostname": "127.0.0.1",
                "port": 9,
                "path": "/",
                "username": "ann",
                "password": mark("drove fetch password"),
                "authHeader": mark("drove fetch header"),
                "headers": {"X-Api-Key": mark("drove fetch key")},
            },
        }
        options = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
        with self.drove() as client:
            for number, changes in enumerate(({}, {"taskId": "T2", "configs": [fetched]})):
                body = {"type": "CREATE", "spec": {**spec, **changes}, "opSpec": options}
                answer = client.post("/tasks/operations", json=body)
                self.seen[f"drove POST /tasks/operations {number}"] = answer.content

    def _gx(self, api: httpx2.Client) -> None:
        mark = self.marker
        made = api.post("/tokens", json={"name": "gx", "role": "write"}).raise_for_status()
        key = mark.note("gx key", made.json()["token"])
        with httpx2.Client(
            base_url=f"{self.served.url}/gx", params={"api_key": key}, timeout=30
        ) as client:
            body = {
                "name": "n",
                "type": "gx.tiny",
                "command": ["true", "--token", mark("gx command")],
                "env": {"API_KEY": mark("gx env")},
                "input": f"{mark('gx input')}\n",
            }
            answer = client.post("/tasks", json=body)
            self.known["gx"] = [str(answer.raise_for_status().json()["task"]["id"])]
        url = f"{self.served.url}/gx/ws/tasks?api_key={key}".replace("http:", "ws:")
        with websockets.sync.client.connect(url, proxy=None) as socket:
            self.seen["gx GET /ws/tasks"] = str(socket.recv(timeout=10)).encode()

    def _bad_credentials(self) -> None:
        """Those that let nobody in, in every place where one may stand."""
        mark, url = self.marker, self.served.url
        with httpx2.Client(timeout=30, trust_env=False) as client:
            requests: list[dict[str, Any]] = [
                {
                    "url": "/api/v1/me",
                    "headers": {"authorization": f"Bearer {mark('bad token')}"},
                },
                {"url": "/api/v1/me", "auth": ("bob", mark("bad password"))},
                {"url": "/api/v1/events/stream", "params": {"access_token": mark("bad query")}},
                {"url": "/gx/tasks", "params": {"api_key": mark("bad gx key")}},
                {"url": "/fastlane/tasks", "auth": ("ann", mark("bad fastlane password"))},
                {"url": "/drove/apis/v1/tasks", "auth": ("admin", mark("bad drove password"))},
                {
                    "url": "/greencloud/v1/task/list",
                    "headers": {"authorization": mark("bad greencloud token")},
                },
                {
                    "url": "/metrics",
                    "headers": {"authorization": f"Bearer {mark('bad metrics')}"},
                },
                {"url": "/api/v1/me", "headers": {"cookie": f"session={mark('cookie')}"}},
            ]
            for position, request in enumerate(requests):
                path = request.pop("url")
                answer = client.get(url + path, **request)
                self.seen[f"refused {position} {path}"] = answer.content
            token = {"access_token": mark("token")}
            client.get(f"{url}/api/v1/me", params=token)

    def _settle(self, api: httpx2.Client) -> None:
        """Have happened what follows: an end with a kill, messages tried."""
        first = self.known["task_id"][0]
        self.seen["processes"] = self._processes()
        self.seen["stored, meanwhile"] = self.stored()
        api.post(f"/tasks/{first}/cancel", json={"grace_s": 0.1})
        await_state(api, first, "cancelled")
        deadline = time.monotonic() + 30
        while len(self.receiver.bodies) < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        found = api.get("/webhooks/deliveries").json()["items"]
        self.known["delivery_id"] = [one["id"] for one in found]
        self.seen["webhook bodies"] = b"\n".join(self.receiver.bodies)

    def _note(self, parameter: str, answer: httpx2.Response) -> None:
        assert answer.status_code < 300, answer.text
        self.seen[f"native {answer.request.method} {answer.request.url.path}"] = answer.content
        self.known.setdefault(parameter, []).append(answer.json()["id"])

    def stored(self) -> bytes:
        """What every file of the data directory holds."""
        found = []
        for path in self.served.data.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    found.append(path.read_bytes())
        return b"\n".join(found)

    def program(self, *arguments: str) -> bytes:
        """What the command line says."""
        environ = {**os.environ, "TASKYARD_URL": self.served.url, "TASKYARD_TOKEN": "dev"}
        environ.pop("TASKYARD_SECRET_KEY", None)
        done = subprocess.run(
            [sys.executable, "-m", "taskyard", *arguments],
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    def _processes(self) -> bytes:
        """Command lines and environments of the server's own processes, not those of tasks."""
        found = b""
        for pid in {self.served.pid, *processes_with(str(self.served.data))}:
            with contextlib.suppress(OSError):
                environ = Path(f"/proc/{pid}/environ").read_bytes()
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"TASKYARD_ATTEMPT_ID=" not in environ:
                    name = b"server" if pid == self.served.pid else b"helper"
                    self.seen[f"environment of {name.decode()} {pid}"] = environ
                    found += command + b"\n"
        return found
