"""GX workspaces that change each second, with thousands of streams that show them."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2

from benchmarks import server
from benchmarks.api import FigureFailed
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain
from benchmarks.server import Server
from benchmarks.watchers import many_sockets, opened

NAME = "watching"
WORKSPACES = 50
STREAMS = 2000
IDLERS = 20
"""More streams, which are never read from."""
CPU = "CPU with 2,000 streams on 50 changing workspaces"
P50 = "change to frame, p50"
P99 = "change to frame, p99"
MEMORY = "memory of 2,000 streams"
LINES: Lines = {
    CPU: Requirement("figure", "under", 1, "cores"),
    P50: None,
    P99: Requirement("figure", "under", 300, "ms"),
    MEMORY: Requirement("figure", "under", 200, "MB"),
}
CONFIG = f"""
max_streams = {2 * STREAMS}
share_percent = 100
[gx]
streams = {2 * STREAMS // WORKSPACES}
"""


def measure(bench: Bench) -> Sequence[Row]:
    """Watch for a while, with a create in each workspace each second."""
    many_sockets(STREAMS + IDLERS)
    bench.data.mkdir(parents=True, exist_ok=True)
    config = bench.data / "watching.toml"
    config.write_text(CONFIG)
    with server.running(bench.data, "--config", str(config.resolve())) as running:
        seconds = bench.scale.watch_s
        return asyncio.run(asyncio.wait_for(_watch(running, seconds), 60 + 3 * seconds))


async def _watch(running: Server, seconds: float) -> Sequence[Row]:
    idle = running.resident_bytes()
    delays_ms: list[float] = []
    paths = [_path("/gx/ws/tasks", number % WORKSPACES) for number in range(STREAMS)]
    watchers = await opened(running.port, paths, delays_ms)
    await opened(running.port, paths[:IDLERS], [], reads=False)
    limits = httpx2.Limits(max_connections=16)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{running.port}", limits=limits, timeout=30
    ) as client:
        await _changes(client, 3.0)  # as long as a simulation takes: then some end each second
        delays_ms.clear()
        cpu, begin = _cpu_s(running.pid), time.monotonic()
        await _changes(client, seconds)
        wall_s = time.monotonic() - begin
        cores = (_cpu_s(running.pid) - cpu) / wall_s
    memory = (running.resident_bytes() - idle) / 1e6
    lost = sum(not one.is_open for one in watchers)
    if lost:
        raise FigureFailed(f"{lost} of {STREAMS} streams were closed")
    silent = sum(one.frames < seconds for one in watchers)
    if silent:
        raise FigureFailed(f"{silent} of {STREAMS} streams missed a second")
    return [
        plain(NAME, CPU, "cores", [cores], LINES[CPU]),
        plain(NAME, P50, "ms", [percentile(delays_ms, 0.50)]),
        plain(NAME, P99, "ms", [percentile(delays_ms, 0.99)], LINES[P99]),
        plain(NAME, MEMORY, "MB", [memory], LINES[MEMORY]),
    ]


async def _changes(client: httpx2.AsyncClient, seconds: float) -> None:
    """A create in each workspace each second, spread over it."""
    end = time.monotonic() + seconds
    number = 0
    async with asyncio.TaskGroup() as group:
        due = time.monotonic()
        while due < end:
            group.create_task(_create(client, number % WORKSPACES))
            number += 1
            due += 1 / WORKSPACES
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _create(client: httpx2.AsyncClient, number: int) -> None:
    body = {"name": f"at {time.time_ns()}", "type": "gx.tiny"}
    answer = await client.post(_path("/gx/tasks", number), json=body)
    if answer.status_code != 200:
        raise FigureFailed(f"a create was answered {answer.status_code}: {answer.text[:200]}")


def _path(path: str, number: int) -> str:
    return f"{path}?api_key={server.TOKEN}&workspace_id=w{number}"


def _cpu_s(pid: int) -> float:
    """CPU time a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
