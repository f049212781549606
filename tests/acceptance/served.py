"""A real server in a process of its own, to be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

READY_WITHIN_S = 60.0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """``taskyard up --dev`` on a data directory."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.log = data.with_suffix(".log")

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        command = ["up", "--dev", "--data", str(self.data), "--port", str(self.port)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "taskyard", *command, *self._options],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    def await_ready(self) -> None:
        """Return once it answers; fail with what it said if it does not."""
        deadline = time.monotonic() + READY_WITHIN_S
        with httpx.Client(timeout=5, verify=False, trust_env=False) as asking:
            while time.monotonic() < deadline:
                assert self._process is not None
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(httpx.TransportError):
                    if asking.get(f"{self.url}/health/ready").status_code == 200:
                        return
                time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log.read_text(errors='replace')}")

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(30)
        self._process = None
        return status

    def end(self) -> None:
        """Leave nothing behind: neither the server nor a shepherd nor a command."""
        if self._process is not None:
            self.kill()
        for pid in processes_with(str(self.data)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def client(self) -> httpx.Client:
        """A client with the well-known admin token."""
        return httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": "Bearer dev"},
            timeout=30,
            verify=False,
            trust_env=False,
        )


@contextlib.contextmanager
def serving(data: Path, *options: str) -> Iterator[Served]:
    """A server that answers, ended afterwards with all it ran."""
    served = Served(data, *options)
    served.start()
    try:
        served.await_ready()
        yield served
    finally:
        served.end()


def processes_with(text: str) -> list[int]:
    """Processes whose command line or environment holds this text, our own aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if text.encode() in words and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def await_state(client: httpx.Client, task_id: str, *states: str, within_s: float = 30) -> Any:
    """The task once it is in one of these states."""
    deadline = time.monotonic() + within_s
    while True:
        task = client.get(f"/tasks/{task_id}").raise_for_status().json()
        if task["state"] in states:
            return task
        assert time.monotonic() < deadline, f"still {task['state']}: {task}"
        time.sleep(0.01)
