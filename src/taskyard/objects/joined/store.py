"""A worker's end: an object store that control planes keep for it."""

import secrets
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import anyio

from taskyard.core.backoff import Backoff
from taskyard.core.errors import Conflict, NotAllowed, Overloaded, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.objects.blocks import blocks
from taskyard.objects.joined.wire import (
    KNOWN,
    MOST_KNOWN,
    PUT,
    Known,
    Put,
    Taken,
    answered,
    encode,
)
from taskyard.objects.keys import check_key
from taskyard.objects.output import ObjectResults
from taskyard.ports.messages import PlaneMessages
from taskyard.ports.objects import ABANDONED_S, Content, StoredObject

PIECE_BYTES: Final = 512 << 10
AROUND_BYTES: Final = 1024
"""Room for what is around the bytes of a piece."""
UNDER_WAY: Final = 2
"""Pieces that wait for their answers at once: heartbeats share the connection with them."""
ANSWER_S: Final = 30.0
PATIENCE_S: Final = 30.0
"""Seconds for which control planes that take no more uploads are asked again."""
_RETRY_S: Final = (0.1, 2.0)


class JoinedObjects:
    """Implements ``ports.objects.ObjectStore`` for what a worker may: it puts.

    All else raises ``NotAllowed``; so does a put for an attempt that is not the worker's.
    """

    def __init__(self, messages: PlaneMessages) -> None:
        self._messages = messages
        self._under_way = anyio.Semaphore(UNDER_WAY)

    async def put(self, key: str, content: Content) -> bool:
        """See the port. Each piece goes out when the one before is acknowledged."""
        check_key(key)
        upload, offset = secrets.token_hex(16), 0
        most = min(PIECE_BYTES, self._messages.room_bytes - AROUND_BYTES)
        ready: bytes | None = None
        what = PUT
        async with aclosing(blocks(content, most)) as parts:
            async for part in parts:
                if ready is not None:
                    taken = await self._send(what, Put(upload, key, offset, ready))
                    if taken.is_stored:
                        return taken.is_new
                    what, offset = f"{PUT}-{taken.plane}", offset + len(ready)
                ready = part
        taken = await self._send(what, Put(upload, key, offset, ready or b"", is_last=True))
        if not taken.is_stored:
            raise Unavailable(f"the object {key} was not stored as a whole")
        return taken.is_new

    async def _send(self, what: str, piece: Put) -> Taken:
        backoff, give_up_at = Backoff(*_RETRY_S), anyio.current_time() + PATIENCE_S
        while True:
            try:
                async with self._under_way:
                    return answered(Taken, await self._ask(what, encode(piece)))
            except Overloaded as error:
                # Told before anything of the piece was taken.
                if anyio.current_time() >= give_up_at:
                    raise Unavailable(str(error)) from error
            await anyio.sleep(backoff.delay_s())

    async def size(self, key: str) -> int:
        """Raises ``NotAllowed``."""
        del key
        raise NotAllowed("workers read no objects")

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Raises ``NotAllowed``."""
        del key, offset, length
        raise NotAllowed("workers read no objects")

    async def _ask(self, what: str, payload: bytes) -> bytes:
        try:
            return await self._messages.ask_planes(what, payload, ANSWER_S)
        except Conflict as error:
            # The plane that took the pieces before is another one now, or gave it up.
            raise Unavailable(str(error)) from error

    async def known(self, attempt_ids: Sequence[AttemptId]) -> set[AttemptId]:
        """Those of these whose output control planes would take. Raises ``Unavailable``."""
        found: set[AttemptId] = set()
        for begin in range(0, len(attempt_ids), MOST_KNOWN):
            batch = list(attempt_ids[begin : begin + MOST_KNOWN])
            found.update(answered(Known, await self._ask(KNOWN, encode(Known(batch)))).attempts)
        return found

    async def delete(self, keys: Sequence[str], *, older_than_s: float | None = None) -> None:
        """Raises ``NotAllowed``."""
        del keys, older_than_s
        raise NotAllowed("workers delete no objects")

    async def list_objects(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> list[StoredObject]:
        """Raises ``NotAllowed``."""
        del prefix, after, limit
        raise NotAllowed("workers list no objects")

    async def sweep(self, older_than_s: float = ABANDONED_S) -> int:
        """Control planes do that."""
        del older_than_s
        return 0


class JoinedResults(ObjectResults):
    """Answers of calls, kept by control planes.

    One that is there already stays: its attempt is this worker's and ran once, so it is the same
    one, whose acknowledgement was lost.
    """

    async def _write(self, key: str, body: bytes) -> None:
        await self._objects.put(key, body)
