"""Compressed output."""

import gzip
import os
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.errors import StoreDamaged
from taskyard.worker.output import archive
from taskyard.worker.output.archive import (
    MEMBER_BYTES,
    ArchiveIndex,
    ArchiveReader,
    Halted,
    archive_path,
    index_path,
    read_index,
    write_archive,
)


class Crash(BaseException):
    """The process dies here."""


def plain(directory: Path, content: bytes) -> Callable[[int, int], bytes]:
    """Write the plain file, and return what reads it."""
    path = directory / "stdout"
    path.write_bytes(content)
    return lambda offset, length: path.read_bytes()[offset : offset + length]


def test_archive_is_what_zcat_reads(tmp_path: Path) -> None:
    """The members together are an ordinary gzip file, and the plain file is gone."""
    content = os.urandom(1000) * 2500
    assert len(content) > 2 * MEMBER_BYTES
    write_archive(tmp_path, "stdout", plain(tmp_path, content), len(content), 0)
    assert gzip.decompress(archive_path(tmp_path, "stdout").read_bytes()) == content
    zcat = subprocess.run(
        ["zcat", archive_path(tmp_path, "stdout")], check=True, capture_output=True, timeout=30
    )
    assert zcat.stdout == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stdout.gz", "stdout.gz.json"]


@given(
    content=st.binary(max_size=300),
    parts=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 320)), max_size=10),
)
def test_any_part_reads_as_from_the_plain_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, parts: list[tuple[int, int]]
) -> None:
    """Random access gives what slicing the plain bytes gives."""
    directory = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "MEMBER_BYTES", 64)
        write_archive(directory, "stdout", plain(directory, content), len(content), 0)
    index = read_index(directory, "stdout")
    assert index is not None
    reader = ArchiveReader()
    for offset, length in parts:
        part = reader.read(directory, "stdout", index, offset, length)
        assert part == content[offset : offset + length]


def planted(directory: Path, packed: bytes, **changes: Any) -> ArchiveIndex | None:
    """What is read of an archive that the work itself has put there."""
    for path in directory.iterdir():
        path.unlink()
    archive_path(directory, "stdout").write_bytes(packed)
    members = {"size_bytes": 3, "dropped_bytes": 0, "member_bytes": 3, "ends": [len(packed)]}
    index = msgspec.json.encode({**members, **changes})
    index_path(directory, "stdout").write_bytes(index)
    return read_index(directory, "stdout")


def test_no_member_unpacks_to_more_than_its_size(tmp_path: Path) -> None:
    """Whatever the index says; damage is told as such."""
    index = planted(tmp_path, gzip.compress(b"abc"))
    assert index is not None
    assert ArchiveReader().read(tmp_path, "stdout", index, 0, 3) == b"abc"
    for packed in (gzip.compress(bytes(64 << 20)), gzip.compress(b"abc")[:-4], b"nonsense"):
        index = planted(tmp_path, packed)
        assert index is not None
        tracemalloc.start()
        with pytest.raises(StoreDamaged, match=r"stdout\.gz is damaged"):
            ArchiveReader().read(tmp_path, "stdout", index, 0, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_an_index_that_cannot_be_is_none(tmp_path: Path) -> None:
    """Members that are too large, too many, in the wrong order, or not those of the file."""
    packed = gzip.compress(b"abc")
    size = len(packed)
    changes: list[dict[str, Any]] = [
        {"member_bytes": 1 << 40, "size_bytes": 1 << 40},
        {"member_bytes": 0},
        {"member_bytes": -1},
        {"size_bytes": 7},
        {"size_bytes": -3},
        {"size_bytes": 9, "ends": [size + 5, 5, size]},
        {"ends": [size + 1]},
        {"ends": []},
    ]
    for change in changes:
        assert planted(tmp_path, packed, **change) is None, change


def test_links_and_pipes_in_place_of_an_archive_are_none(tmp_path: Path) -> None:
    """Nothing outside is read or written, and nobody waits."""
    outside = tmp_path / "outside"
    outside.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    assert planted(outside, gzip.compress(b"abc")) is not None
    for name in ("stdout.gz", "stdout.gz.json"):
        (work / name).symlink_to(outside / name)
    assert read_index(work, "stdout") is None
    for path in work.iterdir():
        path.unlink()
        os.mkfifo(path)
    assert read_index(work, "stdout") is None
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("stdout.gz", "stdout.gz.json"):
        (work / name).unlink()
        (work / f"{name}.new").symlink_to(victim)
    write_archive(work, "stdout", plain(work, b"abc"), 3, 0)
    assert victim.read_bytes() == b"precious"
    assert gzip.decompress((work / "stdout.gz").read_bytes()) == b"abc"


def test_reader_keeps_few_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is read, memory stays bounded."""
    monkeypatch.setattr(archive, "MEMBER_BYTES", 10)
    content = bytes(range(250))
    write_archive(tmp_path, "stdout", plain(tmp_path, content), len(content), 0)
    index = read_index(tmp_path, "stdout")
    assert index is not None
    reader = ArchiveReader()
    assert reader.read(tmp_path, "stdout", index, 0, 250) == content
    assert len(reader._members) == 8


def test_crash_at_any_step_loses_nothing(tmp_path: Path) -> None:
    """Whatever step is the last, all bytes are there, and doing it again completes it."""
    content = b"".join(b"line %d\n" % n for n in range(1000))
    crashes = 0
    while True:
        directory = tmp_path / str(crashes)
        directory.mkdir()
        read = plain(directory, content)
        with pytest.MonkeyPatch.context() as patch:
            _crash_before_call(patch, crashes)
            patch.setattr(archive, "MEMBER_BYTES", 2048)
            try:
                write_archive(directory, "stdout", read, len(content), 7)
            except Crash:
                crashed = True
            else:
                crashed = False
        if (directory / "stdout").exists():
            assert (directory / "stdout").read_bytes() == content
            write_archive(directory, "stdout", read, len(content), 7)
        index = read_index(directory, "stdout")
        assert index is not None
        assert (index.size_bytes, index.dropped_bytes) == (len(content), 7)
        assert ArchiveReader().read(directory, "stdout", index, 0, 10**6) == content
        names = sorted(path.name for path in directory.iterdir())
        assert names == ["stdout.gz", "stdout.gz.json"]
        if not crashed:
            break
        crashes += 1
    assert crashes >= 9


def _crash_before_call(patch: pytest.MonkeyPatch, number: int) -> None:
    left = number

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return call(*arguments, **options)

        return run

    patch.setattr(os, "fsync", guarded(os.fsync))
    for name in ("open", "replace", "unlink"):
        patch.setattr(Path, name, guarded(getattr(Path, name)))


def test_failure_leaves_the_plain_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs nothing but the attempt to compress."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    read = plain(tmp_path, b"x" * 100)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_archive(tmp_path, "stdout", read, 100, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"]


def test_halting_leaves_the_plain_file_alone(tmp_path: Path) -> None:
    """A stop takes effect between members."""
    read = plain(tmp_path, b"x" * 100)
    with pytest.raises(Halted):
        write_archive(tmp_path, "stdout", read, 100, 0, halted=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"]


def test_leftover_of_another_length_is_replaced(tmp_path: Path) -> None:
    """An archive that does not match the plain file is no archive of it."""
    write_archive(tmp_path, "stdout", plain(tmp_path, b"old"), 3, 0)
    write_archive(tmp_path, "stdout", plain(tmp_path, b"newer"), 5, 0)
    assert gzip.decompress(archive_path(tmp_path, "stdout").read_bytes()) == b"newer"


def test_index_without_its_archive_counts_for_nothing(tmp_path: Path) -> None:
    """What a crash leaves between the two renames is not mistaken for an archive."""
    write_archive(tmp_path, "stdout", plain(tmp_path, b"content"), 7, 0)
    archive_path(tmp_path, "stdout").write_bytes(b"")
    assert read_index(tmp_path, "stdout") is None
    archive_path(tmp_path, "stdout").unlink()
    assert read_index(tmp_path, "stdout") is None
