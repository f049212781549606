"""Who is at the other end of a Unix socket. Standard library only."""

import errno
import os
import select
import socket
import struct
from typing import Final, NamedTuple

from taskyard.runtimes.processes import proc

_CREDENTIALS: Final = struct.Struct("3i")
_SO_PEERPIDFD: Final = 77
_FUNCTIONS: Final = b"taskyard.runtimes.function.child."
"""What command lines of the parents of functions and builds contain."""


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


def handle_of(sock: socket.socket, peer: Peer) -> int | None:
    """A descriptor of the process that connected, to be closed by the caller.

    None where the system has no such descriptors. Kernels before 6.5 know the process by its pid
    only, which another one may have by now. Raises ``ProcessLookupError`` if it has ended.
    """
    option = getattr(socket, "SO_PEERPIDFD", _SO_PEERPIDFD)
    try:
        return sock.getsockopt(socket.SOL_SOCKET, option)
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.EINVAL}:
            raise ProcessLookupError from error
    try:
        return os.pidfd_open(peer.pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def has_ended(handle: int) -> bool:
    """Whether the process behind a descriptor of :func:`handle_of` is gone."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def is_ours(sock: socket.socket) -> bool:
    """Whether a process of our own user connected that descends neither from this process nor from
    one that runs functions: those are work, which has nothing to say to its supervisor.
    """
    peer = peer_of(sock)
    if peer is None:
        return True  # The mode of the socket has to do.
    try:
        handle = handle_of(sock, peer)
    except ProcessLookupError:
        return False
    try:
        above = proc.ancestry(peer.pid) if peer.uid == os.geteuid() else None
        if above is None or any(_is_supervisor(one.pid) for one in above):
            return False
        return handle is None or not has_ended(handle)
    finally:
        if handle is not None:
            os.close(handle)


def _is_supervisor(pid: int) -> bool:
    """Whether this is our own process, or one that runs functions or builds."""
    if pid == os.getpid():
        return True
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:  # noqa: PTH123 - no pathlib here
            return _FUNCTIONS in file.read(65536)
    except OSError:
        return True
