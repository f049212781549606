"""The newest bytes of output that is longer than its files may be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.attempts import StreamSize
from taskyard.ports.logs import Stream
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.tail_file import TailFile
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.worker.output.archive import ArchiveReader
from taskyard.worker.output.attempt_log import AttemptOutput


def kept(directory: Path, name: str = "stdout") -> bytes:
    """What both files hold, in order."""
    paths = [directory / f"{name}.older", directory / f"{name}.newer"]
    return b"".join(one.read_bytes() for one in paths if one.exists())


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_the_last_bytes_are_kept(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int
) -> None:
    """At least half of what was asked for, or all there is; never more than was asked for."""
    directory = tmp_path_factory.mktemp("ending")
    ending = TailFile(directory, "stdout", limit)
    for piece in pieces:
        ending.take(piece)
    ending.close()
    whole, end = b"".join(pieces), kept(directory)
    assert whole.endswith(end)
    assert min(len(whole), max(1, limit // 2)) <= len(end) <= max(2, limit)


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    """Once, when output is offered again."""
    ending = TailFile(tmp_path, "stdout", 10)
    ending.take(b"0123456789")
    ending.close()
    ending.clear()
    ending.clear()
    assert kept(tmp_path) == b""


@pytest.mark.parametrize("merge", [True, False])
def test_output_keeps_its_beginning_and_its_end(tmp_path: Path, merge: bool) -> None:
    """What lies between is counted; sealed, it reads as one stream."""
    lines = [b"line %05d\n" % number for number in range(1000)]
    output = Output(tmp_path, 100, merge=merge, keep_last_bytes=60)
    output.begin()
    for line in lines:
        output.take(STDOUT, line)
    output.take(STDERR, b"last words\n")
    output.close()
    sizes = output.sizes()
    sealed = AttemptOutput(tmp_path, ArchiveReader())
    found = sealed.seal(
        {Stream.STDOUT: sizes["stdout"].dropped_bytes, Stream.STDERR: 0}, patient=True
    )
    data = sealed.read(Stream.STDOUT, 0, 10_000, patient=True)
    assert found[Stream.STDOUT].stored_bytes == len(data)
    begin, middle, end = data.split(b"\n[taskyard: output limit reached, ")[0], data, data[-30:]
    assert begin == b"".join(lines)[:100]
    dropped = found[Stream.STDOUT].dropped_bytes
    assert b"%d bytes dropped]\n" % dropped in middle
    everything = b"".join(lines) + (b"last words\n" if merge else b"")
    assert everything.endswith(end)
    shown = data.split(b"bytes dropped]\n")[1]
    assert 100 + dropped + len(shown) == len(everything)
    assert 30 <= len(shown) <= 60


def test_a_later_process_builds_the_end_again(tmp_path: Path) -> None:
    """From the log, which brings everything again."""
    whole = b"".join(b"%04d\n" % number for number in range(100))
    first = Output(tmp_path, 20, keep_last_bytes=40)
    first.begin()
    first.take(STDOUT, whole[:300])
    first.close()
    second = Output(tmp_path, 20, keep_last_bytes=40)
    second.resume(0)
    second.rewind()
    second.take(STDOUT, whole)
    second.close()
    assert second.sizes()["stdout"] == StreamSize(20, 480)
    assert whole.endswith(kept(tmp_path))
    assert len(kept(tmp_path)) >= 20


def test_without_it_nothing_but_the_beginning_is_kept(tmp_path: Path) -> None:
    """As for all other work."""
    output = Output(tmp_path, 4)
    output.begin()
    output.take(STDOUT, b"0123456789")
    output.close()
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["meta.json", "order", "stderr", "stdout"]
