"""The control planes' end: takes what workers put, and gives them sources.

A worker may put what belongs to attempts that were given to it and not taken from it again, which
the store is asked for; nothing in a message says whose they are.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from taskyard.core.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    Overloaded,
    TaskyardError,
    Unavailable,
)
from taskyard.core.functions.functions import Version
from taskyard.core.ids import AttemptId, WorkerId, WorkspaceName
from taskyard.core.output_index import FILE
from taskyard.objects.joined.wire import (
    MOST_KNOWN,
    Found,
    Get,
    Known,
    Put,
    Range,
    Taken,
    Wanted,
    asked,
    encode,
)
from taskyard.ports.errors import PayloadTooLarge
from taskyard.ports.functions import BundleStore
from taskyard.ports.logs import Stream
from taskyard.ports.objects import LARGEST_READ_BYTES, OUTPUT, RESULTS, ObjectStore

OF_WORKER: Final = 8
"""Uploads of one worker that a plane takes at once; more are refused."""
AT_ONCE: Final = 32
"""The same of all workers. Each holds a MiB or two."""
IDLE_S: Final = 60.0
"""Seconds without a piece after which an upload is given up."""
RETRY_AFTER_S: Final = 0.5
_ID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAMES: Final = "|".join((*(stream.value for stream in Stream), FILE))
_KEY: Final = re.compile(rf"(?:{OUTPUT}({_ID})/(?:{_NAMES})|{RESULTS}({_ID}))\Z")
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}\Z")

HolderOf = Callable[[AttemptId], Awaitable[WorkerId | None]]
"""The worker that an attempt was given to; None if it was given up with it, or is not known."""
VersionOf = Callable[[WorkerId, WorkspaceName, AttemptId, int], Awaitable[Version]]
"""The version with a number of the function that an attempt calls which a worker holds now.

Raises ``NotAllowed`` if that worker has no such call, ``NotFound`` if there is no such version."""

log = structlog.get_logger(__name__)


class ServedObjects:
    """Answers workers. Made by :func:`serving_objects`."""

    def __init__(
        self,
        objects: ObjectStore,
        bundles: BundleStore,
        holder_of: HolderOf,
        version_of: VersionOf,
        tasks: TaskGroup,
        plane: str,
        most_bytes: int | None,
    ) -> None:
        self._objects = objects
        self._bundles = bundles
        self._holder_of = holder_of
        self._version_of = version_of
        self._tasks = tasks
        self._plane = plane
        self._most_bytes = most_bytes
        self._uploads: dict[tuple[WorkerId, str], _Upload] = {}
        self._of_worker: Counter[WorkerId] = Counter()

    async def on_put(self, worker_id: WorkerId, what: str, payload: bytes) -> bytes:
        """Take a piece.

        Raises:
            InvalidInput: no worker puts that.
            NotAllowed: it belongs to an attempt that is not this worker's.
            Overloaded: too much is put already; ask again.
            Conflict: it does not go on where the upload is; begin again.
            PayloadTooLarge: the object would be larger than any may be.
            StorageFull, Unavailable: the object store fails.
        """
        del what
        piece = asked(Put, payload)
        upload = self._uploads.get((worker_id, piece.upload))
        if upload is None:
            upload = await self._begun(worker_id, piece)
        if upload.key != piece.key or upload.size_bytes != piece.offset:
            raise Conflict(f"the upload of {piece.key} is not at byte {piece.offset}; begin again")
        size = piece.offset + len(piece.data)
        if self._most_bytes is not None and size > self._most_bytes:
            upload.give_up()
            raise PayloadTooLarge(
                f"the object {piece.key} is larger than {self._most_bytes} bytes"
                " (task_output_bytes)"
            )
        if piece.is_last:
            try:
                # It may have been taken from the worker meanwhile.
                await self._check(worker_id, piece.key)
            except TaskyardError:
                upload.give_up()
                raise
        return encode(await upload.take(piece, self._plane))

    async def _begun(self, worker_id: WorkerId, piece: Put) -> "_Upload":
        if piece.offset != 0:
            raise Conflict(f"nothing of {piece.key} is here; begin again")
        if not _UPLOAD.match(piece.upload):
            raise InvalidInput("upload", "is 32 hexadecimal digits")
        if len(self._uploads) >= AT_ONCE or self._of_worker[worker_id] >= OF_WORKER:
            raise Overloaded("too many objects are uploaded already", RETRY_AFTER_S)
        for (owner, _), earlier in self._uploads.items():
            if owner == worker_id and earlier.key == piece.key:
                # Its worker heard nothing any more, or was started again.
                earlier.give_up()
        upload = self._uploads[worker_id, piece.upload] = _Upload(piece.key)
        self._of_worker[worker_id] += 1
        try:
            await self._check(worker_id, piece.key)
        except BaseException:
            self._end(worker_id, piece.upload)
            upload.close()
            raise
        self._tasks.start_soon(self._store, worker_id, piece.upload, upload)
        return upload

    async def _store(self, worker_id: WorkerId, name: str, upload: "_Upload") -> None:
        try:
            await upload.store(self._objects)
        finally:
            self._end(worker_id, name)

    def _end(self, worker_id: WorkerId, name: str) -> None:
        del self._uploads[worker_id, name]
        self._of_worker[worker_id] -= 1
        if not self._of_worker[worker_id]:
            del self._of_worker[worker_id]

    async def _check(self, worker_id: WorkerId, key: str) -> None:
        """Raise ``InvalidInput`` or ``NotAllowed`` unless a worker may put this."""
        found = _KEY.match(key)
        if found is None:
            raise InvalidInput("key", "is not what workers put")
        if await self._holder_of(AttemptId(found[1] or found[2])) != worker_id:
            log.warning("upload_refused", worker_id=worker_id, key=key)
            raise NotAllowed(f"{key} belongs to an attempt that is not held by worker {worker_id}")

    async def on_version(self, worker_id: WorkerId, what: str, payload: bytes) -> bytes:
        """Tell what a call runs.

        Raises:
            NotAllowed: it is not a call that this worker holds.
            NotFound: its function has no such version.
        """
        del what
        version = await self._version(worker_id, asked(Wanted, payload))
        # Who deployed it, and with what, is of no use there.
        return encode(Found(replace(version, created_by="", credentials="", message=None)))

    async def on_get(self, worker_id: WorkerId, what: str, payload: bytes) -> bytes:
        """Give a range of the source of what a call runs.

        Raises as :meth:`on_version`, ``NotFound`` also if it has no source, and ``StoreDamaged``.
        """
        del what
        asking = asked(Get, payload)
        if asking.offset < 0 or asking.length < 0:
            raise InvalidInput("offset", "and length must be 0 or more")
        version = await self._version(worker_id, asking.wanted)
        content = await self._bundles.get(version.bundle)
        end = asking.offset + min(asking.length, LARGEST_READ_BYTES)
        return encode(Range(len(content), content[asking.offset : end]))

    async def _version(self, worker_id: WorkerId, wanted: Wanted) -> Version:
        try:
            return await self._version_of(
                worker_id, wanted.workspace, wanted.attempt, wanted.number
            )
        except NotAllowed:
            log.warning("version_refused", worker_id=worker_id, attempt_id=wanted.attempt)
            raise

    async def on_known(self, worker_id: WorkerId, what: str, payload: bytes) -> bytes:
        """Answer with those attempts of which this worker may put something."""
        del what
        wanted = asked(Known, payload).attempts
        if len(wanted) > MOST_KNOWN:
            raise InvalidInput("attempts", f"must be {MOST_KNOWN} or fewer")
        known = [one for one in wanted if await self._holder_of(one) == worker_id]
        return encode(Known(known))


class _Upload:
    """An object that is being put."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.size_bytes = 0
        """So much was taken."""
        self._is_complete = False
        self._send, self._receive = anyio.create_memory_object_stream[bytes](0)
        self._given_up = anyio.CancelScope()
        self._done = anyio.Event()
        self._is_new = False
        self._error: TaskyardError | None = None

    async def take(self, piece: Put, plane: str) -> Taken:
        """Have it stored; answers once the piece before it is, the last one once all are."""
        self.size_bytes += len(piece.data)
        try:
            if piece.data:
                await self._send.send(piece.data)
            if piece.is_last:
                self._is_complete = True
                self._send.close()
                await self._done.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._done.wait()
        except BaseException:
            # Nobody knows how much of it was taken.
            self.give_up()
            raise
        if self._error is not None:
            raise self._error
        return Taken(plane, self._done.is_set(), self._is_new)

    async def store(self, objects: ObjectStore) -> None:
        """Store what is taken, until it is complete or given up."""
        try:
            with self._given_up as given_up:
                self._is_new = await objects.put(self.key, self._content())
            if given_up.cancelled_caught:
                self._error = Unavailable(f"the upload of {self.key} was given up; begin again")
        except TaskyardError as error:
            self._error = error
        except Exception:
            # Top of the upload: one must not end those of others.
            log.exception("upload_failed", key=self.key)
            self._error = Unavailable("the control plane failed at it; its log tells why")
        finally:
            self.close()
            self._done.set()

    async def _content(self) -> AsyncIterator[bytes]:
        while True:
            with anyio.move_on_after(IDLE_S) as idle:
                try:
                    part = await self._receive.receive()
                except anyio.EndOfStream:
                    break
            if idle.cancelled_caught:
                raise Unavailable(f"nothing more of {self.key} came; begin again")
            yield part
        if not self._is_complete:
            raise Unavailable(f"the upload of {self.key} was cut off; begin again")

    def give_up(self) -> None:
        """Keep nothing of it."""
        self._given_up.cancel()

    def close(self) -> None:
        """Take no more."""
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def serving_objects(
    objects: ObjectStore,
    bundles: BundleStore,
    holder_of: HolderOf,
    version_of: VersionOf,
    plane: str,
    most_bytes: int | None = None,
) -> AsyncIterator[ServedObjects]:
    """What answers workers; uploads that are under way at the end are given up.

    Args:
        objects: where what they put is stored.
        bundles: the sources that they read.
        holder_of: whose an attempt is.
        version_of: what a call runs that a worker holds.
        plane: this control plane's name, as it is asked by.
        most_bytes: largest object that is taken; any when None.
    """
    async with anyio.create_task_group() as tasks:
        yield ServedObjects(objects, bundles, holder_of, version_of, tasks, plane, most_bytes)
        tasks.cancel_scope.cancel()
