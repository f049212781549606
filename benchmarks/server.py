"""A real `taskyard up` on loopback, with a data directory of its own, for one figure."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

TOKEN = "dev"  # noqa: S105 -- the well-known credential of `--dev`
START_S = 30.0
STOP_S = 30.0


class ServerUnavailable(Exception):
    """`taskyard up` is not installed or did not become ready; the message ends with its log."""


class Server(msgspec.Struct, frozen=True):
    """A running server."""

    port: int
    pid: int
    data: Path

    def resident_bytes(self) -> int:
        """Resident memory (VmRSS) of the server and of the process that writes its store."""
        return sum(_resident_bytes(pid) for pid in (self.pid, *self._store_processes()))

    def _store_processes(self) -> list[int]:
        # Listed by the thread that started them.
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        children = " ".join(one.read_text() for one in lists).split()
        return [
            int(pid)
            for pid in children
            if b"taskyard.store.sql.writer" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def database_bytes(self) -> int:
        """Size of the store on disk, its write-ahead log included."""
        return sum(path.stat().st_size for path in self.data.glob("taskyard.sqlite3*"))


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ServerUnavailable("the server process has ended")


@contextmanager
def running(directory: Path, *options: str) -> Iterator[Server]:
    """Start a server with an empty data directory; stop it by its pid and remove the data.

    Args:
        directory: where the data directory is made: on the disk that is to be measured.
        options: further arguments of `taskyard up`.

    Raises:
        ServerUnavailable: see the class.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="data-", dir=directory.resolve()))
    log_path = data.with_suffix(".log")
    port = _free_port()
    command = [_program(), "up", "--dev", "--data", str(data), "--port", str(port), *options]
    try:
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=data.parent,  # away from a taskyard.toml, which would configure it
                env=_environment(),
                start_new_session=True,
            )
        try:
            _wait_until_ready(port, process, log_path)
            yield Server(port=port, pid=process.pid, data=data)
        finally:
            _stop(process)
            _end_left_behind(data)
    finally:
        shutil.rmtree(data, ignore_errors=True)
        log_path.unlink(missing_ok=True)


def _program() -> str:
    beside = Path(sys.executable).parent / "taskyard"
    found = str(beside) if beside.exists() else shutil.which("taskyard")
    if found is None:
        raise ServerUnavailable("`taskyard` is not installed in this environment")
    return found


def _environment() -> dict[str, str]:
    """Ours without what would configure the server: it is to run with its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TASKYARD_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(0.05)
    state = "did not become ready" if process.poll() is None else f"ended with {process.returncode}"
    raise ServerUnavailable(f"taskyard up {state}: {_end_of(log)}")


def _end_of(log: Path) -> str:
    """The last lines of a log, in one."""
    return " | ".join(log.read_text(errors="replace").splitlines()[-3:])[-600:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_left_behind(data: Path) -> None:
    """Kill what the server leaves running by design: its supervisor, and the commands of its tasks.

    They are told from other processes by their command line or working directory, which names the
    temporary data directory of this very run.
    """
    mark = os.fsencode(data)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            theirs = mark in (entry / "cmdline").read_bytes()
            theirs = theirs or os.fsencode((entry / "cwd").readlink()).startswith(mark)
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if theirs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
