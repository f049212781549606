"""Containers against the same calls made bare, on the engines that the environment names."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks import server
from benchmarks.api import Api, FigureFailed
from benchmarks.engine_calls import BareEngine
from benchmarks.figures import Bench, Lines
from benchmarks.rows import Requirement, Row, compared, missing, plain

NAME = "containers"
ENGINES = {"Podman": "BENCH_PODMAN", "Docker Engine": "BENCH_DOCKER"}
"""The variables that say where engines are, ``unix:///PATH``; each has to know the image."""
IMAGE = "busybox"
COMMAND = ["true"]
AT_ONCE = 8
LARGE_BYTES = 100_000_000
ONE = "{}: a container, one after the other, against bare calls"
EIGHT = "{}: a container, 8 at a time, against bare calls"
GROWTH = "{}: memory growth while 100 MB of output arrive"
OVERHEAD = Requirement("ratio", "at most", 1.15)
LINES: Lines = {
    line.format(engine): requirement
    for engine in ENGINES
    for line, requirement in (
        (ONE, OVERHEAD),
        (EIGHT, OVERHEAD),
        (GROWTH, Requirement("figure", "under", 50, "MB")),
    )
}


def measure(bench: Bench) -> Sequence[Row]:
    """Each engine in turn, with a server of its own."""
    rows: list[Row] = []
    for engine, variable in ENGINES.items():
        url = os.environ.get(variable)
        if url is None:
            lines = [line.format(engine) for line in (ONE, EIGHT, GROWTH)]
            reason = f"set {variable}=unix:///PATH to an engine that has the image {IMAGE}"
            rows += [missing(NAME, line, reason, LINES[line]) for line in lines]
            continue
        with on_engine(url), server.running(bench.data) as running:
            rows += _measured(bench, engine, url, running)
    return rows


def _measured(bench: Bench, engine: str, url: str, running: server.Server) -> list[Row]:
    rows = []
    rounds, count = (2, 8) if bench.scale.quick else (5, 24)
    for line, threads in ((ONE, 1), (EIGHT, AT_ONCE)):
        ours: list[float] = []
        bare: list[float] = []
        _parallel(threads, threads, lambda: _Ours(running.port))
        for _ in range(rounds):
            bare.append(_parallel(threads, count, lambda: _Bare(url)))
            ours.append(_parallel(threads, count, lambda: _Ours(running.port)))
        what = line.format(engine)
        rows.append(compared(NAME, what, "ms", ours, "bare calls", bare, LINES[what]))
    what = GROWTH.format(engine)
    return [*rows, plain(NAME, what, "MB", [_growth_mb(running)], LINES[what])]


class _Ours:
    """Containers as tasks."""

    def __init__(self, port: int) -> None:
        self._api = Api(port)

    def run(self) -> None:
        """One, to its stored end."""
        _run(self._api, COMMAND)

    def close(self) -> None:
        """Close the connection."""
        self._api.close()


class _Bare:
    """Containers by bare calls."""

    def __init__(self, url: str) -> None:
        self._engine = BareEngine(url)

    def run(self) -> None:
        """One, to its removal."""
        self._engine.run(IMAGE, COMMAND)

    def close(self) -> None:
        """Close the connection."""
        self._engine.close()


def _run(api: Api, command: list[str], **members: object) -> str:
    spec = {"image": IMAGE, "command": command, "container": {"network": "none"}, **members}
    task = api.submit(spec)
    ended = api.call("GET", f"/tasks/{task}/wait?timeout_s=60")
    if ended["state"] != "succeeded":
        raise FigureFailed(f"the task is {ended['state']}: {ended['message']}")
    return task


def _parallel(threads: int, count: int, make: Callable[[], "_Ours | _Bare"]) -> float:
    """Milliseconds for each of so many containers, shared by so many threads."""
    failures: list[Exception] = []

    def work() -> None:
        runner = make()
        try:
            for _ in range(count // threads):
                runner.run()
        except Exception as error:  # noqa: BLE001 -- told by the thread that waits
            failures.append(error)
        finally:
            runner.close()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return (time.perf_counter() - begin) * 1000 / count


def _growth_mb(running: server.Server) -> float:
    """The most that the server's memory grows while the output of one container arrives."""
    api = Api(running.port)
    before = most = running.resident_bytes()
    over = threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, running.resident_bytes())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        script = f"yes 0123456789012345678901234567890123456789 | head -c {LARGE_BYTES}"
        task = _run(api, ["sh", "-c", script], log_limit=1 << 30)
    finally:
        over.set()
        looking.join()
    attempt = api.first_attempt(task)
    api.close()
    if attempt is None or attempt["stdout"]["stored_bytes"] != LARGE_BYTES:
        raise FigureFailed(f"not all output arrived: {attempt}")
    return (most - before) / 1e6


@contextmanager
def on_engine(url: str) -> Iterator[None]:
    """The environment of a server that is to use this engine."""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before
