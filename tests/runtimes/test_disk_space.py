"""On a disk that is nearly full output is cut where it is, and says so."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.core.attempts import StreamSize
from taskyard.ports.logs import Stream
from taskyard.runtimes.container.output import Output as ContainerOutput
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.runtimes.function.images.captured_output import CapturedOutput
from taskyard.runtimes.output import disk_space, meta
from taskyard.runtimes.output.attempt_files import OutputFiles
from taskyard.worker.output.archive import ArchiveReader
from taskyard.worker.output.attempt_log import AttemptOutput

KIB = 1 << 10
LARGE = 1 << 30


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is hardly any room."""
    monkeypatch.setattr(disk_space, "room", lambda _directory: 0.5)


def known(directory: Path) -> int:
    """The limit that readers know."""
    return int(json.loads((directory / "meta.json").read_text())["log_limit_bytes"])


@pytest.fixture
def null() -> Iterator[int]:
    """An open null device."""
    with open(os.devnull, "r+b", buffering=0) as file:  # noqa: PTH123 - as the supervisor does
        yield file.fileno()


def test_commands_keep_what_they_have_said(tmp_path: Path, full: None, null: int) -> None:
    """And a little more; the rest is dropped, counted and marked."""
    del full
    meta.write_meta(str(tmp_path), LARGE)
    reader = AttemptOutput(tmp_path, ArchiveReader())
    assert reader.limit() == LARGE
    files = OutputFiles(str(tmp_path), LARGE, null)
    files.write(0, b"x" * 200 * KIB)
    files.write(1, b"e")
    assert files.look()
    cut = 200 * KIB + disk_space.SLACK_BYTES
    assert (known(tmp_path), reader.limit()) == (cut, cut)
    files.write(0, b"x" * 100 * KIB)
    assert files.look()
    assert known(tmp_path) == cut
    files.close()
    sizes = files.sizes()
    dropped = 300 * KIB - cut
    assert sizes["stdout"] == {"stored_bytes": cut, "dropped_bytes": dropped}
    assert sizes["stderr"] == {"stored_bytes": 1, "dropped_bytes": 0}
    assert reader.size(Stream.STDOUT) == StreamSize(cut, dropped)
    sealed = reader.seal({Stream.STDOUT: dropped, Stream.STDERR: 0}, patient=True)
    assert sealed[Stream.STDERR] == StreamSize(1)
    end = reader.read(Stream.STDOUT, cut, KIB, patient=True)
    assert end == b"\n[taskyard: output limit reached, %d bytes dropped]\n" % dropped


def test_little_output_is_not_cut(tmp_path: Path, full: None, null: int) -> None:
    """Nor is a limit raised that is lower than all this."""
    del full
    for limit, cut in ((LARGE, 100 + disk_space.SLACK_BYTES), (50, 50)):
        meta.write_meta(str(tmp_path), limit)
        files = OutputFiles(str(tmp_path), limit, null)
        files.write(0, b"x" * 100)
        files.look()
        files.close()
        assert known(tmp_path) == cut


def test_much_output_meets_the_floor_at_once(tmp_path: Path, full: None, null: int) -> None:
    """The disk is looked at after every megabyte, and not only now and then."""
    del full
    meta.write_meta(str(tmp_path), LARGE)
    files = OutputFiles(str(tmp_path), LARGE, null)
    for _ in range(8):
        files.write(0, b"x" * 512 * KIB)
    files.close()
    assert (tmp_path / "stdout").stat().st_size == known(tmp_path) < 2048 * KIB


def test_an_adopted_command_keeps_the_lower_limit(tmp_path: Path) -> None:
    """Readers know it, and may have been told what is beyond; the same for what was dropped."""
    assert meta.read_meta(str(tmp_path), 7) == (7, (0, 0))
    meta.write_meta(str(tmp_path), LARGE)
    meta.write_meta(str(tmp_path), 12, (3, 0))
    assert meta.read_meta(str(tmp_path), LARGE) == (12, (3, 0))
    (tmp_path / "meta.json").write_text("{")
    assert meta.read_meta(str(tmp_path), 7) == (7, (0, 0))


@pytest.mark.parametrize("merge", [True, False])
def test_containers_keep_what_they_have_said(tmp_path: Path, full: None, merge: bool) -> None:
    """The same; after a restart, too."""
    del full
    output = ContainerOutput(tmp_path, LARGE, merge=merge)
    output.begin()
    output.take(STDERR, b"e" * KIB)
    for _ in range(20):
        output.take(STDOUT, b"x" * 16 * KIB)
    limit = known(tmp_path)
    assert disk_space.SLACK_BYTES <= limit < 200 * KIB
    sizes = output.sizes()
    total = 320 * KIB + (KIB if merge else 0)
    assert sizes["stdout"] == StreamSize(limit, total - limit)
    assert (tmp_path / "stdout").stat().st_size == limit
    again = ContainerOutput(tmp_path, LARGE)
    again.resume(0)
    again.take(STDOUT, b"x" * 400 * KIB)
    assert (tmp_path / "stdout").stat().st_size == limit


def test_functions_that_are_images_keep_what_they_have_said(tmp_path: Path, full: None) -> None:
    """The same, while their call is followed."""
    del full
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    output = CapturedOutput(tmp_path)
    output.open()
    output.begin(LARGE)
    asyncio.run(_take(output, b"x" * 100 * KIB))
    output.look(attempt)
    limit = 100 * KIB + disk_space.SLACK_BYTES
    assert known(attempt) == limit
    asyncio.run(_take(output, b"x" * 200 * KIB))
    output.look(attempt)
    output.close()
    assert known(attempt) == limit
    facts = (tmp_path / "stdout").stat()
    assert facts.st_size == 300 * KIB
    assert facts.st_blocks * 512 <= limit + 4 * KIB


async def _take(output: CapturedOutput, data: bytes) -> None:
    output.take(STDOUT, data)
