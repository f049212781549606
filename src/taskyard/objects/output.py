"""Output that has ended, read from objects; and the answers of functions that are kept with it."""

import re
from collections import OrderedDict
from typing import Final

import anyio

from taskyard.core.attempts import StreamSize
from taskyard.core.backoff import Backoff
from taskyard.core.errors import NotFound, StorageFull, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.core.output_index import FILE
from taskyard.ports.logs import Stream
from taskyard.ports.objects import RESULTS, ObjectStore, output_key

PATIENCE_S: Final = 30.0
_RETRY_MIN_S: Final = 0.1
_RETRY_MAX_S: Final = 2.0
_KEPT: Final = 1024
"""Attempts whose sizes are remembered: they do not change."""
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PARTS: Final = (*(stream.value for stream in Stream), FILE)


class ObjectOutput:
    """Implements ``ports.logs.OutputSource`` for output that was stored at the end of attempts."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._sizes: OrderedDict[AttemptId, dict[str, int]] = OrderedDict()

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port; what was dropped is told by the attempt itself."""
        sizes = await self._sizes_of(attempt_id)
        return StreamSize(sizes.get(output_key(attempt_id, stream.value), 0))

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""
        return await self._read(attempt_id, stream.value, offset, length) or b""

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        return await self._read(attempt_id, FILE, offset, length)

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port; objects never grow."""
        sizes = await self._sizes_of(attempt_id)
        total = sum(sizes.get(output_key(attempt_id, stream.value), 0) for stream in Stream)
        if seen_bytes not in {None, total}:
            return True
        await anyio.sleep(timeout_s)
        return False

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        for attempt_id in attempt_ids:
            self._sizes.pop(attempt_id, None)
        known = [attempt_id for attempt_id in attempt_ids if _ID.match(attempt_id)]
        keys = [output_key(one, part) for one in known for part in _PARTS]
        await self._objects.delete([*keys, *(RESULTS + one for one in known)])

    async def _read(
        self, attempt_id: AttemptId, name: str, offset: int, length: int
    ) -> bytes | None:
        """A range of a part; None if the attempt has none of that name."""
        key = output_key(attempt_id, name)
        if key not in await self._sizes_of(attempt_id):
            return None
        if offset < 0 or length <= 0:
            return b""
        try:
            return await self._objects.read(key, offset, length)
        except NotFound:
            self._sizes.pop(attempt_id, None)
            raise NotFound("output", attempt_id) from None

    async def _sizes_of(self, attempt_id: AttemptId) -> dict[str, int]:
        """Sizes of the parts by their keys. Raises ``NotFound`` if there are none."""
        known = self._sizes.get(attempt_id)
        if known is not None:
            self._sizes.move_to_end(attempt_id)
            return known
        if not _ID.match(attempt_id):
            raise NotFound("output", attempt_id)
        found = await self._objects.list_objects(output_key(attempt_id, ""))
        sizes = {one.key: one.size_bytes for one in found}
        if output_key(attempt_id, Stream.STDOUT) not in sizes:
            raise NotFound("output", attempt_id)
        self._sizes[attempt_id] = sizes
        while len(self._sizes) > _KEPT:
            self._sizes.popitem(last=False)
        return sizes


class ObjectResults:
    """Implements ``ports.functions.ResultFiles``; they go with their attempt's output."""

    def __init__(self, objects: ObjectStore, *, patience_s: float = PATIENCE_S) -> None:
        """A write is repeated for ``patience_s`` while the object store is away."""
        self._objects = objects
        self._patience_s = patience_s

    async def write(self, attempt_id: AttemptId, body: bytes) -> None:
        """See the port."""
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        give_up_at = anyio.current_time() + self._patience_s
        while True:
            try:
                await self._write(RESULTS + attempt_id, body)
            except StorageFull:
                raise
            except Unavailable:
                # The call is over, and could not be repeated for this.
                if anyio.current_time() >= give_up_at:
                    raise
                await anyio.sleep(backoff.delay_s())
            else:
                return

    async def _write(self, key: str, body: bytes) -> None:
        while not await self._objects.put(key, body):
            # Another answer of the same attempt: that does not happen, but the last one counts.
            await self._objects.delete([key])

    async def read(self, attempt_id: AttemptId) -> bytes:
        """See the port."""
        key, body = RESULTS + attempt_id, bytearray()
        try:
            size = await self._objects.size(key)
            while len(body) < size:
                body += await self._objects.read(key, len(body), size - len(body))
        except NotFound:
            raise NotFound("result", attempt_id) from None
        return bytes(body)
