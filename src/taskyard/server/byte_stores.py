"""Where bytes are kept that are too many for rows: output, answers of functions, their sources.

One control plane keeps them in files of its own. Several share objects: each may be asked for what
another one has stored.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio.lowlevel

from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId
from taskyard.objects.bundles import ObjectBundles
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.output import ObjectOutput, ObjectResults
from taskyard.ports.functions import BundleStore, ResultFiles
from taskyard.ports.logs import LocalLogStore, LogStore, OutputSource
from taskyard.ports.objects import ObjectStore
from taskyard.runtimes.function.bundles import BundleFiles
from taskyard.server.settings import Settings
from taskyard.services.tasks.output_sources import LayeredOutput
from taskyard.store.transfer.files import OBJECTS
from taskyard.worker.output import result_files
from taskyard.worker.output.shipping import OutputShipper


@dataclass(frozen=True, slots=True)
class ByteStores:
    """The stores of bytes of one control plane."""

    output: LogStore
    """What attempts have written, wherever it is."""
    results: ResultFiles
    bundles: BundleStore
    shipper: OutputShipper | None = None
    """Stores output where other control planes find it; None if there are none."""
    objects: ObjectStore | None = None
    """What control planes share, or workers on other machines have stored; None if there are
    none."""
    close: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
    """Let go of what is open."""


def byte_stores(
    settings: Settings, files: LocalLogStore, remote: OutputSource | None = None
) -> ByteStores:
    """Those that go with the store of the settings; objects are there for workers that join, too.

    Args:
        settings: where the store is.
        files: output of the worker here.
        remote: reads output of what runs beside other control planes or on other machines; None
            if nothing does.
    """
    if settings.database is None:
        data = settings.data.absolute()
        may_be_joined = settings.nats.serve or settings.nats.url is not None
        if may_be_joined or (data / OBJECTS).exists():
            return files_and_objects(data, files, remote)
        return own_files(data, files)
    # With the store, which was opened before, its driver is there.
    from taskyard.objects.postgres.store import PostgresObjectStore  # noqa: PLC0415 - an extra
    from taskyard.store.postgres.address import database_address  # noqa: PLC0415 - an extra

    address = database_address(settings.database, settings.password_of_database())
    objects = PostgresObjectStore(address.conninfo)
    return replace(shared_objects(objects, files, remote), close=objects.close)


def own_files(data: Path, files: LogStore) -> ByteStores:
    """Files below the data directory.

    Args:
        data: the data directory.
        files: output of the worker here.
    """
    return ByteStores(
        output=files,
        results=result_files.ResultFiles(data / "attempts"),
        bundles=BundleFiles(data / "functions" / "bundles"),
    )


def files_and_objects(
    data: Path, files: LocalLogStore, remote: OutputSource | None = None
) -> ByteStores:
    """The same, and objects below it: what workers on other machines have stored.

    Args:
        data: the data directory.
        files: output of the worker here, which stays where it is.
        remote: reads output of what runs on other machines; None if nothing does.
    """
    own, objects = own_files(data, files), FileObjectStore(data / OBJECTS)
    return replace(
        own,
        output=LayeredOutput(files, ObjectOutput(objects), remote),
        results=_Results(own.results, ObjectResults(objects)),
        objects=objects,
    )


class _Results:
    """Implements ``ports.functions.ResultFiles``: those of the worker here, and of others."""

    def __init__(self, own: ResultFiles, others: ResultFiles) -> None:
        self._own = own
        self._others = others

    async def write(self, attempt_id: AttemptId, body: bytes) -> None:
        """See the port."""
        await self._own.write(attempt_id, body)

    async def read(self, attempt_id: AttemptId) -> bytes:
        """See the port."""
        try:
            return await self._own.read(attempt_id)
        except NotFound:
            return await self._others.read(attempt_id)


def shared_objects(
    objects: ObjectStore, files: LocalLogStore, remote: OutputSource | None = None
) -> ByteStores:
    """Objects; output of what runs is in files here, or beside other control planes.

    Args:
        objects: what control planes share.
        files: output of the worker here.
        remote: reads output of what runs beside others; None if there are no others.
    """
    return ByteStores(
        output=LayeredOutput(files, ObjectOutput(objects), remote),
        results=ObjectResults(objects),
        bundles=ObjectBundles(objects),
        shipper=OutputShipper(objects),
        objects=objects,
    )
