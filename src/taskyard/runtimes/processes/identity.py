"""As whom a process is started, and the error where it cannot be."""

import os
import pwd
from typing import NamedTuple

from taskyard.runtimes.processes.proc import Json


class SpawnFailed(Exception):
    """The work cannot be started."""

    def __init__(self, message: str, *, trouble: bool = False) -> None:
        self.trouble = trouble
        """Whether it is the machine's fault and not the task's."""
        super().__init__(message)


class Identity(NamedTuple):
    """Whom to run as."""

    uid: int
    gid: int


def identity_of(request: Json) -> Identity | None:
    """Whom the command of a request runs as; None for this process's user.

    Raises :class:`SpawnFailed` if there is no such user, or this process cannot become it.
    """
    return chosen_identity(request["user"], request["identity"])


def is_own_user(request: Json) -> bool:
    """Whether the command of a request runs as this process does."""
    try:
        return identity_of(request) is None
    except SpawnFailed:
        return False


def chosen_identity(user: str | None, given: tuple[int, int] | None) -> Identity | None:
    """Whom to run as: a user by name or number, otherwise the given ids; None for our own.

    Raises :class:`SpawnFailed` as :func:`identity_of` does.
    """
    if user is None:
        return None if given is None else Identity(*given)
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        identity = Identity(entry.pw_uid, entry.pw_gid)
    except (KeyError, OverflowError):
        if not user.isdecimal() or int(user) >= 2**32 - 1:
            raise SpawnFailed(f"no such user: {user}") from None
        identity = Identity(int(user), int(user))
    if os.geteuid() == identity.uid:
        return None
    if os.geteuid() != 0:
        raise SpawnFailed(f"running as user {user} needs a worker that is run by root")
    return identity
