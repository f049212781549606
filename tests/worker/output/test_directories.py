"""Attempt directories are used again, unless there is any doubt."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskyard.core.ids import AttemptId
from taskyard.worker.output.directories import AttemptDirectories

pytestmark = pytest.mark.anyio

A, B, C = AttemptId("a"), AttemptId("b"), AttemptId("c")


class Time:
    """Monotonic time that a test sets."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.s


def used(directory: Path) -> None:
    """Leave what an attempt leaves."""
    for name in ("stdout", "stderr", "meta.json", "attempt.jsonl"):
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(name)
    (directory / "work").mkdir(mode=0o700)


async def test_directory_serves_again_empty(tmp_path: Path) -> None:
    """After its quarantine a directory comes back under another name with nothing in its files."""
    time = Time()
    directories = AttemptDirectories(tmp_path / "attempts", monotonic=time)
    await directories.open()
    await directories.make({A: None})
    used(directories.path(A))
    inode = directories.path(A).stat().st_ino
    assert directories.recycle(directories.path(A))
    assert not directories.path(A).exists()
    await directories.make({B: None})
    assert directories.path(B).stat().st_ino != inode
    time.s += 10
    await directories.make({A: None})
    again = directories.path(A)
    assert again.stat().st_ino == inode
    assert (again / "stdout").read_bytes() == b""
    assert (again / "attempt.jsonl").read_bytes() == b""


async def test_spare_directories_survive_a_restart(tmp_path: Path) -> None:
    """Another process finds what an earlier one put aside."""
    first = AttemptDirectories(tmp_path)
    await first.open()
    await first.make({A: None})
    used(first.path(A))
    inode = first.path(A).stat().st_ino
    assert first.recycle(first.path(A))
    time = Time()
    second = AttemptDirectories(tmp_path, monotonic=time)
    await second.open()
    time.s += 10
    await second.make({B: None})
    assert second.path(B).stat().st_ino == inode


async def test_existing_directory_is_left_as_it_is(tmp_path: Path) -> None:
    """Making the directory of an attempt that has one changes nothing."""
    time = Time()
    directories = AttemptDirectories(tmp_path, monotonic=time)
    await directories.open()
    await directories.make({A: None, B: None})
    used(directories.path(A))
    assert directories.recycle(directories.path(B))
    time.s += 10
    await directories.make({A: None})
    assert (directories.path(A) / "stdout").read_text() == "stdout"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "more").touch(),
        lambda path: (path / "work" / "file").touch(),
        lambda path: (path / "work").chmod(0o755),
        lambda path: (path / "stdout").chmod(0o644),
        lambda path: (path / "stderr").hardlink_to(path / "stdout"),
        lambda path: (path / "stderr").symlink_to("/etc/passwd"),
    ],
)
async def test_anything_unusual_is_not_used_again(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Only what looks exactly as a tidy attempt leaves it is recycled; the rest is untouched."""
    directories = AttemptDirectories(tmp_path)
    await directories.open()
    await directories.make({A: None})
    path = directories.path(A)
    used(path)
    (path / "stderr").unlink()
    spoil(path)
    assert not directories.recycle(path)
    assert (path / "stdout").read_text() == "stdout"


@pytest.mark.root
async def test_a_directory_serves_attempts_of_the_same_user_only(tmp_path: Path) -> None:
    """Also after a restart; a file kept open would show what another user's attempt writes."""
    if os.geteuid() != 0:
        pytest.skip("needs root rights")
    first = AttemptDirectories(tmp_path)
    await first.open()
    await first.make({A: 4711})
    used(first.path(A))
    for name in ("stdout", "stderr", "work"):
        os.chown(first.path(A) / name, 4711, 4711)
    inode = first.path(A).stat().st_ino
    assert first.recycle(first.path(A))
    time = Time()
    second = AttemptDirectories(tmp_path, monotonic=time)
    await second.open()
    time.s += 10
    await second.make({A: None})
    assert second.path(A).stat().st_ino != inode
    await second.make({C: 4712})
    assert second.path(C).stat().st_ino != inode
    await second.make({B: 4711})
    assert second.path(B).stat().st_ino == inode


async def test_a_directory_in_which_nothing_is_the_works_serves_everybody(tmp_path: Path) -> None:
    """Its files are this process's own: no work ever had one open."""
    time = Time()
    directories = AttemptDirectories(tmp_path, monotonic=time)
    await directories.open()
    await directories.make({A: 4711})
    for name in ("stdout", "order"):
        (directories.path(A) / name).write_text("x")
        (directories.path(A) / name).chmod(0o600)
    inode = directories.path(A).stat().st_ino
    assert directories.recycle(directories.path(A))
    time.s += 10
    await directories.make({B: 4712})
    assert directories.path(B).stat().st_ino == inode
    assert (directories.path(B) / "stdout").stat().st_size == 0
    assert (directories.path(B) / "order").stat().st_size == 0
