"""Starting the fork server process, and talking to it."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

import taskyard
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.runtimes.function.channel import Attached, Channel, datagrams
from taskyard.runtimes.function.translating import seen_from_here

SANDBOXES: Final = "sandboxes.lock"
"""File that fork servers in sandboxes have locked, all of them together."""
_LOCK_S: Final = 10.0
_READY_S: Final = 20.0
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "import json; from taskyard.runtimes.function.child.fork_server import main; "
    "del sys.path[0]; main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))"
)


class ForkServer:
    """One fork server, from :meth:`start` until it or we hang up.

    Args:
        directory: where its lock and log are.
        base: cgroup directory to kill at the end; None without cgroups.
        heard: told what it says.
        hung_up: told when it is gone.
        closed: directories that other users need, and cannot get to by themselves.
        sandbox: command line of the sandbox that it runs in, as the first process of a name space
            of pids; there is none by default.
    """

    def __init__(
        self,
        directory: Path,
        base: str | None,
        heard: Callable[[dict[str, Any]], None],
        hung_up: Callable[[], None],
        closed: Sequence[str] = (),
        sandbox: Sequence[str] = (),
    ) -> None:
        self.pid = 0
        """As this process sees it; 0 until it has started."""
        self.obstacle: str | None = None
        """Why other users cannot get to these; None if they can."""
        self._closed = closed
        self._sandbox = sandbox
        self._directory = directory
        self._base = base
        self._heard = heard
        self._hung_up = hung_up
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Wait until nothing of an earlier fork server is alive, then start one.

        Raises ``RuntimeUnavailable``.
        """
        ours, theirs = datagrams()
        try:
            with theirs:
                self._process = await anyio.to_thread.run_sync(self._spawn, theirs)
        except OSError as error:
            ours.close()
            raise RuntimeUnavailable(f"no process for functions: {error}") from error
        ready = asyncio.get_running_loop().create_future()

        def heard(message: dict[str, Any]) -> None:
            if "ready" in message and not ready.done():
                self.obstacle = message.get("obstacle")
                self.pid = self._own_pid()
                ready.set_result(None)
            else:
                self._heard(message)

        def hung_up() -> None:
            if ready.done():
                self._hung_up()
            else:
                ready.set_exception(
                    RuntimeUnavailable("the fork server did not start; see its log")
                )

        self._channel = Channel(ours, heard, hung_up)
        try:
            with anyio.fail_after(_READY_S):
                await ready
        except TimeoutError:
            raise RuntimeUnavailable("the fork server did not answer") from None

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        if self._sandbox:
            lock = locked(self._directory / SANDBOXES, fcntl.LOCK_SH)
        else:
            lock = locked(self._directory / "nursery.lock")  # kept: earlier releases hold it
        root = str(Path(taskyard.__file__).parent.parent)
        asked = {"base": self._base, "closed": self._closed, "sandboxed": bool(self._sandbox)}
        settings = msgspec.json.encode(asked).decode()
        command = [sys.executable, "-I", "-S", "-c", _START, root]
        try:
            path = self._directory / "fork_server.log"
            path.touch(mode=0o600)
            path.chmod(0o600)
            with path.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - our own interpreter and program
                    [*self._sandbox, *command, str(theirs.fileno()), str(lock), settings],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={"LANG": "C.UTF-8", "PATH": os.defpath},
                    cwd="/",
                    umask=0o022,  # What functions write is theirs to share; they set their own.
                    pass_fds=(theirs.fileno(), lock),
                    # Whoever stops the server from a terminal does not mean the sandbox.
                    start_new_session=bool(self._sandbox),
                )
        finally:
            os.close(lock)

    def order(self, message: dict[str, Any], *attached: Attached) -> None:
        """Have a process made, which gets the first of these; the others are files of cgroups."""
        if self._channel is None:
            for one in attached:
                one.close()
        else:
            self._channel.send(message, *attached)

    def kill(self) -> None:
        """End it at once, as it does not do what it is told; ``hung_up`` is told then."""
        if self._sandbox and self.pid:
            with contextlib.suppress(ProcessLookupError):
                # Whoever waits for it ends as well; the other way round it would live on.
                os.kill(self.pid, signal.SIGKILL)
        elif self._process is not None:
            self._process.kill()

    def _own_pid(self) -> int:
        if self._process is None:
            return 0
        return seen_from_here(1, self._process.pid) or 0 if self._sandbox else self._process.pid

    async def close(self) -> None:
        """Hang up, and wait until everything below is gone."""
        if self._channel is not None:
            self._channel.close()
        process = self._process
        if process is not None:

            def wait() -> None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOCK_S)

            await anyio.to_thread.run_sync(wait)


def locked(path: Path, kind: int = fcntl.LOCK_EX) -> int:
    """A descriptor that holds the lock. Raises ``OSError`` while a fork server of earlier lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(descriptor)
                raise
            time.sleep(0.005)
        else:
            return descriptor
