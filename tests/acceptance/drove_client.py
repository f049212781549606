"""A client of Drove's task API, written from its contract alone; knows nothing of this project.

Works with the standard library, and under any URL prefix.
"""

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

OP_SPEC = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
TERMINAL = frozenset({"STOPPED", "LOST"})


class ApiFailed(Exception):
    """An answer that says ``FAILED``, or a status other than 200."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status}: {body}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class DroveClient:
    """Calls one cluster."""

    def __init__(self, endpoint: str, user: str, password: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {pair}"}
        handlers = (_NoRedirect, urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def create(self, spec: dict[str, Any]) -> str:
        """Run a task; answers with its combined id."""
        return str(self._operate({"type": "CREATE", "spec": spec})["taskId"])

    def kill(self, app: str, task: str) -> str:
        """End a task; answers with its id."""
        operation = {"type": "KILL", "sourceAppName": app, "taskId": task}
        return str(self._operate(operation)["taskId"])

    def active(self) -> list[dict[str, Any]]:
        """All active tasks."""
        found: list[dict[str, Any]] = self._data("GET", "/tasks")
        return found

    def show(self, app: str, task: str) -> dict[str, Any]:
        """One task."""
        found: dict[str, Any] = self._data("GET", f"/tasks/{app}/instances/{task}")
        return found

    def follow(self, app: str, task: str, within_s: float = 60) -> dict[str, Any]:
        """One task once it has ended; its output is read meanwhile, as far as it goes."""
        deadline = time.monotonic() + within_s
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = self.show(app, task)
            if found["state"] in TERMINAL:
                return found
            time.sleep(0.1)
        raise TimeoutError(found)

    def await_state(self, app: str, task: str, state: str, within_s: float = 60) -> dict[str, Any]:
        """One task once it is in a state."""
        deadline = time.monotonic() + within_s
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = self.show(app, task)
            if found["state"] == state:
                return found
            if found["state"] in TERMINAL:
                raise RuntimeError(found)
            time.sleep(0.05)
        raise TimeoutError(found)

    def delete(self, app: str, task: str) -> bool:
        """Forget a task."""
        return bool(self._data("DELETE", f"/tasks/{app}/instances/{task}")["deleted"])

    def search(self, app: str, task: str) -> str:
        """Where the search form leads to."""
        form = {"taskSearchAppName": app, "taskSearchTaskID": task}
        status, headers, _ = self._call(
            "POST", "/tasks/search", urllib.parse.urlencode(form).encode(), None
        )
        assert status == 303, status
        return str(headers["Location"])

    def output(self, app: str, task: str) -> str:
        """All output, chunk by chunk."""
        text, offset = "", 0
        while True:
            path = f"/logfiles/tasks/{app}/{task}/read/output.log?offset={offset}&length=7"
            status, _, body = self._call("GET", path)
            assert status == 200, body
            chunk = json.loads(body)["data"]
            if not chunk:
                return text
            text += chunk
            offset += len(chunk.encode())

    def files(self, app: str, task: str) -> list[str]:
        """Names of log files."""
        _, _, body = self._call("GET", f"/logfiles/tasks/{app}/{task}/list")
        found: list[str] = json.loads(body)["files"]
        return found

    def get(self, path: str) -> Any:
        """The data at a path."""
        return self._data("GET", path)

    def post(self, path: str) -> Any:
        """The data of an operator's action."""
        return self._data("POST", path, {})

    def _operate(self, operation: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._data(
            "POST", "/tasks/operations", {**operation, "opSpec": OP_SPEC}
        )
        return found

    def _data(self, method: str, path: str, document: Any = None) -> Any:
        content = None if document is None else json.dumps(document).encode()
        status, _, body = self._call(method, path, content, "application/json")
        answer = json.loads(body) if body else {}
        if status != 200 or answer.get("status") != "SUCCESS":
            raise ApiFailed(status, answer)
        assert "null" not in json.dumps(answer)
        return answer.get("data")

    def _call(
        self, method: str, path: str, content: bytes | None = None, kind: str | None = None
    ) -> tuple[int, Any, bytes]:
        headers = dict(self._headers)
        if content is not None and kind is not None:
            headers["Content-Type"] = kind
        request = urllib.request.Request(  # noqa: S310 - a test's own server
            f"{self._endpoint}/apis/v1{path}", data=content, headers=headers, method=method
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()
