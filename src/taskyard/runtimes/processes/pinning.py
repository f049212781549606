"""Pinning what is spawned to processors where there are no cgroups for it."""

import contextlib
import os
from collections.abc import Iterator

from taskyard.runtimes.processes.identity import SpawnFailed


@contextlib.contextmanager
def pinned(cpus: str | None) -> Iterator[None]:
    """Have what this process spawns run on these processors only, such as ``2,3``; all if None.

    It inherits them; that holds unless it changes them itself. The supervisor goes back to where it
    ran before. Raises :class:`SpawnFailed` if there are no such processors.
    """
    if cpus is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SpawnFailed("this system cannot pin it to processors", trouble=True)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {int(number) for number in cpus.split(",")})
    except OSError as error:
        raise SpawnFailed(
            f"it cannot be pinned to processors {cpus}: {error.strerror}", trouble=True
        ) from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
