"""Line written to line received on a WebSocket."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Sequence

from websockets.asyncio.client import connect

from benchmarks import server
from benchmarks.api import BASE, Api, FigureFailed
from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Requirement, Row, plain

NAME = "logs"
P50 = "log line written to received on a WebSocket, p50"
P99 = "log line written to received on a WebSocket, p99"
LINES: Lines = {P50: None, P99: Requirement("figure", "under", 50, "ms")}
WRITER = """
import os, random, time
time.sleep(1)  # the follower is connected by then
for _ in range({lines}):
    time.sleep(random.expovariate(100))
    os.write(1, b"%d\\n" % time.time_ns())
"""


def measure(bench: Bench) -> Sequence[Row]:
    """Follow a command that prints the time at random intervals, 10 ms in the mean."""
    lines = bench.scale.log_lines
    writer = [sys.executable, "-I", "-S", "-c", WRITER.format(lines=lines)]
    with server.running(bench.data) as running:
        api = Api(running.port)
        task = api.submit({"command": writer})
        values = asyncio.run(asyncio.wait_for(_delays_ms(running.port, task), 60))
        api.close()
    if len(values) != lines:
        raise FigureFailed(f"{len(values)} of {lines} lines received")
    return [
        plain(NAME, P50, "ms", [percentile(values, 0.50)]),
        plain(NAME, P99, "ms", [percentile(values, 0.99)], LINES[P99]),
    ]


async def _delays_ms(port: int, task: str) -> list[float]:
    address = f"ws://127.0.0.1:{port}{BASE}/tasks/{task}/logs/ws?stdout=0&stderr=-1"
    headers = {"Authorization": f"Bearer {server.TOKEN}"}
    values: list[float] = []
    rest = b""
    async with connect(address, additional_headers=headers, compression=None) as follower:
        async for message in follower:
            now_ns = time.time_ns()
            document = json.loads(message)
            if document["type"] == "exit":
                break
            if document["type"] != "output":
                continue
            rest += _bytes(document)
            *whole, rest = rest.split(b"\n")
            values += [(now_ns - int(line)) / 1e6 for line in whole]
    return values


def _bytes(document: dict[str, str]) -> bytes:
    return document["text"].encode() if "text" in document else base64.b64decode(document["base64"])
