"""Keeps the data directory, and what is made in it, to the server's own user.

Other users may pass through it, because a command of a workspace's user has its directory below;
they may not list it, read its files or write to it.
"""

import os
import stat
from pathlib import Path
from typing import Final

import structlog

from taskyard.core.errors import InvalidInput

UMASK: Final = 0o066
"""Nothing is readable or writable by others unless that is said where it is made. Passing through
a directory stays possible where that is its purpose: some are made with 0711."""
_OPEN: Final = 0o066
_OWN: Final = ("taskyard.sqlite3*", "secret.key", ".secret.key.*", "server.json", "lock")
"""Files of the directory itself; older versions made some of them readable."""

log = structlog.get_logger(__name__)


def protect_data(data: Path) -> None:
    """Make the data directory if it is missing, and close it to others if it is open to them.

    Raises:
        InvalidInput: anybody may write to it, so that its files may be anybody's, or it belongs
            to another user and cannot be closed.
        OSError: it cannot be made or looked at.
    """
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    facts = data.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if mode & stat.S_IWOTH:
        raise InvalidInput(
            "data",
            f"anybody may write to {data} (mode {mode:04o}); name a new directory, such as "
            f"{data / 'taskyard'}, or check what is in it and close it with: chmod 711 {data}",
        )
    if mode & _OPEN:
        try:
            data.chmod(mode & ~_OPEN)
        except OSError as error:
            raise InvalidInput(
                "data",
                f"{data} is open to other users (mode {mode:04o}) and cannot be closed: "
                f"{error.strerror}; name a new directory, such as {data / 'taskyard'}, or have its "
                f"owner run: chmod 711 {data}",
            ) from error
        log.warning(
            "data_directory_closed", path=str(data), was=f"{mode:04o}", now=f"{mode & ~_OPEN:04o}"
        )
    if facts.st_uid not in {0, os.geteuid()}:
        log.warning("data_directory_of_another_user", path=str(data), uid=facts.st_uid)
    for pattern in _OWN:
        for path in data.glob(pattern):
            _close(path)


def _close(path: Path) -> None:
    """Take a file's rights from others. One that is not ours to change is left as it is."""
    try:
        facts = path.lstat()
        mode = stat.S_IMODE(facts.st_mode)
        if stat.S_ISREG(facts.st_mode) and mode & 0o077:
            path.chmod(mode & 0o700)
            log.warning("file_closed", path=str(path), was=f"{mode:04o}")
    except OSError as error:
        log.warning("file_not_closed", path=str(path), reason=str(error))
