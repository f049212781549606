"""What functions and builds see where a sandbox is their wall.

System directories, interpreters and tool chains are read-only, ``/tmp`` is private, and of the data
directory there is only what belongs to the version: nothing of other versions, attempts, the key,
the database or sockets. Processes have a name space of pids, so that they neither see nor signal
any of others.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.function.reachability import tool_places
from taskyard.runtimes.processes.bubblewrap import SandboxMissing, is_system, walls

_RESOLVER = "/etc/resolv.conf"


def sandboxed(
    data: Path, read: Sequence[Path], written: Sequence[Path], cwd: Path | None = None
) -> list[str]:
    """The beginning of a command line; a program and its arguments follow.

    Args:
        data: the data directory, which is hidden.
        read: what is there besides, to be read.
        written: what is there besides, to be read and written.
        cwd: the working directory.

    Raises ``RuntimeUnavailable`` without bubblewrap. Blocks for a moment.
    """
    try:
        wrapped = walls(str(data))
    except SandboxMissing as error:
        raise RuntimeUnavailable(f"functions need a sandbox here: {error}") from error
    resolver = os.path.realpath(_RESOLVER)
    if not is_system(resolver):
        # Elsewhere with most resolvers, and without it no name is found.
        wrapped += ["--ro-bind-try", resolver, resolver]
    tools = [one for one in tool_places(data) if not is_system(one)]
    for place in tools:
        wrapped += ["--ro-bind", place, place]
    hidden = data.resolve()
    if any(hidden.is_relative_to(os.path.realpath(one)) for one in tools):
        wrapped += ["--tmpfs", str(hidden)]
    for one in read:
        wrapped += ["--ro-bind", str(one), str(one)]
    for one in written:
        wrapped += ["--bind", str(one), str(one)]
    if cwd is not None:
        wrapped += ["--chdir", str(cwd)]
    return [*wrapped, "--"]
