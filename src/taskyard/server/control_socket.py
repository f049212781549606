"""The control socket: for the server's own user, but not for tasks that run as that user."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Final

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.http.requests import LOCAL_KEY
from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.cgroups import OWN_LEAF
from taskyard.runtimes.processes.peers import Peer, handle_of, has_ended, peer_of
from taskyard.server.http_protocol import BoundedProtocol

BACKLOG: Final = 2048
_MARK: Final = b"TASKYARD_ATTEMPT_ID="
_FUNCTION: Final = b"TASKYARD_FUNCTION="
_CGROUP: Final = "/taskyard-"
"""How the names of the cgroups begin in which commands, functions and builds are held."""
_SUPERVISOR: Final = f"/{OWN_LEAF}"
_COMMANDS: Final = {
    b"taskyard.runtimes.command.supervisor",
    b"taskyard.runtimes.command.shepherd",  # kept: one of an earlier release outlives an upgrade
}
_FORK_SERVER: Final = b"taskyard.runtimes.function.child.fork_server"
_BUILD: Final = b"taskyard.runtimes.function.child.supervisor"
"""What command lines of the parents of tasks and builds contain; see where they are started."""
_NOT_OURS: Final = (
    b'{"type":"about:blank#not-allowed","title":"Not allowed","status":403,'
    b'"detail":"the control socket is for the user that runs the server, and not for tasks;'
    b' use the HTTP address and a token"}'
)

log = structlog.get_logger(__name__)


class ControlProtocol(BoundedProtocol):
    """HTTP for the server's own user, but not for tasks that run as that user."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Ask the system who is there."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        peer = peer_of(sock)
        # Where the system does not tell, the mode of the socket has to do.
        self._refused = peer is not None and (peer.uid != os.geteuid() or _is_task(sock, peer))
        if peer is not None and self._refused:
            log.warning("control_socket_refused", pid=peer.pid, uid=peer.uid)

    def data_received(self, data: bytes) -> None:
        """Tell whoever may not be here so; an answer before the request would be lost."""
        if self._refused:
            self._refuse(403, _NOT_OURS)
        else:
            super().data_received(data)


def bind_unix(path: Path) -> socket.socket | None:
    """A listening Unix socket that its owner alone can reach; None if the path is too long.

    Replaces what is there: call it only while holding the lock of the directory.
    """
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        if "too long" in str(error):
            return None
        raise
    finally:
        os.umask(before)
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound


def local_admin(app: ASGIApp) -> ASGIApp:
    """The application for a socket whose every caller owns the data directory."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][LOCAL_KEY] = True
        await app(scope, receive, send)

    return serve


def _is_task(sock: socket.socket, peer: Peer) -> bool:
    try:
        handle = handle_of(sock, peer)
    except ProcessLookupError:
        return True  # Whoever it was, somebody else would get the answer.
    try:
        return is_task(peer, handle)
    finally:
        if handle is not None:
            os.close(handle)


def is_task(peer: Peer, handle: int | None = None) -> bool:
    """Whether a process is part of a task: by its ancestors, its cgroups or its environment.

    Supervisors adopt the orphans of their tasks, so that whatever a task starts has its supervisor
    above it, in whatever session, cgroup and environment it is. One that cannot be looked at
    counts as a task's.

    Args:
        peer: who connected.
        handle: a descriptor of that very process, see ``handle_of``; without one, another process
            may have got its pid since.
    """
    process = Path(f"/proc/{peer.pid}")
    above = proc.ancestry(peer.pid)
    if above is None:
        return True
    try:
        cgroups = (process / "cgroup").read_text("utf-8", "replace").splitlines()
        variables = (process / "environ").read_bytes().split(b"\0")
        is_supervised = any(_supervises(one.pid) for one in above)
    except OSError:
        return True
    if handle is not None and has_ended(handle):
        # What was read may be about another one with the same pid.
        return True
    if is_supervised or any(_CGROUP in path and not path.endswith(_SUPERVISOR) for path in cgroups):
        return True
    return any(one.startswith((_MARK, _FUNCTION)) for one in variables)


def _supervises(pid: int) -> bool:
    """Whether a process is the parent of tasks. Raises ``OSError`` if it is gone."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return any(one in _COMMANDS or _FORK_SERVER in one or _BUILD in one for one in arguments)
