"""A server of the demo's own: a free port on loopback, a temporary data directory."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from taskyard.sdk import Client, TaskyardError

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0


@contextlib.contextmanager
def served() -> Iterator[Client]:
    """Start a server, and end it with all it ran. Raises ``SystemExit`` if it does not start."""
    directory = Path(tempfile.mkdtemp(prefix="taskyard-demo-"))
    port = _free_port()
    command = ["up", "--dev", "--data", str(directory), "--port", str(port)]
    with (directory / "server.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskyard", *command], stdout=output, stderr=output
        )
    try:
        with Client(f"http://127.0.0.1:{port}", token="dev") as client:
            _await_ready(client, process, directory / "server.log")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _await_ready(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(TaskyardError):
            client.version()
            return
        time.sleep(0.05)
    sys.exit(f"the server did not start; it said:\n{log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leftovers(marker: str) -> list[int]:
    """Processes on this machine whose command line holds ``marker``, our own aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if marker.encode() in words and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
