"""What belongs to a store besides its rows, wherever it is: files, or objects in PostgreSQL."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from anyio.from_thread import BlockingPortal, start_blocking_portal

from taskyard.core.errors import NotFound, Unavailable
from taskyard.ports.objects import BUNDLES, OUTPUT, RESULTS, ObjectStore
from taskyard.store.transfer.address import Location, PostgresAddress
from taskyard.store.transfer.file_names import check_name
from taskyard.store.transfer.files import DataFiles
from taskyard.store.transfer.opening import directory_files
from taskyard.store.transfer.sides import FileSet

_BLOCK: Final = 4 << 20


class ObjectFiles:
    """Objects as a ``FileSet``; and as what is read, also the files of a control plane.

    Those are output that could not be stored as objects yet.
    """

    holds_objects: Final = True

    def __init__(
        self, objects: ObjectStore, portal: BlockingPortal, directory: DataFiles | None
    ) -> None:
        """``portal`` is that of the event loop that the objects belong to."""
        self._objects = objects
        self._portal = portal
        self._directory = directory
        self._sizes: dict[str, int] = {}
        """Of what was listed last."""

    def names(self) -> Iterator[str]:
        """See the protocol."""
        if self._directory is not None:
            yield from self._directory.names()
        for prefix in (BUNDLES, OUTPUT, RESULTS):
            last = ""
            while found := self._portal.call(self._listed, prefix, last):
                self._sizes = found
                yield from found
                last = max(found)

    async def _listed(self, prefix: str, after: str) -> dict[str, int]:
        found = await self._objects.list_objects(prefix, after=after)
        return {one.key: one.size_bytes for one in found}

    def size(self, name: str) -> int | None:
        """See the protocol."""
        if self._directory is not None and self._directory.size(name) is not None:
            return self._directory.size(name)
        if name in self._sizes:
            return self._sizes[name]
        try:
            return self._portal.call(self._objects.size, name)
        except NotFound:
            return None

    def blocks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """See the protocol."""
        if self._directory is not None and self._directory.size(name) is not None:
            yield from self._directory.blocks(name, most)
            return
        offset = 0
        try:
            while block := self._portal.call(self._objects.read, name, offset, _BLOCK):
                yield block
                offset += len(block)
                if len(block) < _BLOCK:
                    break
        except NotFound as error:
            raise FileNotFoundError(name) from error

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """See the protocol."""
        check_name(name)
        # Objects never change: what is there is another one, or damaged.
        self._portal.call(self._objects.delete, [name])
        if not self._portal.call(self._objects.put, name, blocks):
            raise Unavailable(f"somebody else writes {name}; stop all control planes")

    def sync(self) -> None:
        """See the protocol: each is durable once it is put."""


@contextmanager
def files_of(location: Location) -> Iterator[FileSet]:
    """What belongs to a store besides its rows; see ``store.transfer.procedures.Files``."""
    if not isinstance(location.address, PostgresAddress):
        with directory_files(location) as files:
            yield files
        return
    from taskyard.objects.postgres.store import PostgresObjectStore  # noqa: PLC0415 - optional

    directory = None if location.data is None else DataFiles(location.data)
    with start_blocking_portal() as portal:
        objects = PostgresObjectStore(location.address.conninfo, connections=2)
        try:
            yield ObjectFiles(objects, portal, directory)
        finally:
            portal.call(objects.close)
