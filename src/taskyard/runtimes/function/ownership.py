"""To whom builds belong: to their workspace's user while they are made, to root afterwards.

Nothing here follows a symbolic link: whoever owns a tree may put one anywhere in it, at any time.
"""

import os
import stat
from pathlib import Path
from typing import Final

from taskyard.core.access.work_identity import Identity
from taskyard.ports.functions import BuildFailed

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH_MAX: Final = 100
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def ids(identity: Identity) -> tuple[int, int]:
    """User and group. Raises ``ValueError`` for the server's own."""
    if identity.uid is None or identity.gid is None:
        raise ValueError("not another user")
    return identity.uid, identity.gid


def hand_over(tree: Path, identity: Identity) -> None:
    """Give a tree that was made by this process, and is closed to others, to a user.

    Raises ``OSError``.
    """
    uid, gid = ids(identity)
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            os.chown(f"{folder}/{name}", uid, gid, follow_symlinks=False)
    os.chown(tree, uid, gid)


def take_back(tree: Path, owner: int, identity: Identity) -> None:
    """Make a tree root's: the user may read and execute what is in it, others may nothing.

    From the top down: once a directory is root's, nobody else makes or renames anything in it.

    Args:
        tree: the top, in a directory of root's.
        owner: whom everything in it has to belong to.
        identity: whose group may read it.

    Raises ``BuildFailed`` for files that are not the owner's, or neither files nor directories nor
    links, and for directories too deep inside each other; ``OSError``.
    """
    top = os.open(tree, _DIRECTORY)
    try:
        _take_directory(top, owner, ids(identity)[1], ".")
    finally:
        os.close(top)


def refuse_odd_files(tree: Path) -> None:
    """Raise ``BuildFailed`` if there is anything but files, directories and links; ``OSError``."""
    folders = [str(tree)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                    shown = os.path.relpath(entry.path, tree)
                    raise BuildFailed(
                        f"the build made ./{shown}, which is neither a file nor a directory"
                    )


def is_taken_back(tree: Path, identity: Identity) -> bool:
    """Whether a tree is root's, and readable by this user. Raises ``OSError``."""
    facts = tree.stat()
    return (facts.st_uid, facts.st_gid) == (0, identity.gid)


def make_private(path: Path, identity: Identity) -> None:
    """Make a directory for a user, closed to others; its name is new. Raises ``OSError``."""
    path.mkdir(mode=0o700)
    os.chown(path, *ids(identity))


def _take_directory(descriptor: int, owner: int, group: int, shown: str) -> None:
    if shown.count("/") > _DEPTH_MAX:
        # Each takes a descriptor of ours.
        raise BuildFailed(f"the build made directories more than {_DEPTH_MAX} deep")
    _check_owner(os.fstat(descriptor), owner, shown)
    os.fchown(descriptor, 0, group)
    os.fchmod(descriptor, 0o750)
    with os.scandir(descriptor) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        below = f"{shown}/{name}"
        facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            continue
        if not (stat.S_ISDIR(facts.st_mode) or stat.S_ISREG(facts.st_mode)):
            raise BuildFailed(f"the build made {below}, which is neither a file nor a directory")
        is_directory = stat.S_ISDIR(facts.st_mode)
        inner = os.open(name, _DIRECTORY if is_directory else _FILE, dir_fd=descriptor)
        try:
            if is_directory:
                _take_directory(inner, owner, group, below)
            else:
                _take_file(inner, owner, group, below)
        finally:
            os.close(inner)


def _take_file(descriptor: int, owner: int, group: int, shown: str) -> None:
    facts = os.fstat(descriptor)
    _check_owner(facts, owner, shown)
    os.fchown(descriptor, 0, group)
    os.fchmod(descriptor, 0o750 if facts.st_mode & 0o111 else 0o640)


def _check_owner(facts: os.stat_result, owner: int, shown: str) -> None:
    if facts.st_uid != owner:
        raise BuildFailed(f"the build has {shown}, which belongs to another user")
