"""Output of attempts, wherever it is: in files while they run, in the store if there was little."""

from typing import Final

from msgspec import Struct

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Attempt, StreamSize
from taskyard.core.errors import InvalidInput, NotFound, StoreDamaged
from taskyard.core.ids import TaskId
from taskyard.core.output_index import FILE
from taskyard.core.states import ENDED_ATTEMPT
from taskyard.ports.logs import LogStore, Stream
from taskyard.ports.store import TaskStore

LARGEST_SLICE_BYTES: Final = 8 << 20


class LogSlice(Struct, frozen=True):
    """A part of one stream, and what is known of the whole."""

    attempt: Attempt
    """As it was when the slice was read."""
    data: bytes
    offset: int
    """Where ``data`` begins, as asked for; may lie past the end."""
    size: int
    """Bytes that can be read in all; grows while ``complete`` is false."""
    dropped: int
    """Bytes beyond the limit that were not kept."""
    complete: bool
    """Whether the attempt has ended, so that nothing will be added."""


class Logs:
    """Reads output on behalf of callers."""

    def __init__(self, store: TaskStore, files: LogStore) -> None:
        self._store = store
        self._files = files

    async def read(
        self,
        caller: Caller,
        task_id: TaskId,
        stream: Stream,
        attempt: int | None,
        offset: int,
        length: int,
    ) -> LogSlice:
        """Up to ``length`` bytes (8 MiB at most) from ``offset``; short only at the present end.

        ``attempt`` counts from 1; None is the latest.

        Raises:
            NotFound: no such task in the caller's workspace, or no such attempt yet.
            InvalidInput: a negative offset or length.
            StoreDamaged: what was kept at this offset is not there any more.
            Unavailable: it is beside a control plane that cannot be asked for it now.
        """
        check_offset("offset", offset, least=0)
        check_offset("length", length, least=0)
        found = await self.resolve(caller, task_id, attempt)
        return await self.slice(found, stream, offset, length)

    async def resolve(self, caller: Caller, task_id: TaskId, attempt: int | None) -> Attempt:
        """The attempt with this number, the latest for None. Raises ``NotFound``."""
        attempts = await self._store.attempts(caller.workspace, task_id)
        for found in reversed(attempts):
            if attempt is None or found.number == attempt:
                return found
        raise NotFound("attempt", f"{task_id}/{'latest' if attempt is None else attempt}")

    async def slice(self, attempt: Attempt, stream: Stream, offset: int, length: int) -> LogSlice:
        """As :meth:`read`, for an attempt at hand.

        Raises ``NotFound`` if it was deleted, and ``StoreDamaged``.
        """
        length = min(length, LARGEST_SLICE_BYTES)
        if attempt.state not in ENDED_ATTEMPT:
            found = await self._in_files(attempt, stream, offset, length)
            if found.data and len(found.data) == length:
                return found
            # It ends here, or it is not there any more: perhaps it has ended since then and was
            # copied into the store, which comes before its files go.
            attempt = await self._store.attempt(attempt.workspace, attempt.id)
            if attempt.state not in ENDED_ATTEMPT:
                return found
        inline_output = await self.inline_output(attempt, stream)
        if inline_output is None:
            return await self._in_files(attempt, stream, offset, length)
        dropped = _stored(attempt, stream).dropped_bytes
        data = inline_output[offset : offset + length]
        return LogSlice(attempt, data, offset, len(inline_output), dropped, complete=True)

    async def inline_output(self, attempt: Attempt, stream: Stream) -> bytes | None:
        """The whole stream of an ended attempt if the store has it; None if files have it."""
        if not _stored(attempt, stream).stored_bytes:
            # Empty, or (when the worker was lost) of a size that nobody could report.
            return None
        return await self._store.inline_output(attempt.id, stream.value)

    async def all_inline_output(self, attempt: Attempt) -> dict[str, bytes]:
        """Both streams of an ended attempt, and the order of their bytes, if the store has them."""
        found = {}
        for stream in Stream:
            data = await self.inline_output(attempt, stream)
            if data is not None:
                found[stream.value] = data
        order = await self._store.inline_output(attempt.id, FILE) if found else None
        return found if order is None else {**found, FILE: order}

    async def _in_files(
        self, attempt: Attempt, stream: Stream, offset: int, length: int
    ) -> LogSlice:
        size = await self._files.size(attempt.id, stream)
        kept_bytes = size.stored_bytes
        if attempt.state in ENDED_ATTEMPT and kept_bytes < _stored(attempt, stream).stored_bytes:
            # It may have been deleted in this moment, with its task.
            attempt = await self._store.attempt(attempt.workspace, attempt.id)
            kept_bytes = _stored(attempt, stream).stored_bytes
            if size.stored_bytes <= offset < max(1, kept_bytes):
                raise StoreDamaged(
                    f"{kept_bytes - size.stored_bytes} bytes of {stream} of attempt "
                    f"{attempt.number} are gone: deleted from the server's disk, or damaged"
                )
        length = min(length, size.stored_bytes - offset)
        data = await self._files.read(attempt.id, stream, offset, length) if length > 0 else b""
        return LogSlice(
            attempt,
            data,
            offset,
            kept_bytes,
            max(size.dropped_bytes, _stored(attempt, stream).dropped_bytes),
            complete=attempt.state in ENDED_ATTEMPT,
        )


def check_offset(field: str, value: int, *, least: int) -> None:
    """Raise ``InvalidInput`` naming ``field`` if the value is below ``least``."""
    if value < least:
        raise InvalidInput(field, f"must be at least {least}")


def _stored(attempt: Attempt, stream: Stream) -> StreamSize:
    return attempt.stdout if stream is Stream.STDOUT else attempt.stderr
