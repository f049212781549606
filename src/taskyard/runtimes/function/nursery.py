"""Starting the nursery process, and talking to it."""

import asyncio
import contextlib
import fcntl
import os
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
from taskyard.runtimes.function.channel import Channel, datagrams

_LOCK_S: Final = 10.0
_READY_S: Final = 20.0
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "import json; from taskyard.runtimes.function.child.nursery import main; "
    "del sys.path[0]; main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))"
)


class Nursery:
    """One nursery, from :meth:`start` until it or we hang up.

    Args:
        directory: where its lock and log are.
        base: cgroup directory to kill at the end; None without cgroups.
        heard: told what it says.
        hung_up: told when it is gone.
        closed: directories that other users need, and cannot get to by themselves.
    """

    def __init__(
        self,
        directory: Path,
        base: str | None,
        heard: Callable[[dict[str, Any]], None],
        hung_up: Callable[[], None],
        closed: Sequence[str] = (),
    ) -> None:
        self.obstacle: str | None = None
        """Why other users cannot get to these; None if they can."""
        self._closed = closed
        self._directory = directory
        self._base = base
        self._heard = heard
        self._hung_up = hung_up
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Wait until nothing of an earlier nursery is alive, then start one.

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
                ready.set_result(None)
            else:
                self._heard(message)

        def hung_up() -> None:
            if ready.done():
                self._hung_up()
            else:
                ready.set_exception(RuntimeUnavailable("the nursery did not start; see its log"))

        self._channel = Channel(ours, heard, hung_up)
        try:
            with anyio.fail_after(_READY_S):
                await ready
        except TimeoutError:
            raise RuntimeUnavailable("the nursery did not answer") from None

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        lock = _locked(self._directory / "nursery.lock")
        root = str(Path(taskyard.__file__).parent.parent)
        settings = msgspec.json.encode({"base": self._base, "closed": self._closed}).decode()
        command = [sys.executable, "-I", "-S", "-c", _START, root]
        try:
            path = self._directory / "nursery.log"
            path.touch(mode=0o600)
            path.chmod(0o600)
            with path.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - our own interpreter and program
                    [*command, str(theirs.fileno()), str(lock), settings],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={"LANG": "C.UTF-8", "PATH": os.defpath},
                    cwd="/",
                    umask=0o022,  # What functions write is theirs to share; they set their own.
                    pass_fds=(theirs.fileno(), lock),
                )
        finally:
            os.close(lock)

    def order(self, message: dict[str, Any], attached: socket.socket) -> None:
        """Have a process made."""
        if self._channel is None:
            attached.close()
        else:
            self._channel.send(message, attached)

    def kill(self) -> None:
        """End it at once, as it does not do what it is told; ``hung_up`` is told then."""
        if self._process is not None:
            self._process.kill()

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


def _locked(path: Path) -> int:
    """A descriptor that holds the lock. Raises ``OSError`` while a nursery of earlier lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(descriptor)
                raise
            time.sleep(0.005)
        else:
            return descriptor
