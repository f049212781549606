"""One attempt whose output is followed: what comes next, in the order in which it was written."""

from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from taskyard.core.attempts import Attempt
from taskyard.core.errors import StoreDamaged
from taskyard.core.instants import Instant
from taskyard.core.output_index import FILE, STDERR, STDOUT, Merge, Run
from taskyard.core.states import ENDED_ATTEMPT
from taskyard.ports.logs import Chunk, LogStore, Stream
from taskyard.services.tasks.logs import Logs

CHUNK_BYTES: Final = 64 << 10
ORDER_S: Final = 0.1
"""How long output is held back because the order in which it came is not known yet. It is written a
moment after the output; where nothing comes, the order matters less than the output."""
_ORDER_BYTES: Final = 16 << 10
"""How much of it is read at once."""
_STREAMS: Final = {STDOUT: Stream.STDOUT, STDERR: Stream.STDERR}
_NUMBERS: Final = {stream: number for number, stream in _STREAMS.items()}


class Output(Chunk, frozen=True):
    """A run of bytes of one stream of the followed attempt."""

    attempt: int
    """Number of the attempt."""
    at: Instant | None = None
    """When it was written, if that was asked for and is known."""


class FollowedAttempt:
    """The attempt that is followed, how far, and where its output is read from."""

    def __init__(
        self, logs: Logs, files: LogStore, merge: Merge, attempt: Attempt, *, timed: bool = False
    ) -> None:
        """Go on at the place of ``merge``; with ``timed``, piece by piece as it was written."""
        self.attempt = attempt
        self.seen_bytes = 0
        """What both streams together held when :meth:`next` last looked."""
        self.is_behind = False
        """Whether there is output that is held back."""
        self._logs = logs
        self._files = files
        self._merge = merge
        self._timed = timed
        self._sizes = (0, 0)
        self._impatient_at: float | None = None
        self._has_order = True
        self._turn = STDOUT
        self._inline_output: dict[str, bytes] = {}
        self._ahead = dict.fromkeys(Stream, (0, b""))
        """Read already: where it begins, and the bytes."""
        self._readable: dict[Stream, int] = {}
        """Bytes in front of what is damaged."""

    @property
    def ended(self) -> bool:
        """Whether nothing will be added."""
        return self.attempt.state in ENDED_ATTEMPT

    async def locate(self) -> None:
        """Find out where the output is, for this state of the attempt."""
        if self.ended:
            self._inline_output = await self._logs.all_inline_output(self.attempt)

    async def next(self) -> Output | None:
        """The next bytes of either stream; None when there are none at present."""
        run = self._merge.take(self._sizes, CHUNK_BYTES, timed=self._timed)
        if run is None:
            await self._look()
            run = await self._next_run()
        while run is not None:
            stream = _STREAMS[run.stream]
            data = await self._read(stream, run.offset, run.size_bytes)
            self._merge.offsets[run.stream] = run.offset + len(data)
            if data:
                at = None if run.at_us is None else Instant(run.at_us)
                return Output(stream, run.offset, data, self.attempt.number, at)
            # Deleted, or on its way to another place; there may be more of the other stream.
            out, err = self._sizes
            self._sizes = (0, err) if run.stream == STDOUT else (out, 0)
            run = await self._next_run()
        return None

    async def _look(self) -> None:
        self._sizes = (await self.size(Stream.STDOUT), await self.size(Stream.STDERR))
        self.seen_bytes = sum(self._sizes)

    async def size(self, stream: Stream) -> int:
        """Bytes that can be read now."""
        return self._readable.get(stream, await self._size(stream))

    async def missing(self, stream: Stream) -> int:
        """Bytes that were kept and cannot be read any more."""
        kept = self.attempt.stdout if stream is Stream.STDOUT else self.attempt.stderr
        present = await self._size(stream)
        return max(kept.stored_bytes, present) - self._readable.get(stream, present)

    async def _size(self, stream: Stream) -> int:
        if stream.value in self._inline_output:
            return len(self._inline_output[stream.value])
        return (await self._files.size(self.attempt.id, stream)).stored_bytes

    async def _next_run(self) -> Run | None:
        merge = self._merge
        run = self._take()
        while run is None and merge.wants_more and await self._feed():
            run = self._take()
        if run is None and (not self._is_patient or await self._is_next()):
            run = merge.rest(self._sizes, CHUNK_BYTES, STDOUT if self.ended else self._turn)
            if run is not None:
                self._turn = STDOUT + STDERR - run.stream
        self.is_behind = run is None and self._has_unread
        if self.is_behind and self._impatient_at is None:
            self._impatient_at = anyio.current_time() + ORDER_S
        return run

    async def _is_next(self) -> bool:
        """Whether what is not in the index yet comes next for certain, and needs no time.

        All of it is of one stream, and there was nothing of the other one when it was there.
        """
        out, err = self._sizes
        offsets = self._merge.offsets
        if self._timed or not self._merge.wants_more:
            return False
        if 0 <= offsets[STDOUT] < out:
            return offsets[STDERR] < 0 or offsets[STDERR] >= await self.size(Stream.STDERR)
        return 0 <= offsets[STDERR] < err and (
            offsets[STDOUT] < 0 or offsets[STDOUT] >= await self.size(Stream.STDOUT)
        )

    def _take(self) -> Run | None:
        return self._merge.take(
            self._sizes, CHUNK_BYTES, timed=self._timed, patient=self._is_patient
        )

    @property
    def _is_patient(self) -> bool:
        """Whether more may become known about the order of what is there."""
        if self.ended or not self._has_order or self._merge.is_over:
            return False
        return self._impatient_at is None or anyio.current_time() < self._impatient_at

    @property
    def _has_unread(self) -> bool:
        offsets = self._merge.offsets
        return any(
            0 <= offsets[number] < size
            for number, size in zip((STDOUT, STDERR), self._sizes, strict=True)
        )

    async def _feed(self) -> bool:
        """Learn more of the order; False if there is nothing more at present."""
        await checkpoint()  # of a large index, all may have to be passed over
        begin = self._merge.taken_bytes
        if self._inline_output:
            order = self._inline_output.get(FILE, b"")[begin : begin + _ORDER_BYTES]
        else:
            found = await self._files.order(self.attempt.id, begin, _ORDER_BYTES)
            self._has_order = found is not None
            order = found or b""
        self._merge.feed(order)
        if self._merge.taken_bytes == begin:
            return False
        self._impatient_at = None
        return True

    async def _read(self, stream: Stream, offset: int, length: int) -> bytes:
        """Bytes from the part that was read ahead: many pieces are short."""
        if stream.value in self._inline_output:
            return self._inline_output[stream.value][offset : offset + length]
        begin, data = self._ahead[stream]
        if not begin <= offset <= offset + length <= begin + len(data):
            size = self._sizes[_NUMBERS[stream] - 1]
            try:
                data = await self._files.read(
                    self.attempt.id, stream, offset, min(CHUNK_BYTES, size - offset)
                )
            except StoreDamaged:
                # Who reads the file has it in the log; what comes behind it is not shown either.
                self._readable[stream] = offset
                data = b""
            begin = offset
            self._ahead[stream] = (begin, data)
        return data[offset - begin : offset - begin + length]
