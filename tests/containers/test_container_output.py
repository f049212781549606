"""Output of containers on real engines: every byte, in bounded memory, within the limit."""

import hashlib
import resource
from pathlib import Path

import anyio
import pytest
from container_harness import ContainerHarness

from eventually import eventually_async
from taskyard.core.attempts import StreamSize

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]

LARGE = {"docker": 100_000_000, "podman": 40_000_000}
"""Of so many short lines; Podman takes five times as long as Docker Engine for each of them."""
LINE = b"0123456789" * 7 + b"\n"


def _large_digest(size: int) -> str:
    digest = hashlib.sha256()
    block = LINE * 10_000
    for _ in range(size // len(block)):
        digest.update(block)
    digest.update((block)[: size % len(block)])
    return digest.hexdigest()


async def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    async with await anyio.open_file(path, "rb") as file:
        while part := await file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("printf x", b"x"),
        ("printf 'a\\nb'", b"a\nb"),
        ("printf '\\n\\n'", b"\n\n"),
        ("printf '\\377\\376\\000\\n\\200'", b"\xff\xfe\0\n\x80"),
        ("head -c 40000 /dev/zero | tr '\\0' a", b"a" * 40000),
        ("head -c 40000 /dev/zero | tr '\\0' a; echo", b"a" * 40000 + b"\n"),
        ("head -c 16384 /dev/zero | tr '\\0' a; echo; echo b", b"a" * 16384 + b"\nb\n"),
        ("printf par; sleep 0.2; printf tial", b"partial"),
        ("true", b""),
    ],
)
async def test_every_byte_arrives(harness: ContainerHarness, script: str, wanted: bytes) -> None:
    """What engines make of lines and characters in their own logs does not show."""
    ended = await harness.run(script)
    assert await harness.output(ended) == wanted
    assert ended.stdout == StreamSize(len(wanted), 0)


async def test_many_megabytes_arrive_in_bounded_memory(harness: ContainerHarness) -> None:
    """All of it, while our own memory does not grow by what passes through."""
    size = LARGE[harness.engine.kind]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    script = f"yes {LINE.decode().strip()} | head -c {size}; printf end >&2"
    ended = await harness.run(script, log_limit_bytes=1 << 30)
    assert ended.stdout == StreamSize(size, 0)
    path = harness.directory(ended.attempt_id) / "stdout"
    assert await _digest(path) == _large_digest(size)
    assert await harness.output(ended, "stderr") == b"end"
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < (size // 2) >> 10


async def test_the_limit_cuts_and_counts(harness: ContainerHarness) -> None:
    """What is beyond the limit is not kept, and how much that was is known."""
    ended = await harness.run("seq 1 100000; echo e >&2", log_limit_bytes=1000)
    total = sum(len(str(number)) + 1 for number in range(1, 100_001))
    assert ended.stdout == StreamSize(1000, total - 1000)
    assert ended.stderr == StreamSize(2, 0)
    assert len(await harness.output(ended)) == 1000
    meta = anyio.Path(harness.directory(ended.attempt_id) / "meta.json")
    assert await meta.read_text() == '{"log_limit_bytes": 1000}'


async def test_output_is_there_while_it_runs(harness: ContainerHarness) -> None:
    """Nobody has to wait for the end, not even for the end of a line."""
    assignment = await harness.start("printf now; sleep 600")
    assert await harness.has_written(assignment, b"now") == b"now"
    await harness.kill(assignment)


async def test_output_goes_on_after_a_restart_without_loss_or_repetition(
    harness: ContainerHarness,
) -> None:
    """What was said before, meanwhile and afterwards stands there once, in order."""
    assignment = await harness.start(
        "i=0; while [ $i -lt 60 ]; do echo line $i; echo err $i >&2; i=$((i+1)); sleep 0.05; done; "
        "head -c 20000 /dev/zero | tr '\\0' z; echo; printf '\\377end'"
    )
    started = await harness.started(assignment)
    for mark in (b"line 5\n", b"line 25\n"):
        await harness.has_written(assignment, mark)
        await harness.reopen()
        await harness.adopt(assignment, started.handle)
    ended = await harness.ended(assignment)
    lines = b"".join(b"line %d\n" % number for number in range(60))
    assert await harness.output(ended) == lines + b"z" * 20000 + b"\n\xffend"
    errors = b"".join(b"err %d\n" % number for number in range(60))
    assert await harness.output(ended, "stderr") == errors


async def test_output_written_while_nobody_was_there_is_brought_in(
    harness: ContainerHarness,
) -> None:
    """A container that ended meanwhile loses nothing, within the limit."""
    assignment = await harness.start("echo a; sleep 1; seq 1 50000", log_limit_bytes=100_000)
    started = await harness.started(assignment)
    await harness.has_written(assignment, b"a\n")
    await harness.runtime.close()
    await eventually_async(lambda: not harness.runs(assignment))
    await harness.reopen()
    await harness.adopt(assignment, started.handle)
    ended = await harness.ended(assignment)
    whole = b"a\n" + b"".join(b"%d\n" % number for number in range(1, 50_001))
    assert await harness.output(ended) == whole[:100_000]
    assert ended.stdout == StreamSize(100_000, len(whole) - 100_000)


async def test_progress_of_a_pull_stands_before_the_output(harness: ContainerHarness) -> None:
    """Its lines are part of the standard error, counted and kept like any others."""
    ended = await harness.run("true", image="localhost:1/none")
    text = await harness.output(ended, "stderr")
    assert text.startswith(b"[taskyard: pulling localhost:1/none:latest]\n")
    assert ended.stderr == StreamSize(len(text), 0)
