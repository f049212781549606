"""The data directory is the server's own."""

import os
import stat
from pathlib import Path

import pytest

from taskyard.core.errors import InvalidInput
from taskyard.server.datadir import UMASK, protect_data
from taskyard.server.local_store import LocalStore
from taskyard.server.settings import Settings


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """Where anybody may write."""
    tmp_path.chmod(0o777)
    return tmp_path


def mode_of(path: Path) -> int:
    """Its rights."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("was", [0o755, 0o750, 0o775, 0o711, 0o700])
def test_an_open_directory_is_closed(tmp_path: Path, was: int) -> None:
    """Nobody else lists it or writes to it; who could pass through still can."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(was)
    protect_data(data)
    assert mode_of(data) == was & ~0o066


def test_a_new_directory_is_closed_whatever_the_umask(tmp_path: Path) -> None:
    """And so are those above it that are missing."""
    before = os.umask(0)
    try:
        protect_data(tmp_path / "above" / "data")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "above" / "data") == 0o711


@pytest.mark.parametrize("was", [0o777, 0o1777, 0o702])
def test_a_directory_that_anybody_may_write_to_is_refused(tmp_path: Path, was: int) -> None:
    """What is in it may be anybody's; ``/tmp`` stays what it is."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(was)
    with pytest.raises(InvalidInput, match=r"^data: anybody may write to .* chmod 711 "):
        protect_data(data)
    assert mode_of(data) == was


def test_files_that_older_versions_left_readable_are_closed(tmp_path: Path) -> None:
    """The server's own ones; a link is not followed, and what is not its own is left alone."""
    foreign = tmp_path / "foreign"
    data = tmp_path / "data"
    data.mkdir()
    own = [data / name for name in ("taskyard.sqlite3", "taskyard.sqlite3-wal", "secret.key")]
    for path in (foreign, *own, data / "notes.txt"):
        path.write_text("x")
        path.chmod(0o644)
    (data / "server.json").symlink_to(foreign)
    protect_data(data)
    assert [mode_of(path) for path in own] == [0o600] * 3
    assert mode_of(foreign) == mode_of(data / "notes.txt") == 0o644


@pytest.mark.anyio
async def test_what_is_made_offline_is_private(tmp_path: Path) -> None:
    """Whatever the umask of whoever runs the command, which has it back afterwards."""
    data = tmp_path / "data"
    before = os.umask(0)
    try:
        async with LocalStore(data, Settings.load(None, {"data": data}, {})):
            (data / "made").touch()
            assert [path for path in data.rglob("*") if mode_of(path) & UMASK] == []
        assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.anyio
async def test_an_open_directory_is_not_opened_offline(open_directory: Path) -> None:
    """The same rule for the command line on a directory without a server."""
    before = os.umask(0o022)
    try:
        with pytest.raises(InvalidInput, match="anybody may write"):
            async with LocalStore(
                open_directory, Settings.load(None, {"data": open_directory}, {})
            ):
                pass
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert not any(entry.name for entry in os.scandir(open_directory))


def test_a_directory_of_somebody_else_that_cannot_be_closed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As volumes of containers come; the sentence names a way out, and that works."""
    tmp_path.chmod(0o775)

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", refuse)
        with pytest.raises(InvalidInput, match=r"cannot be closed: .*; name a new directory, such"):
            protect_data(tmp_path)
    protect_data(tmp_path / "taskyard")
    assert mode_of(tmp_path / "taskyard") == 0o711
    assert mode_of(tmp_path) == 0o775
