"""Who is at the other end of the control socket."""

import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

_CREDENTIALS: Final = struct.Struct("3i")
_MARK: Final = b"TASKYARD_ATTEMPT_ID="
_FUNCTION: Final = b"TASKYARD_FUNCTION="
_CGROUP: Final = "/taskyard-"
"""How the names of the cgroups begin in which commands, functions and builds are held."""
_SUPERVISOR: Final = "/shepherd"


class Peer(NamedTuple):
    """A process, as the system knows it."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer | None:
    """The process that connected a Unix socket; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    return Peer(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)))


def is_task(pid: int) -> bool:
    """Whether a process is part of a task, by its cgroups and its environment.

    One that cannot be looked at counts as one.
    """
    process = Path(f"/proc/{pid}")
    try:
        cgroups = (process / "cgroup").read_text("utf-8", "replace").splitlines()
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return True
    if any(_CGROUP in path and not path.endswith(_SUPERVISOR) for path in cgroups):
        return True
    return any(one.startswith((_MARK, _FUNCTION)) for one in variables)
