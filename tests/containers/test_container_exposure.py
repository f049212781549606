"""What of the machine containers never see, whatever volumes are allowed. Needs no engine."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.core.states import Reason
from taskyard.core.tasks import Device, Volume
from taskyard.runtimes.container.exposure import Mount, exposed, mounts
from taskyard.runtimes.container.volumes import binds, real_devices
from taskyard.runtimes.engine.errors import CannotRun


def asked(path: Path | str, protected: Path) -> None:
    """Ask for a volume where everything is allowed."""
    binds([Volume(str(path), "/v")], ["/"], [str(protected)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with something in it, and places beside it."""
    data = tmp_path / "srv" / "data"
    (data / "attempts").mkdir(parents=True)
    (tmp_path / "srv" / "shared").mkdir()
    return data


def test_what_is_protected_is_not_shown(data: Path) -> None:
    """Neither itself nor what is in it or around it, nor by a link; its neighbours are."""
    asked(data.parent / "shared", data)
    (data.parent / "shared" / "link").symlink_to(data)
    (data.parent / "alias").symlink_to(data.parent)
    for path in (
        *(data, data / "attempts", data.parent, "/", data.parent / "shared" / ".." / "data"),
        *(data.parent / "shared" / "link", data.parent / "alias", data.parent / "alias" / "data"),
    ):
        with pytest.raises(CannotRun, match="never see"):
            asked(path, data)


@pytest.mark.parametrize("path", ["/proc", "/proc/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts"])
def test_the_kernel_is_not_shown(path: str, data: Path) -> None:
    """None of the directories through which it is spoken to."""
    with pytest.raises(CannotRun, match="never see"):
        asked(path, data)


def test_a_protected_directory_is_not_shown_by_links_of_the_operator(data: Path) -> None:
    """The setting may name it by a link."""
    (data.parent / "named").symlink_to(data)
    with pytest.raises(CannotRun, match="never see"):
        asked(data, data.parent / "named")


def test_loops_are_told_as_such(data: Path) -> None:
    """What leads in circles cannot be used."""
    loop = data.parent / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CannotRun, match="symbolic links"):
        asked(loop, data)


def test_links_that_cannot_be_followed_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the kernel's are closed even to root."""

    def closed(path: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os.path, "realpath", closed)
    with pytest.raises(CannotRun, match="Permission denied") as refused:
        real_devices([Device("/proc/1/root", "/dev/x")], [])
    assert refused.value.reason is Reason.START_FAILED


def test_bind_mounts_are_known_by_what_they_show() -> None:
    """At the path, around it, and further down, by device and place in the file system."""
    root = Mount("8:1", "/", "/", "ext4")
    other = Mount("8:2", "/", "/home", "ext4")
    data = "/opt9/data"
    for point, seen in (("/srv", "/opt9"), ("/srv", "/opt9/data"), ("/srv", "/opt9/data/deep")):
        table = [root, other, Mount("8:1", seen, point, "ext4")]
        for path in (point, f"{point}/"[:-1]):
            assert exposed(path, [data], table) == data
    below = Mount("8:1", "/opt9", "/srv/a/b", "ext4")
    assert exposed("/srv/a", [data], [root, below]) == data
    assert exposed("/srv/a/b/data", [data], [root, below]) == data
    assert exposed("/srv/c", [data], [root, below]) is None
    assert exposed("/home/opt9", [data], [root, other]) is None
    kernel = Mount("0:5", "/", "/srv/jail/proc", "proc")
    assert exposed("/srv", [data], [root, kernel]) == "/srv/jail/proc"


def test_a_volume_on_a_moved_file_system_is_shown() -> None:
    """The last mount at a place is the one that is seen there."""
    covered = [
        Mount("8:1", "/", "/", "ext4"),
        Mount("8:1", "/opt9/data", "/srv", "ext4"),
        Mount("8:3", "/", "/srv", "ext4"),
    ]
    assert exposed("/srv/x", ["/opt9/data"], covered) is None


def test_mounts_are_read() -> None:
    """The kernel's own table."""
    assert any(mount.point == "/proc" and mount.kind == "proc" for mount in mounts())


@pytest.fixture
def bound(data: Path) -> Iterator[Path]:
    """The data directory once more, at another place."""
    if os.geteuid() != 0:
        pytest.skip("mounts are made with root rights")
    point = data.parent / "shared" / "point"
    point.mkdir()
    subprocess.run(["mount", "--bind", data, point], check=True)
    yield point
    subprocess.run(["umount", point], check=True)


def test_a_real_bind_mount_is_found(data: Path, bound: Path) -> None:
    """By itself, from inside and from above."""
    for path in (bound, bound / "attempts", bound.parent):
        with pytest.raises(CannotRun, match="never see"):
            asked(path, data)


def test_devices_are_what_links_lead_to(tmp_path: Path) -> None:
    """A link with an allowed name to another device is refused."""
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    (found,) = real_devices([Device(str(link), "/dev/x", "r")], ["/dev/null"])
    assert (found.host, found.container, found.permissions) == ("/dev/null", "/dev/x", "r")
    with pytest.raises(CannotRun, match="container_devices"):
        real_devices([Device(str(link), "/dev/x")], ["/dev/zero"])
    with pytest.raises(CannotRun, match="does not exist"):
        real_devices([Device("/dev/none", "/dev/x")], ["/dev/none"])
