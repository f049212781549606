"""One way to measure every peer: what it is asked to run, and how fast that goes.

A task reports that it is done by appending one byte to a file (two microseconds, no round trip to
the broker), so the peers are compared by what they do themselves and none needs a result back end.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

BROKER_VARIABLE = "TASKYARD_BENCH_BROKER"
DONE_VARIABLE = "TASKYARD_BENCH_DONE"
WARM_UP = 100
"""Tasks sent before the clock starts, so that connections and import costs are paid."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A task queue as its script describes it.

    Attributes:
        name: what the table calls it.
        distribution: the PyPI name, for the version.
        broker: `redis` or `postgresql`.
        enqueue: sends tasks of a kind (`noop` or `command`), one call each, from this one process;
            returns the seconds it took, connections not included.
        workers: the command lines that make two worker processes.
        prepare: called once with the broker up, before anything else (schema).
    """

    name: str
    distribution: str
    broker: str
    enqueue: Callable[[str, int], float]
    workers: Sequence[Sequence[str]]
    prepare: Callable[[], None] | None = None


class PeerFailed(Exception):
    """A peer's workers did not do in time what was asked of them."""


def noop() -> None:
    """The task that does nothing but say it is done."""
    descriptor = os.open(os.environ[DONE_VARIABLE], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, b".")
    finally:
        os.close(descriptor)


def command() -> None:
    """The task that runs `true` with its output captured."""
    subprocess.run(["true"], capture_output=True, check=True)
    noop()


def timed(send: Callable[[], object], count: int) -> float:
    """Call `send` so often, one call after the other; the seconds it took."""
    begin = time.perf_counter()
    for _ in range(count):
        send()
    return time.perf_counter() - begin


def measure_enqueue(peer: Peer, count: int) -> float:
    """Tasks a second that one process enqueues while no worker listens."""
    peer.enqueue("noop", WARM_UP)
    return count / peer.enqueue("noop", count)


def measure_end_to_end(peer: Peer, kind: str, count: int, directory: Path) -> float:
    """Tasks a second from the first enqueue to the last one done, two workers running and warm.

    Raises:
        PeerFailed: the workers took longer than a minute and a half.
    """
    done = Path(os.environ[DONE_VARIABLE])
    done.write_bytes(b"")
    with _running(peer.workers, directory):
        peer.enqueue(kind, WARM_UP)
        _wait_for(done, WARM_UP)
        time.sleep(1)  # the second worker process may be slower to come up than the first
        begin = time.perf_counter()
        peer.enqueue(kind, count)
        _wait_for(done, WARM_UP + count)
        return count / (time.perf_counter() - begin)


def describe(peer: Peer) -> dict[str, str]:
    """The peer's name, version and broker, for the JSON."""
    return {"peer": peer.name, "version": version(peer.distribution), "broker": peer.broker}


def _wait_for(done: Path, size: int) -> None:
    deadline = time.monotonic() + 90
    while done.stat().st_size < size:
        if time.monotonic() > deadline:
            raise PeerFailed(f"{done.stat().st_size} of {size} tasks done after 90 s")
        time.sleep(0.002)


@contextmanager
def _running(commands: Sequence[Sequence[str]], directory: Path) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    log: IO[bytes]
    with (directory / "workers.log").open("ab") as log:
        try:
            for line in commands:
                processes.append(  # noqa: PERF401 -- a comprehension would lose those begun
                    subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
                )
            yield
        finally:
            _stop(processes)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            # The group is this peer's own session: its children die with it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
