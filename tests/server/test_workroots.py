"""Working directories outside the data directory: whose they are, when they go."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard.server.workroots import RECORD, WorkRoot, open_work_root, remove_abandoned


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """In the place of ``/var/tmp``."""
    place = tmp_path / "outside"
    place.mkdir()
    return place


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that other users cannot reach."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    place = closed / "data"
    place.mkdir(mode=0o711)
    return place


def opened(data: Path, outside: Path) -> WorkRoot:
    """The root of a data directory that needs one."""
    root = open_work_root(data, outside)
    assert root is not None
    return root


def test_a_stop_leaves_nothing_behind(data: Path, outside: Path) -> None:
    """Neither the root nor the directories that waited to be used again."""
    root = opened(data, outside)
    (root.path / ".spare-1-1").mkdir()
    root.close()
    assert list(outside.iterdir()) == []


def test_what_still_runs_keeps_its_directory(data: Path, outside: Path) -> None:
    """Commands go on when their server stops; the next server finds them where they were."""
    (data / "attempts" / "a1").mkdir(parents=True)
    root = opened(data, outside)
    (root.path / "a1").mkdir()
    (root.path / "a0").mkdir()
    root.close()
    again = opened(data, outside)
    assert [path.name for path in again.path.iterdir() if path.name != RECORD] == ["a1"]
    again.close()


def test_a_root_goes_with_its_data_directory(data: Path, outside: Path) -> None:
    """The server was killed, its data directory deleted: the next server of any other cleans up."""
    root = opened(data, outside)
    (root.path / "a1").mkdir()
    (root.path / "a1" / "file").touch()
    os.close(root._record_fd)  # as the kernel does when it is killed
    assert remove_abandoned(outside) == []
    shutil.rmtree(data.parent)
    assert remove_abandoned(outside) == [root.path]
    assert list(outside.iterdir()) == []


def test_a_root_in_use_stays(data: Path, outside: Path) -> None:
    """A server that runs, or a command that outlived it, keeps the root."""
    root = opened(data, outside)
    work = root.path / "a1"
    work.mkdir()
    shutil.rmtree(data)
    assert remove_abandoned(outside) == []
    with subprocess.Popen(
        [sys.executable, "-c", "print('here', flush=True); input()"],
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"here\n"
        os.close(root._record_fd)
        assert remove_abandoned(outside) == []
        command.communicate(b"\n")
    assert remove_abandoned(outside) == [root.path]


def test_a_disk_that_is_away_is_not_a_deleted_directory(data: Path, outside: Path) -> None:
    """The path leads to another file system than the one that the root is named by."""
    root = opened(data, outside)
    root.close()
    away = outside / "taskyard-1-2"
    away.mkdir()
    (away / RECORD).write_text(str(data / "unmounted"))
    assert remove_abandoned(outside) == []


@pytest.mark.parametrize("record", ["", "relative/path", "\0"])
def test_what_does_not_say_whose_it_is_stays(outside: Path, record: str) -> None:
    """Directories of others, of older versions, or with damaged records."""
    facts = outside.stat()
    (outside / f"taskyard-{facts.st_dev:x}-1").mkdir()
    strange = outside / f"taskyard-{facts.st_dev:x}-2"
    strange.mkdir()
    (strange / RECORD).write_text(record)
    assert remove_abandoned(outside) == []
    assert strange.exists()


def test_a_link_is_not_followed(data: Path, outside: Path, tmp_path: Path) -> None:
    """Everybody may make names in ``/var/tmp``."""
    root = opened(data, outside)
    os.close(root._record_fd)
    moved = root.path.rename(tmp_path / "elsewhere")
    root.path.symlink_to(moved)
    shutil.rmtree(data)
    assert remove_abandoned(outside) == []
    assert moved.exists()
