"""The Drove dialect: creating tasks for a while, and listing 10,000 of them that are active.

The cluster pretends to run containers, see ``benchmarks/drove_server.py``; everything else is real.
"""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.api import FigureFailed
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain
from benchmarks.server import START_S, STOP_S, ServerUnavailable

NAME = "drove"
ACTIVE = 10_000
CONNECTIONS = 16
CREATES = "create operations, each answered once the task is placed"
CPU = "CPU of one create operation, to its task's end"
ANSWER = "answer to a create under that load, p99"
LIST = "GET /tasks with 10,000 active tasks, median"
GROWTH = "GET /tasks, the cost of a task among 10,000 against one among 2,500"
LINES: Lines = {
    CREATES: Requirement("figure", "at least", 10_000, "/min"),
    CPU: Requirement("figure", "under", 6, "ms"),
    ANSWER: None,
    LIST: Requirement("figure", "under", 250, "ms"),
    GROWTH: Requirement("figure", "under", 1.5, "x"),
}
_HEADERS: Final = {
    "Authorization": "Basic " + base64.b64encode(b"admin:admin").decode(),
    "Content-Type": "application/json",
}
_READS = 15


def measure(bench: Bench) -> Sequence[Row]:
    """Creates whose tasks end at once, then ever more that stay."""
    seconds = bench.scale.watch_s
    with _running(bench.data) as (port, pid):
        numbers = count()
        _create_for(port, numbers, 1.0)
        cpu, begin = _cpu_s(pid), time.monotonic()
        answers_ms = _create_for(port, numbers, seconds)
        _await_end(port)
        wall_s, cpu_ms = time.monotonic() - begin, (_cpu_s(pid) - cpu) * 1000
        _fill(port, numbers, ACTIVE // 4)
        few_ms = _list_ms(port, ACTIVE // 4)
        _fill(port, numbers, ACTIVE - ACTIVE // 4)
        many_ms = _list_ms(port, ACTIVE)
    created = len(answers_ms)
    growth = percentile(many_ms, 0.5) / percentile(few_ms, 0.5) / 4
    return [
        plain(NAME, CREATES, "/min", [created / wall_s * 60], LINES[CREATES]),
        plain(NAME, CPU, "ms", [cpu_ms / created], LINES[CPU]),
        plain(NAME, ANSWER, "ms", [percentile(answers_ms, 0.99)]),
        plain(NAME, LIST, "ms", many_ms, LINES[LIST]),
        plain(NAME, GROWTH, "x", [growth], LINES[GROWTH]),
    ]


def _body(number: int, word: str) -> bytes:
    spec: dict[str, Any] = {
        "sourceAppName": "BENCH",
        "taskId": f"T{number}",
        "executable": {"type": "DOCKER", "url": "busybox", "dockerPullTimeout": "100s"},
        "resources": [{"type": "CPU", "count": 1}, {"type": "MEMORY", "sizeInMB": 64}],
        "env": {"ITERATIONS": "10"},
        "args": [word],
    }
    op_spec = {"timeout": "5m", "parallelism": 1, "failureStrategy": "STOP"}
    return json.dumps({"type": "CREATE", "spec": spec, "opSpec": op_spec}).encode()


def _create(connection: http.client.HTTPConnection, number: int, word: str) -> float:
    begin = time.perf_counter()
    connection.request("POST", "/apis/v1/tasks/operations", _body(number, word), _HEADERS)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise FigureFailed(f"a create was answered with {answer.status}: {said[:500]!r}")
    return (time.perf_counter() - begin) * 1000


def _create_for(port: int, numbers: "count[int]", seconds: float) -> list[float]:
    """Milliseconds of each answer."""
    end = time.monotonic() + seconds

    def create(_: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        values = []
        while time.monotonic() < end:
            values.append(_create(connection, next(numbers), "end"))
        connection.close()
        return values

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [value for values in pool.map(create, range(CONNECTIONS)) for value in values]


def _fill(port: int, numbers: "count[int]", tasks: int) -> None:
    def create(share: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(share):
            _create(connection, next(numbers), "hang")
        connection.close()

    shares = [tasks // CONNECTIONS + (at < tasks % CONNECTIONS) for at in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(create, shares))


def _list_ms(port: int, expected: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    values, body = [], b""
    for _ in range(_READS):
        begin = time.perf_counter()
        connection.request("GET", "/apis/v1/tasks", headers=_HEADERS)
        body = connection.getresponse().read()
        values.append((time.perf_counter() - begin) * 1000)
    connection.close()
    listed = len(json.loads(body)["data"])
    if listed != expected:
        raise FigureFailed(f"{listed} of {expected} active tasks are listed")
    return values


def _await_end(port: int) -> None:
    """Return once nothing is active: what was created counts only with its end."""
    deadline = time.monotonic() + START_S
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < deadline:
        connection.request("GET", "/apis/v1/cluster", headers=_HEADERS)
        if json.loads(connection.getresponse().read())["data"]["numActiveTasks"] == 0:
            connection.close()
            return
        time.sleep(0.05)
    raise FigureFailed("tasks that end at once are still active")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _running(directory: Path) -> Iterator[tuple[int, int]]:
    """Port and process of the cluster."""
    directory.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="drove-", dir=directory.resolve()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = data.with_suffix(".log")
    command = [sys.executable, "-m", "benchmarks.drove_server", str(data), str(port)]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            _wait(port, process, log)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(data, ignore_errors=True)
        log.unlink(missing_ok=True)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/apis/v1/ping", headers=_HEADERS)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-2000:]
    raise ServerUnavailable(f"the cluster did not become ready:\n{said}")
