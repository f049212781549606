"""What servers that tests kill leave on the machine, and its removal.

A killed server cannot tidy up: its supervisor may go on with what runs, and cgroups and working
directories outside the data directory stay, until the machine is slow. Their names come from the
data directory, so each session of tests finds its own and nobody else's.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventually import eventually

_DEPTH_MAX: int = 7
"""How far below a directory of tests a data directory with its parts may be."""


@contextmanager
def short_directory(prefix: str = "ty") -> Iterator[Path]:
    """A directory for a server whose path leaves room for sockets, which get 107 bytes.

    At the end it is removed, with all that servers in it left elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        place = Path(name)
        try:
            yield place
        finally:
            remove_leftovers(place)


def remove_leftovers(place: Path) -> list[Path]:
    """Kill what runs for data directories below this one, and remove what they have elsewhere.

    Call it while the directory is still there: names are made of inodes. Answers what it removed.
    """
    _kill_below(place)
    names = {name for directory in _directories(place) for name in _names(directory)}
    found = [path for path in _cgroups() if path.name in names]
    for path in found:
        _remove_cgroup(path)
    outside = [path for path in Path("/var/tmp").glob("taskyard-*") if path.name in names]  # noqa: S108 - looked at only
    for path in outside:
        shutil.rmtree(path, ignore_errors=True)
    return [*found, *outside]


def _names(directory: Path) -> Iterator[str]:
    """Names of cgroups and working directories of a server or supervisor in this directory."""
    facts = directory.stat()
    yield f"taskyard-{facts.st_dev:x}-{facts.st_ino:x}"
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    yield f"taskyard-functions-{digest}"
    yield f"taskyard-builds-{digest}"


def _directories(place: Path, depth: int = 0) -> Iterator[Path]:
    yield place
    if depth < _DEPTH_MAX:
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _directories(Path(entry.path), depth + 1)


def _cgroups() -> Iterator[Path]:
    """Cgroups of any server, in each hierarchy."""
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        mount, kind = line.split()[1:3]
        if kind in {"cgroup", "cgroup2"}:
            for path, inner, _ in os.walk(mount):
                ours = [name for name in inner if name.startswith("taskyard-")]
                inner[:] = [name for name in inner if name not in ours]
                yield from (Path(path, name) for name in ours)


def _remove_cgroup(top: Path) -> None:
    with contextlib.suppress(OSError):
        (top / "cgroup.kill").write_text("1")

    def remove() -> bool:
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        return not top.exists()

    eventually(remove, of=lambda: [*top.rglob("cgroup.procs")])


def _kill_below(place: Path) -> None:
    """Processes that work in this directory: supervisors, servers, commands."""
    inside = f"{place}/"
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and str((process / "cwd").readlink()).startswith(inside):
                os.kill(pid, signal.SIGKILL)
