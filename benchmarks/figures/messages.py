"""Messages between control planes over NATS: two of them in one event loop, and a real server."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from benchmarks.figures import Bench, Lines
from benchmarks.rounds import percentile
from benchmarks.rows import Row, plain
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import AttemptId, LeaseToken, PlaneId, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import Command
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.server.clock import SystemClock
from taskyard.server.cluster_keys import keys_of
from taskyard.server.nats_server import find_nats_server, own_nats_server
from taskyard.server.nats_settings import NatsSettings
from taskyard.transport.local import LocalTransport
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.planes import PlaneTransport

NAME = "messages"
P50 = "request to another control plane and answer, p50"
P99 = "request to another control plane and answer, p99"
AT_ONCE = "requests between control planes, 64 at once"
ORDER = "order to a worker beside another control plane, acknowledged, p50"
LARGE = "4 MiB in a request to another control plane"
LINES: Lines = dict.fromkeys((P50, P99, AT_ONCE, ORDER, LARGE))

HERE, THERE, WORKER = PlaneId("here"), PlaneId("there"), WorkerId("worker")
KEYS = keys_of([bytes([number]) * 32 for number in range(4)])
WAIT_S = 30.0
CALLERS = 64
LARGE_BYTES = 4 << 20


def measure(bench: Bench) -> Sequence[Row]:
    """One after the other, so that none disturbs another one."""
    try:
        find_nats_server()
    except InvalidInput as error:
        return [Row(name=NAME, what=line, note=str(error)) for line in LINES]
    count = bench.scale.latency_tasks * 20
    return anyio.run(_measure, count, backend_options={"use_uvloop": True})


async def _measure(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        settings = NatsSettings(serve=True, listen="127.0.0.1:0")
        async with (
            own_nats_server(settings, Path(directory), KEYS) as options,
            nats_messages(options, "bench", HERE) as here,
            nats_messages(options, "bench", THERE) as there,
        ):
            there.serve("echo", _echo)
            await _latencies_us(here, 200)
            one = await _latencies_us(here, count)
            rates = [await _rate(here, count) for _ in range(3)]
            orders = await _orders_us(here, there, count // 4)
            large = [await _large_ms(here) for _ in range(5)]
    return [
        plain(NAME, P50, "us", [percentile(one, 0.50)]),
        plain(NAME, P99, "us", [percentile(one, 0.99)]),
        plain(NAME, AT_ONCE, "/s", rates),
        plain(NAME, ORDER, "us", [percentile(orders, 0.50)]),
        plain(NAME, LARGE, "ms", large),
    ]


async def _echo(payload: bytes) -> bytes:
    return payload[:100]


async def _latencies_us(here: NatsMessages, count: int) -> list[float]:
    """Microseconds of each of so many requests of 100 bytes, one after the other."""
    values = []
    for _ in range(count):
        begin = time.perf_counter()
        await here.request(THERE, "echo", bytes(100), WAIT_S)
        values.append((time.perf_counter() - begin) * 1e6)
    return values


async def _rate(here: NatsMessages, count: int) -> float:
    """Requests a second of callers that ask again as soon as they are answered."""

    async def ask() -> None:
        for _ in range(count // 16):
            await here.request(THERE, "echo", bytes(100), WAIT_S)

    begin = time.perf_counter()
    async with anyio.create_task_group() as callers:
        for _ in range(CALLERS):
            callers.start_soon(ask)
    return CALLERS * (count // 16) / (time.perf_counter() - begin)


async def _orders_us(here: NatsMessages, there: NatsMessages, count: int) -> list[float]:
    """Microseconds from giving an assignment until the worker's plane has acknowledged it."""
    values = []
    async with anyio.create_task_group() as tasks:
        near, far = (
            PlaneTransport(LocalTransport(), one, lambda _: THERE, SystemClock(), tasks)
            for one in (here, there)
        )
        await far.serve(_Engine())  # type: ignore[arg-type]  # nobody reports
        await far.connect(WORKER, _Hand())
        for number in range(count):
            assignment = _assignment(number)
            begin = time.perf_counter()
            await (await near.to_worker(WORKER)).assign([assignment])
            values.append((time.perf_counter() - begin) * 1e6)
    return values


async def _large_ms(here: NatsMessages) -> float:
    """Milliseconds of a request that is larger than NATS takes."""
    begin = time.perf_counter()
    await here.request(THERE, "echo", bytes(LARGE_BYTES), WAIT_S)
    return (time.perf_counter() - begin) * 1e3


def _assignment(number: int) -> Assignment:
    return Assignment(
        attempt_id=AttemptId(str(number)),
        task_id=TaskId(str(number)),
        workspace=WorkspaceName("default"),
        group="default",
        number=1,
        lease_token=LeaseToken("lease"),
        assigned_at=Instant(time.time_ns() // 1000),
        work=Command(argv=("true",)),
        resources=Resources(),
        timeout_s=None,
        kill_signal="SIGTERM",
        kill_grace_s=1.0,
        log_limit_bytes=1 << 20,
    )


class _Engine:
    """Nobody reports to it."""


class _Hand:
    """A worker that takes everything on."""

    async def assign(self, assignments: list[Assignment]) -> None:
        """Take them on."""

    async def kill(self, orders: list[KillOrder]) -> None:
        """Obey."""
