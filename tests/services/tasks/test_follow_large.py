"""A large output is followed in order and in bounded memory."""

import tracemalloc
from contextlib import aclosing
from pathlib import Path

import pytest
from log_world import CALLER, TASK, LogWorld

from taskyard.core.output_index import FILE, MAX_RECORDS, STDERR, STDOUT, encode
from taskyard.ports.logs import Stream
from taskyard.services.tasks.followed import Output

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SIZE = 100_000_000
PIECE = 4096
MOST_BYTES = 40 << 20
"""Of memory: eight unpacked members of archives are kept, and as many are on their way at most."""


@pytest.mark.parametrize("compressed", [False, True])
async def test_it_needs_little_memory(tmp_path: Path, compressed: bool) -> None:
    """Plain or compressed; each piece in its place."""
    world = LogWorld(tmp_path, inline_limit_bytes=0, compress_bytes=1 << 30, limit=1 << 30)
    attempt_id = world.begin()
    directory = tmp_path / attempt_id
    count = SIZE // PIECE
    with (
        (directory / Stream.STDOUT).open("wb") as out,
        (directory / Stream.STDERR).open("wb") as err,
        (directory / FILE).open("wb") as index,
    ):
        for number in range(count):
            stream = STDERR if number % 3 else STDOUT
            (err if number % 3 else out).write(number.to_bytes(8, "big") * (PIECE // 8))
            index.write(encode(number, PIECE, stream))
    await world.end(attempt_id)
    if compressed:
        world.compress(attempt_id)
        assert not (directory / FILE).exists()
    expected, size = 0, 0
    tracemalloc.start()
    try:
        async with aclosing(world.follow.follow(CALLER, TASK, 1, 0, 0)) as items:
            async for item in items:
                if not isinstance(item, Output):
                    continue
                assert item.data[:8] == expected.to_bytes(8, "big")
                assert len(item.data) % PIECE == 0
                expected += len(item.data) // PIECE
                size += len(item.data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (expected, size) == (count, count * PIECE)
    assert most < MOST_BYTES


async def test_a_reader_that_comes_back_late_is_answered_soon(tmp_path: Path) -> None:
    """All of the largest index has to be passed over for that."""
    world = LogWorld(tmp_path, inline_limit_bytes=0, compress_bytes=1 << 30, limit=1 << 30)
    attempt_id = world.begin()
    directory = tmp_path / attempt_id
    half = MAX_RECORDS // 2
    (directory / Stream.STDOUT).write_bytes(b"o" * half)
    (directory / Stream.STDERR).write_bytes(b"e" * half)
    (directory / FILE).write_bytes((encode(1, 1, STDERR) + encode(1, 1, STDOUT)) * half)
    await world.end(attempt_id)
    follow = world.follow.follow(CALLER, TASK, 1, half - 1, half - 2)
    async with aclosing(follow) as items:
        found = [item async for item in items if isinstance(item, Output)]
    assert [(item.stream, item.data) for item in found] == [
        (Stream.STDERR, b"e"),
        (Stream.STDERR, b"e"),
        (Stream.STDOUT, b"o"),
    ]
