"""What instances and zygotes are made of where they are processes of this machine."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from taskyard.core.attempts import Survivor
from taskyard.runtimes.function.channel import Channel
from taskyard.runtimes.function.containment import Tree
from taskyard.runtimes.function.pool import kill_all


class TreeBody:
    """An instance's processes and its directory. Implements ``instance.Body``."""

    def __init__(self, tree: Tree, discard: Callable[[], None]) -> None:
        """``discard`` removes the directory; it may block."""
        self.tree = tree
        self.method = tree.method
        self.trouble = None
        self._discard = discard

    async def kill(self) -> tuple[int, list[Survivor]]:
        """See the protocol."""
        return await anyio.to_thread.run_sync(kill_all, self.tree)

    def oom_kills(self) -> int:
        """See the protocol."""
        return self.tree.oom_kills()

    async def remove(self) -> None:
        """See the protocol."""

        def remove() -> None:
            kill_all(self.tree)
            self.tree.remove()
            self._discard()

        await anyio.to_thread.run_sync(remove)


def discard_directory(directory: Path) -> None:
    """Remove an instance's directory; most hold nothing but what ``child.confining`` makes."""
    try:
        (directory / "work").rmdir()
        directory.rmdir()
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)


class Zygote:
    """The process that forks instances of this pool."""

    def __init__(self, number: int, body: TreeBody) -> None:
        self.number = number
        self.pid = 0
        self.born = asyncio.Event()
        """Set when its pid is known."""
        self.body = body
        self.channel: Channel | None = None
        self.ready = asyncio.Event()
