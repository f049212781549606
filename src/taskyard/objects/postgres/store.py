"""Objects in tables: a row for each, and its bytes in rows of equal length.

1. What fits into one batch is stored in one transaction.
2. Of what is longer each batch is a transaction of its own, so that none is long. Until the last
   one gives it a key, what was written is an *orphan*: nobody sees it.
3. To delete an object is to take it its key; its bytes, an orphan again, are removed after that.
4. Whatever a crash leaves is an orphan that nobody writes to: the sweep removes it.

All that touches an orphan locks its row first, so that a sweep and a late writer cannot meet.
"""

import zlib
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import anyio
import structlog

from taskyard.core.errors import NotFound, StoreDamaged, TaskyardError, Unavailable
from taskyard.objects.blocks import blocks
from taskyard.objects.keys import check_key, check_prefix, check_range
from taskyard.objects.postgres.connections import Connection, Connections, queries
from taskyard.ports.objects import ABANDONED_S, LARGEST_READ_BYTES, Content, StoredObject

CHUNK_BYTES: Final = 128 << 10
"""Of new objects; each remembers its own."""
_BATCH_CHUNKS: Final = 16
_LEVEL: Final = 1
"""Of compression: higher ones take several times as long and gain little."""
_SWEPT_AT_ONCE: Final = 100
_LAST: Final = "\U0010ffff"
"""Sorted behind everything that keys are made of."""

_SQL: Final = queries("taskyard.objects.postgres.queries", "objects.sql")

log = structlog.get_logger(__name__)


class PostgresObjectStore:
    """Implements ``ports.objects.ObjectStore``. The store's migrations make its tables.

    Args:
        conninfo: where the database is, as libpq takes it.
        connections: at once.
        chunk_bytes: length of the chunks of new objects.
    """

    def __init__(
        self, conninfo: str, connections: int = 6, *, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self._connections = Connections(conninfo, connections)
        self._chunk_bytes = chunk_bytes

    async def close(self) -> None:
        """Let the database go. May be called twice."""
        await self._connections.close()

    async def put(self, key: str, content: Content) -> bool:
        """See the port."""
        check_key(key)
        run = self._connections.run
        if await run(lambda connection: _do(connection, "renew", key=key).rowcount > 0):
            return False
        upload = _Upload(key, self._chunk_bytes)
        try:
            async with aclosing(blocks(content, self._chunk_bytes * _BATCH_CHUNKS)) as batches:
                last = b""
                async for batch in batches:
                    if last:
                        upload.content_id = upload.content_id or await run(_next_content)
                        await run(partial(upload.add, last))
                        upload.added(last)
                    last = batch
            return await run(partial(upload.end, last))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._abandon(upload)
            raise

    async def size(self, key: str) -> int:
        """See the port."""
        check_key(key)
        found = await self._connections.run(
            lambda connection: _do(connection, "size_of", key=key).fetchone()
        )
        if found is None:
            raise NotFound("object", key)
        return int(found[0])

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """See the port."""
        check_key(key)
        check_range(offset, length)
        # Beyond what any object has; numbers stay small enough for the database.
        begin = min(offset, 1 << 60)
        end = begin + min(length, LARGEST_READ_BYTES)
        return await self._connections.run(partial(_read, key, begin, end))

    async def delete(self, keys: Sequence[str], *, older_than_s: float | None = None) -> None:
        """See the port."""
        for key in keys:
            check_key(key)
        if not keys:
            return
        older_than_us = -(1 << 60) if older_than_s is None else round(older_than_s * 1e6)
        unlinked = await self._connections.run(
            lambda connection: _do(
                connection, "unlink_objects", keys=sorted(keys), older_than_us=older_than_us
            ).fetchall()
        )
        for (content_id,) in unlinked:
            await self._connections.run(partial(_remove, content_id, 0.0))

    async def list_objects(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> list[StoredObject]:
        """See the port."""
        check_prefix("prefix", prefix)
        check_prefix("after", after)
        found = await self._connections.run(
            lambda connection: _do(
                connection,
                "list_objects",
                prefix=prefix,
                behind=prefix + _LAST,
                after=after,
                count=limit,
            ).fetchall()
        )
        return [StoredObject(key, size, max(0.0, age_us / 1e6)) for key, size, age_us in found]

    async def sweep(self, older_than_s: float = ABANDONED_S) -> int:
        """See the port."""
        count = 0
        older_than_us = round(older_than_s * 1e6)
        while True:
            found = await self._connections.run(
                lambda connection: _do(
                    connection, "orphans", older_than_us=older_than_us, count=_SWEPT_AT_ONCE
                ).fetchall()
            )
            removed = 0
            for (content_id,) in found:
                removed += await self._connections.run(partial(_remove, content_id, older_than_s))
            count += removed
            if not removed:
                return count

    async def _abandon(self, upload: "_Upload") -> None:
        """Remove what was written of an object that is not going to be complete."""
        if upload.content_id is None:
            return
        try:
            await self._connections.run(partial(_remove, upload.content_id, None))
        except TaskyardError as error:
            log.warning("object_left_unfinished", key=upload.key, reason=str(error))


class _Upload:
    """What was written of one object so far. Its transactions change nothing here."""

    def __init__(self, key: str, chunk_bytes: int) -> None:
        self.key = key
        self.content_id: int | None = None
        """Set if it takes more than one batch."""
        self._chunk_bytes = chunk_bytes
        self._size = 0

    def added(self, batch: bytes) -> None:
        """These chunks are stored."""
        self._size += len(batch)

    def add(self, batch: bytes, connection: Connection) -> None:
        """Store the next chunks, which are not the last."""
        # What is lost with the database is swept; only the last batch has to be on disk.
        connection.execute("SET LOCAL synchronous_commit = off")
        if self._size:
            self._still_ours(_do(connection, "keep_content", content_id=self.content_id))
        else:
            _do(connection, "begin_content", content_id=self.content_id)
        self._write(connection, self.content_id, batch)

    def end(self, batch: bytes, connection: Connection) -> bool:
        """Store the last chunks and give the object its key; False if another one has it."""
        content_id = self.content_id
        if content_id is None:
            content_id = _next_content(connection)
        else:
            self._still_ours(_do(connection, "end_content", content_id=content_id))
        has = _do(
            connection,
            "add_object",
            key=self.key,
            content_id=content_id,
            size_bytes=self._size + len(batch),
            chunk_bytes=self._chunk_bytes,
        ).fetchone()
        if has != (content_id,):
            _do(connection, "remove_chunks", content_id=content_id)
            return False
        self._write(connection, content_id, batch)
        return True

    def _still_ours(self, cursor: Any) -> None:
        if not cursor.rowcount:
            raise Unavailable(f"the object {self.key} was swept away before it was complete")

    def _write(self, connection: Connection, content_id: int | None, batch: bytes) -> None:
        first, length = self._size // self._chunk_bytes, self._chunk_bytes
        chunks = [_packed(batch[begin : begin + length]) for begin in range(0, len(batch), length)]
        _do(
            connection,
            "add_chunks",
            content_id=content_id,
            numbers=list(range(first, first + len(chunks))),
            packed=[int(is_packed) for is_packed, _ in chunks],
            data=[data for _, data in chunks],
        )


def _do(connection: Connection, query: str, **values: Any) -> Any:
    return connection.execute(_SQL[query], values, binary=True)


def _next_content(connection: Connection) -> int:
    return int(_do(connection, "next_content").fetchone()[0])


def _remove(content_id: int, older_than_s: float | None, connection: Connection) -> int:
    """Remove an orphan that nobody has written to for so long; how many were removed."""
    older_than_us = -(1 << 60) if older_than_s is None else round(older_than_s * 1e6)
    if _do(
        connection, "lock_orphan", content_id=content_id, older_than_us=older_than_us
    ).fetchone():
        _do(connection, "remove_chunks", content_id=content_id)
        _do(connection, "end_content", content_id=content_id)
        return 1
    return 0


def _read(key: str, begin: int, end: int, connection: Connection) -> bytes:
    rows = _do(connection, "read_range", key=key, begin=begin, end=end).fetchall()
    if not rows:
        raise NotFound("object", key)
    _, size, chunk_bytes, *_ = rows[0]
    end = min(end, size)
    if begin >= end:
        return b""
    first, last = begin // chunk_bytes, (end - 1) // chunk_bytes
    parts = []
    for expected, (*_, number, packed, data) in zip(range(first, last + 1), rows, strict=False):
        length = min(chunk_bytes, size - expected * chunk_bytes)
        part = _unpacked(data, length) if packed else data
        if number != expected or len(part) != length:
            break
        parts.append(part)
    if len(parts) != last + 1 - first:
        raise StoreDamaged(f"the object {key} is damaged: a part of it is missing")
    parts[-1] = parts[-1][: end - last * chunk_bytes]
    parts[0] = parts[0][begin - first * chunk_bytes :]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _packed(data: bytes) -> tuple[bool, bytes]:
    """Data compressed, or as it is if that gains little."""
    packed = zlib.compress(data, _LEVEL)
    return (True, packed) if len(packed) < len(data) * 0.9 else (False, data)


def _unpacked(data: bytes, most: int) -> bytes:
    """What was compressed; no more of it than there may be."""
    try:
        return zlib.decompressobj().decompress(data, most + 1)
    except zlib.error:
        return b""
