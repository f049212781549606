"""A real server in a process of its own, to be killed and started again.

Its process is forked from one that has imported everything: of the second or more that a start
takes, that is nearly all, and some tests start a server sixty times. Starts as a user does them are
the business of ``test_api_server.py``.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from eventually import eventually
from taskyard.cli.main import main

READY_WITHIN_S = 60.0
_forked = multiprocessing.get_context("forkserver")
_new = multiprocessing.get_context("spawn")
_forked.set_forkserver_preload(
    ["taskyard.cli.main", "taskyard.cli.commands.up", "taskyard.server.run"]
)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """``taskyard up --dev`` on a data directory."""

    def __init__(self, data: Path, *options: str, forked: bool = True) -> None:
        """Not forked, its process begins with the environment there is when it is started; else
        ``/proc`` shows that of the first start of all.
        """
        self._context = _forked if forked else _new
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: multiprocessing.process.BaseProcess | None = None
        self.log = data.with_suffix(".log")

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        command = ["up", "--dev", "--data", str(self.data), "--port", str(self.port)]
        arguments = ["taskyard", *command, *self._options]
        self._process = self._context.Process(
            target=_run, args=(arguments, dict(os.environ), str(self.log)), daemon=True
        )
        self._process.start()

    def await_ready(self) -> None:
        """Return once it answers; fail with what it said if it does not."""
        deadline = time.monotonic() + READY_WITHIN_S
        with httpx2.Client(timeout=5, verify=False, trust_env=False) as asking:
            while time.monotonic() < deadline:
                assert self._process is not None
                if not self._process.is_alive():
                    break
                with contextlib.suppress(httpx2.TransportError):
                    if asking.get(f"{self.url}/health/ready").status_code == 200:
                        return
                time.sleep(0.02)
        if self._process is not None and self._process.is_alive():
            os.kill(self.pid, signal.SIGUSR2)
            time.sleep(1)  # for it to say in its log where it is, as there is nothing to wait for
        raise AssertionError(f"the server did not start:\n{self.log.read_text(errors='replace')}")

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._process.close()
        self._process = None

    def kill_store(self) -> None:
        """SIGKILL for the process that writes the store, if there is one at the moment."""
        for pid in self.store_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def store_pids(self) -> list[int]:
        """The process that writes the store; none while it is being replaced."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command = stat.with_name("cmdline").read_bytes()
                if parent == self.pid and b"taskyard.store.sql.writer" in command:
                    found.append(int(stat.parent.name))
        return found

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self._process is not None
        self._process.terminate()
        self._process.join(30)
        status = self._process.exitcode
        assert status is not None, "the server does not end"
        self._process.close()
        self._process = None
        return status

    def again(self) -> None:
        """Stop it, and start it with the environment there is now."""
        self.stop()
        self.start()
        self.await_ready()

    def end(self) -> None:
        """Leave nothing behind: neither the server nor a supervisor nor a command."""
        if self._process is not None:
            self.kill()
        for pid in processes_with(str(self.data)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def client(self) -> httpx2.Client:
        """A client with the well-known admin token."""
        return httpx2.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": "Bearer dev"},
            timeout=30,
            verify=False,
            trust_env=False,
        )


def _run(arguments: list[str], env: dict[str, str], log: str) -> None:
    """The command line in a new process."""
    os.environ.clear()
    os.environ.update(env)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.register(signal.SIGUSR2)
    sys.argv = arguments
    main()


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


def await_state(client: httpx2.Client, task_id: str, *states: str, within_s: float = 30) -> Any:
    """The task once it is in one of these states; else the test fails with why it is not."""

    def look() -> Any:
        return client.get(f"/tasks/{task_id}").raise_for_status().json()

    def why() -> list[str]:
        return [client.get(path).text for path in (f"/tasks/{task_id}/why", "/workers")]

    return eventually(look, lambda task: task["state"] in states, of=why, within_s=within_s)
