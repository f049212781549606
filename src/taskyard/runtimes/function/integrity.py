"""Whether a build is on disk as it was made: it is synced when it ends, and looked at before use.

After a power cut, what was not synced may be missing, empty or shorter, though it was written
before a file that is there. What is longer than it was is not damage of this kind.
"""

import ctypes
import os
import stat
from pathlib import Path
from typing import Final

from taskyard.runtimes.function.manifest import MANIFEST, Manifest, read_manifest

_libc = ctypes.CDLL(None, use_errno=True)
_FILES: Final = 200_000
_LINK: Final = -1
"""In place of the size of a link, which is only there or not."""


class BuildDamaged(OSError):
    """A file of a build, or a program that it needs, is missing, or shorter than it was."""


def sizes_below(place: Path) -> dict[str, int]:
    """The files and links below a directory, and their sizes; the manifest aside.

    Of very many, and of names that are not UTF-8, some are left out. Raises ``OSError``.
    """
    sizes: dict[str, int] = {}
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        with os.scandir(f"{place}/{prefix}") as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    prefixes.append(f"{path}/")
                elif path != MANIFEST and path.isprintable() and len(sizes) < _FILES:
                    facts = entry.stat(follow_symlinks=False)
                    sizes[path] = _LINK if stat.S_ISLNK(facts.st_mode) else facts.st_size
    return sizes


def intact_manifest(place: Path) -> Manifest:
    """The manifest of a build that is on disk as it was made.

    Raises ``OSError`` if there is none, or :class:`BuildDamaged`; ``msgspec.DecodeError``.
    """
    manifest = read_manifest(place)
    check_build(place, manifest)
    return manifest


def check_build(place: Path, manifest: Manifest) -> None:
    """Look at every file that the manifest lists, and at its program. Raises :class:`BuildDamaged`.

    Builds of earlier releases list none.
    """
    for path, size in manifest.files.items():
        try:
            facts = os.lstat(f"{place}/{path}")
        except OSError as error:
            raise BuildDamaged(f"{path} is missing") from error
        is_sound = stat.S_ISLNK(facts.st_mode) if size == _LINK else facts.st_size >= size
        if not is_sound:
            raise BuildDamaged(f"{path} is damaged")
    for path in manifest.program:
        # Ours, or an interpreter's: another release, or a moved installation, has it elsewhere.
        if path.startswith("/") and not os.path.lexists(path):
            raise BuildDamaged(f"{path}, which it was built for, is not there any more")


def sync_below(place: Path) -> None:
    """Have everything below a directory on disk. Raises ``OSError``.

    The whole file system is synced, which takes a hundredth of syncing thousands of files one by
    one; that is left for libraries that cannot.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if hasattr(_libc, "syncfs"):
            if _libc.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return
    finally:
        os.close(descriptor)
    for directory, _, names in os.walk(place):
        for name in names:
            path = f"{directory}/{name}"
            if stat.S_ISREG(os.lstat(path).st_mode):
                sync(path)
        sync(directory)


def sync(path: Path | str) -> None:
    """Have one file, or the names in one directory, on disk. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
