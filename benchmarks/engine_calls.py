"""A container engine called bare: create, start, wait, remove, and nothing else."""

import http.client
import json
import socket
from typing import Any, Final

API: Final = "/v1.41"
HOST: Final = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108 -- inside the container
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
}


class CallFailed(Exception):
    """The engine answered with an error."""


class BareEngine:
    """One kept-alive connection to an engine's Unix socket."""

    def __init__(self, url: str) -> None:
        """``url`` is ``unix:///PATH``."""
        self._connection = _Connection(url.removeprefix("unix://"))

    def run(self, image: str, command: list[str]) -> None:
        """Run a container to its end, and remove it.

        Raises:
            CallFailed: see the class.
        """
        body = {"Image": image, "Cmd": command, "HostConfig": HOST}
        name = self._call("POST", "/containers/create", body)["Id"]
        self._call("POST", f"/containers/{name}/start")
        ended = self._call("POST", f"/containers/{name}/wait")
        self._call("DELETE", f"/containers/{name}?force=1&v=1")
        if ended["StatusCode"] != 0:
            raise CallFailed(f"ended with {ended['StatusCode']}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, API + path, content, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise CallFailed(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text.strip() else None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)
