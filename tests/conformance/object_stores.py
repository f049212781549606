"""Every kind of object store, for suites that run on all of them.

As a program: puts an object that never ends, for whoever kills it in the middle.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from taskyard.objects.files.store import FileObjectStore
from taskyard.ports.objects import ObjectStore

OBJECT_STORES: Final = ["files"]
PART: Final = bytes(range(256)) * 4096
"""1 MiB."""
GOING_AFTER: Final = 12
"""Parts that an endless put has taken when it says so."""


class Harness(Protocol):
    """One place where objects are, and what the outside may do to it."""

    kind: str
    place: str
    """What another process opens."""

    def client(self) -> ObjectStore:
        """One more client, as another process would have it. Closed by the harness."""
        ...

    def age(self, seconds: float) -> None:
        """Everything was put so much earlier, and every unfinished put stopped then."""
        ...

    def leftovers(self) -> int:
        """How much there is of puts that did not finish."""
        ...


class Files:
    """Objects below a directory."""

    kind = "files"

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def client(self) -> ObjectStore:
        """See the protocol."""
        return FileObjectStore(self._root)

    def age(self, seconds: float) -> None:
        """See the protocol."""
        for path in self._root.rglob("*"):
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))

    def leftovers(self) -> int:
        """See the protocol."""
        return len(list(self._root.glob(".unfinished/*")))


@contextmanager
def harness(kind: str, directory: Path) -> Iterator[Harness]:
    """An empty place of one of the kinds in :data:`OBJECT_STORES`."""
    assert kind == "files"
    yield Files(directory / "objects")


@asynccontextmanager
async def opened(kind: str, place: str) -> AsyncIterator[ObjectStore]:
    """A client of a place that another process knows."""
    assert kind == "files"
    yield FileObjectStore(Path(place))


def endless(going: int = GOING_AFTER) -> Iterator[bytes]:
    """Parts without end; says on standard output when so many were taken, and waits."""
    for number in range(1 << 30):
        if number == going:
            sys.stdout.write("going\n")
            sys.stdout.flush()
            time.sleep(3600)
        yield PART


async def _put(kind: str, place: str, key: str) -> None:
    async with opened(kind, place) as store:
        await store.put(key, endless())


if __name__ == "__main__":
    asyncio.run(_put(*sys.argv[1:]))
