"""The fork server of one pool, in a sandbox that shows only what the pool's version needs."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from taskyard.runtimes.function.channel import Attached
from taskyard.runtimes.function.fork_server import ForkServer
from taskyard.runtimes.function.sandbox import sandboxed
from taskyard.runtimes.function.translating import seen_from_here


class SandboxedForkServer:
    """Makes the processes of one pool; they see each other, their version and nothing else.

    Their directories are below one that they may write to, so that names there mean nothing: this
    process uses descriptors of the directories that it has made itself.

    Args:
        directory: the function runtime's.
        place: of the version.
        run: a directory for those of processes, which is made.
    """

    def __init__(self, directory: Path, place: Path, run: Path) -> None:
        self.run = run
        self._directory = directory
        self._place = place
        self._fork_server: ForkServer | None = None
        self._top = -1
        self._directories: dict[int, int] = {}
        self.is_closed = False

    async def start(
        self, heard: Callable[[dict[str, Any]], None], hung_up: Callable[[], None]
    ) -> None:
        """Start it. Raises ``RuntimeUnavailable``, ``OSError``."""
        self._top = await anyio.to_thread.run_sync(self._make_top)
        fork_server = None
        try:
            command = await anyio.to_thread.run_sync(self._command)
            fork_server = ForkServer(self._directory, None, heard, hung_up, sandbox=command)
            await fork_server.start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                if fork_server is not None:
                    await fork_server.close()
                await self.close()
            raise
        self._fork_server = fork_server

    def order(self, message: dict[str, Any], *attached: Attached) -> None:
        """See ``ForkServer.order``."""
        if self._fork_server is None:
            for one in attached:
                one.close()
        else:
            self._fork_server.order(message, *attached)

    def kill(self) -> None:
        """End it, and with it everything in the sandbox, at once."""
        if self._fork_server is not None:
            self._fork_server.kill()

    def pid_of(self, pid: int, parent: int | None = None) -> int:
        """The pid, out here, of a child of ``parent``, or of the fork server.

        Raises ``ProcessLookupError`` if it has no such child.
        """
        above = (
            self._fork_server.pid if parent is None and self._fork_server is not None else parent
        )
        found = seen_from_here(pid, above) if above else None
        if found is None:
            raise ProcessLookupError(f"no process {pid} in the sandbox")
        return found

    def open_directory(self, number: int) -> int:
        """Make the directory of a process; a descriptor of it. Raises ``OSError``. Blocks."""
        os.mkdir(str(number), mode=0o700, dir_fd=self._top)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(str(number), flags, dir_fd=self._top)
        self._directories[number] = descriptor
        return descriptor

    def remove_directory(self, number: int) -> None:
        """Remove one of them, whatever is there by now. Blocks. May be called twice."""
        descriptor = self._directories.pop(number, None)
        if descriptor is not None:
            os.close(descriptor)
            shutil.rmtree(str(number), ignore_errors=True, dir_fd=self._top)

    async def close(self) -> None:
        """Hang up, wait until everything in the sandbox is gone, and remove its directories.

        Not before the last process was taken leave of: their directories are closed here.
        """
        self.is_closed = True
        fork_server, self._fork_server = self._fork_server, None
        if fork_server is not None:
            await fork_server.close()
        top, self._top = self._top, -1
        if top >= 0:
            for descriptor in (top, *self._directories.values()):
                os.close(descriptor)
            self._directories.clear()
            await anyio.to_thread.run_sync(shutil.rmtree, self.run, True)

    def _make_top(self) -> int:
        self.run.mkdir(mode=0o700)
        return os.open(self.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _command(self) -> list[str]:
        command = sandboxed(self._directory.parent, [self._place], [self.run])
        # As the first process of its name space: when it ends, the kernel kills all others.
        return [*command[:-1], "--as-pid-1", *command[-1:]]
