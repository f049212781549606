"""Working directories apart from attempts': used again when empty, by the same user only."""

import os
from pathlib import Path

import pytest

from taskyard.runtimes.command.workdirs import WorkDirectories


@pytest.fixture
def work(tmp_path: Path) -> WorkDirectories:
    """None yet."""
    return WorkDirectories(str(tmp_path))


def made(path: str) -> int:
    """What the supervisor does; the directory's inode, by which it is known again."""
    os.makedirs(path, 0o700, exist_ok=True)  # noqa: PTH103 - as it gets the path
    return os.stat(path).st_ino  # noqa: PTH116 - as above


def test_an_empty_one_serves_again(work: WorkDirectories, tmp_path: Path) -> None:
    """Under the name of the next attempt, and for one at a time."""
    first = made(work.prepare("a", None))
    work.clean("a")
    assert not (tmp_path / "a").exists()
    assert made(work.prepare("b", None)) == first
    assert made(work.prepare("c", None)) != first


def test_one_with_something_in_it_goes(work: WorkDirectories, tmp_path: Path) -> None:
    """With all of it, also what was closed."""
    made(work.prepare("a", None))
    (tmp_path / "a" / "closed").mkdir()
    (tmp_path / "a" / "closed" / "file").touch()
    (tmp_path / "a" / "closed").chmod(0)
    work.clean("a")
    assert list(tmp_path.iterdir()) == []
    assert not Path(work.prepare("b", None)).exists()


@pytest.mark.parametrize("mode", [0o777, 0o500, 0o2700])
def test_one_with_other_rights_goes(work: WorkDirectories, tmp_path: Path, mode: int) -> None:
    """The next attempt would not find what it expects."""
    made(work.prepare("a", None))
    (tmp_path / "a").chmod(mode)
    work.clean("a")
    assert list(tmp_path.iterdir()) == []


def test_another_user_gets_none(work: WorkDirectories) -> None:
    """Whoever kept it open would see what another user's attempt writes."""
    made(work.prepare("a", None))
    work.clean("a")
    assert not Path(work.prepare("b", os.geteuid() + 1)).exists()
    assert Path(work.prepare("c", os.geteuid())).exists()


def test_an_attempt_keeps_what_it_has(work: WorkDirectories, tmp_path: Path) -> None:
    """It is told again, after a restart, where it works."""
    made(work.prepare("a", None))
    work.clean("a")
    made(str(tmp_path / "b"))
    (tmp_path / "b" / "file").touch()
    assert work.prepare("b", None) == str(tmp_path / "b")
    assert (tmp_path / "b" / "file").exists()
    # And the spare one is still there for others.
    assert Path(work.prepare("c", None)).exists()


def test_cleaning_what_is_not_there_is_nothing(work: WorkDirectories) -> None:
    """An attempt may have failed before it had one."""
    work.clean("never")
