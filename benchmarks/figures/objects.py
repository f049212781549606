"""Output of an ended attempt on its way into PostgreSQL, and read from there."""

import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from benchmarks.figures import Bench, Lines, postgresql
from benchmarks.peers import brokers
from benchmarks.rounds import percentile
from benchmarks.rows import Row, plain
from taskyard.core.ids import AttemptId
from taskyard.objects.output import ObjectOutput
from taskyard.objects.postgres.store import PostgresObjectStore
from taskyard.ports.logs import Stream
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.shipping import OutputShipper

NAME = "objects"
SHIPPED = "output of an ended attempt stored in PostgreSQL"
GROWTH = "growth of the process meanwhile"
P50 = "64 KiB of it read from any offset, p50"
P99 = "64 KiB of it read from any offset, p99"
WHOLE = "all of it read in order"
LINES: Lines = dict.fromkeys((SHIPPED, GROWTH, P50, P99, WHOLE))

ATTEMPT = AttemptId("01988a00-0000-7000-8000-000000000001")
MIB = 1 << 20
READS = 500


def measure(bench: Bench) -> Sequence[Row]:
    """A GiB of lines as servers write them; a sixteenth of that in a quick round."""
    size = MIB << (6 if bench.scale.quick else 10)
    with brokers.postgresql(bench.data) as uri:
        url = postgresql.new_database(uri)
        migrate(PostgresDatabase(database_address(url)))
        return anyio.run(_measure, url, size, bench.data)


async def _measure(url: str, size: int, directory: Path) -> list[Row]:
    objects = PostgresObjectStore(url)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        _write(Path(place) / ATTEMPT, size)
        output = LogFiles(Path(place)).output(ATTEMPT)
        if output is None:
            raise RuntimeError("the attempt has no output")
        await objects.put("warm", bytes(8 * MIB))
        before = _resident_bytes()
        begin = time.perf_counter()
        growth = 0
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                nonlocal growth
                while True:
                    growth = max(growth, _resident_bytes() - before)
                    await anyio.sleep(0.01)

            group.start_soon(watch)
            if not await OutputShipper(objects).ship(ATTEMPT, output):
                raise RuntimeError("the output was not stored")
            group.cancel_scope.cancel()
        shipped_s = time.perf_counter() - begin
    stored = ObjectOutput(objects)
    values = []
    for _ in range(READS):
        offset = random.randrange(size - 65_536)  # noqa: S311 - any will do
        begin = time.perf_counter()
        found = await stored.read(ATTEMPT, Stream.STDOUT, offset, 65_536)
        if len(found) != 65_536:
            raise RuntimeError("a range is short")
        values.append((time.perf_counter() - begin) * 1e3)
    begin = time.perf_counter()
    for offset in range(0, size, 4 * MIB):
        await stored.read(ATTEMPT, Stream.STDOUT, offset, 4 * MIB)
    whole_s = time.perf_counter() - begin
    await objects.close()
    return [
        plain(NAME, SHIPPED, "MiB/s", [size / MIB / shipped_s]),
        plain(NAME, GROWTH, "MiB", [growth / MIB]),
        plain(NAME, P50, "ms", [percentile(values, 0.50)]),
        plain(NAME, P99, "ms", [percentile(values, 0.99)]),
        plain(NAME, WHOLE, "MiB/s", [size / MIB / whole_s]),
    ]


def _write(directory: Path, size: int) -> None:
    chance = random.Random(1)  # noqa: S311 - the same each time
    lines = [
        f"2026-01-01T00:00:{one % 60:02}.{chance.randrange(10**6):06} INFO worker.{one % 16} "
        f"request {chance.randrange(1 << 32):08x} took {one % 999} ms status=200\n"
        for one in range(100_000)
    ]
    part = "".join(lines).encode()[: 4 * MIB]
    directory.mkdir(parents=True)
    with (directory / "stdout").open("wb") as file:
        for _ in range(size // len(part)):
            file.write(part)
    (directory / "meta.json").write_text('{"log_limit_bytes": 1099511627776}')


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
