"""Which directories of this machine containers may see."""

import os
from collections.abc import Sequence
from pathlib import Path

from taskyard.core.tasks import Volume
from taskyard.runtimes.container.errors import CannotRun


def binds(volumes: Sequence[Volume], allowed: Sequence[str]) -> list[str]:
    """The volumes as an engine takes them. Raises :class:`CannotRun` for what is not allowed.

    Links are followed first: what counts is where a path leads to, and that is what the engine is
    given, so that a link changed in between leads nowhere else. A part of the path that is
    replaced by a link later is the business of whoever may write there; keep allowed directories
    out of the reach of other users. Looks at the file system: for a thread.
    """
    prefixes = [os.path.realpath(prefix) for prefix in allowed]
    found = []
    for volume in volumes:
        real = os.path.realpath(volume.host)
        if not any(Path(real).is_relative_to(prefix) for prefix in prefixes):
            raise CannotRun(
                f"volume {volume.host} is not allowed here; an operator can allow it with the "
                "setting container_volumes"
            )
        if ":" in real:
            raise CannotRun(f"volume {volume.host} has a colon in its path, which engines refuse")
        if not Path(real).exists():
            raise CannotRun(f"volume {volume.host} does not exist on the worker")
        found.append(f"{real}:{volume.container}:{'ro' if volume.read_only else 'rw'}")
    return found
