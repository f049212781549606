"""What a process prints that answers calls: taken from its pipes, and kept for the call it has.

Little output stays in memory and travels with the answer. More of it, or what is to be followed,
goes into files of ours in the attempt's directory; the process can neither name nor truncate them.
"""

import asyncio
import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.runtimes.function.written_outputs import PAUSE_S, WrittenOutputs
from taskyard.runtimes.output.attempt_files import STREAMS, OutputFiles
from taskyard.runtimes.output.interleaving import Interleaving, Run
from taskyard.runtimes.output.meta import write_meta
from taskyard.runtimes.output.pipes import OutputPipe

CARRIED_BYTES: Final = 16 << 10
"""Both streams together, in memory at most."""
IDLE_BYTES: Final = 8 << 10
"""Kept of what is printed between two calls; the next one gets it."""
_TURN_BYTES: Final = 64 << 10
"""Read from one pipe in one turn of the loop."""
_PERIOD_S: Final = 0.1
_PERIOD_TURNS: Final = 100
"""Turns in so much time, and how many bytes, after which there is a pause before each: who prints
without end, or in tiny pieces, shares the loop with others."""
_PERIOD_BYTES: Final = 1 << 20
_PERIOD_WRITES: Final = 10_000
"""Writes of which the order is found out in that time, unless there are that many bytes."""
_LOOKS: Final = 3
"""At the end of a call, at most: whoever still writes is not waited for."""

Printed = dict[str, bytes]

_log = structlog.get_logger(__name__)


class Descriptor:
    """A descriptor that is sent to another process, and then closed."""

    def __init__(self, number: int) -> None:
        """Take it over."""
        self._number = number

    def fileno(self) -> int:
        """The number."""
        return self._number

    def close(self) -> None:
        """Close it; may be called twice."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


class MemberOutput:
    """Both pipes of one process. Belongs to the running loop."""

    def __init__(
        self,
        closed: Callable[["MemberOutput"], None] = lambda _self: None,
        written: WrittenOutputs | None = None,
    ) -> None:
        """Make the pipes. Raises ``OSError``.

        Args:
            closed: is told when they are closed.
            written: tells of writes; without it their order is a guess.
        """
        self._closed = closed
        self._outputs = written
        self._signals = None if written is None else written.signals
        self._is_flooded = False
        """Whether this call writes too much for that."""
        self._is_told = False
        """Whether each write to the pipes is noted."""
        self._interleaving = Interleaving()
        self.written = self._interleaving.written
        self.is_unsure = False
        self._unplaced = [b"", b""]
        """Of each stream, what was read and has no place in the order yet."""
        self._pipes: list[OutputPipe] = []
        self._poll = select.poll()
        self._pause: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._period_at = 0.0
        self._turns = 0
        self._bytes = 0
        self._writes = 0
        self._directory: Path | None = None
        self._limit = 0
        self._parts: list[tuple[int, bytes, int]] = []
        """What is in memory, in the order in which it came, with the time in microseconds."""
        self._size = 0
        self._is_shown = False
        self._files: OutputFiles | None = None
        self._is_whole = True
        try:
            for _ in STREAMS:
                pipe = OutputPipe.new()
                self._pipes.append(pipe)
                self._poll.register(pipe.reading, select.POLLIN)
            self._listen()
        except OSError:
            self.close()
            raise

    def ends(self, owner: tuple[int, int] | None) -> list[Descriptor]:
        """What the process gets as its output and its errors. Raises ``OSError``.

        ``owner`` is whom it runs as, if that is not us.
        """
        out, err = self._pipes
        first = Descriptor(out.work_end(owner, outlives_us=False))
        try:
            return [first, Descriptor(err.work_end(owner, outlives_us=False))]
        except OSError:
            first.close()
            raise

    def begin(self, directory: Path, limit_bytes: int) -> None:
        """A call begins; what was printed since the last one is taken for its own."""
        self._directory, self._limit, self._is_whole = directory, limit_bytes, True
        if self._is_flooded:
            self._is_flooded = False
            if self._pause is None:
                self._leave()
                self._listen()

    @property
    def is_in_files(self) -> bool:
        """Whether what the call prints is in the attempt's directory."""
        return self._files is not None

    def show(self) -> None:
        """Let it be followed from now on; once it is, look after the room on the disk."""
        self._is_shown = True
        if self._files is None:
            if self._parts:
                self._spill()
            return
        try:
            self._files.look()
        except OSError as error:
            _log.warning("output not looked after", error=str(error))

    def finish(self) -> Printed | None:
        """The call is over: what it printed, if it is in memory; None if it is in files.

        With the index of their order under ``order`` if there is something of both streams. What is
        in the pipes now is taken, and no more, whoever goes on printing.
        """
        if self._is_told and (self._unplaced != [b"", b""] or self._poll.poll(0)):
            for _ in range(_LOOKS):
                self._take_both(waits=False)
            self._place_rest()
        if self._poll.poll(0):
            for index, pipe in enumerate(self._pipes):
                left = pipe.waiting_bytes()
                while left > 0 and (data := pipe.read(left)):
                    left -= len(data)
                    self._take(index, data)
        if self._files is not None:
            return None
        parts = self._parts
        self._reset()
        return _joined(parts) if parts else {}

    def settle(self) -> dict[str, StreamSize]:
        """Sizes of what is in the files, which are closed."""
        if self._files is None:
            return {}
        with contextlib.suppress(OSError):
            self._files.look()
        self._files.close()
        sizes = {
            stream: StreamSize(size["stored_bytes"], size["dropped_bytes"])
            for stream, size in self._files.sizes().items()
        }
        self._files = None
        self._reset()
        return sizes

    def _reset(self) -> None:
        self._directory = None
        self._is_shown = False
        if self._parts:
            self._parts = []
            self._size = 0

    def _listen(self) -> None:
        if self._signals is not None and not self._is_flooded:
            try:
                for index, pipe in enumerate(self._pipes):
                    self._signals.listen(pipe, self, index)
            except OSError:
                for pipe in self._pipes:
                    self._signals.ignore(pipe)
            else:
                self._is_told = self.is_unsure = True
                self._take_both()
                return
        loop = asyncio.get_running_loop()
        for index, pipe in enumerate(self._pipes):
            loop.add_reader(pipe.reading, self._arrived, index)

    def _leave(self) -> None:
        """Be woken by nothing."""
        loop = asyncio.get_running_loop()
        for pipe in self._pipes:
            if self._is_told and self._signals is not None:
                self._signals.ignore(pipe)
            else:
                loop.remove_reader(pipe.reading)
        if self._is_told:
            self._is_told = False
            self._place_rest()

    def _arrived(self, index: int) -> None:
        data = self._pipes[index].read(_TURN_BYTES)
        self._take(index, data)
        self._count_turn(len(data))

    def take_written(self) -> None:
        """Something was noted in :attr:`written`."""
        if self._is_told:
            self._count_turn(self._take_both())

    def _take_both(self, *, waits: bool = True) -> int:
        """Take what is in both pipes, in the order in which it was written; how much that was.

        With ``waits`` a signal that is on its way is waited for, with the place of what it tells.
        """
        if self._signals is None:
            return 0
        sure, left = self._signals.look(self, (self._pipes[0], self._pipes[1]))
        is_late = len(self.written) > sure
        self._writes += len(self.written)
        parts = [
            pipe.read(min(size, _TURN_BYTES)) if size else b""
            for pipe, size in zip(self._pipes, left, strict=True)
        ]
        sizes = (len(parts[0]), len(parts[1]))
        for index, data in enumerate(parts):
            self._unplaced[index] += data
        if self.is_unsure or sizes != left:
            self.is_unsure = False
            self._place_rest()
        elif self._interleaving.is_plain(sure, sizes):
            self._place(enumerate(sizes))
        else:
            self._place(self._interleaving.divide(sure, sizes, self._last, waits=waits))
        if (is_waiting := self._interleaving.is_waiting) and self._outputs is not None:
            self._outputs.wait_for_signals(self)
        if is_late or (self.written and not is_waiting) or sizes != left:
            # No signal says this once more; but others have their turn.
            asyncio.get_running_loop().call_soon(self.take_written)
        return sum(sizes)

    def _last(self, index: int, count: int) -> bytes:
        return self._unplaced[index][-count:]

    def wait_no_more(self) -> None:
        """A signal that was waited for should have come."""
        if self._is_told and self._interleaving.is_waiting:
            self._take_both(waits=False)

    def _place(self, runs: Iterable[Run]) -> None:
        for index, size in runs:
            data = self._unplaced[index]
            self._unplaced[index] = data[size:]
            self._take(index, data[:size])

    def _place_rest(self) -> None:
        self._place(self._interleaving.forget())
        self._place([(index, len(data)) for index, data in enumerate(self._unplaced) if data])

    def _count_turn(self, size: int) -> None:
        self._turns += 1
        self._bytes += size
        if self._turns > _PERIOD_TURNS or self._is_much:
            self._rest_if_busy()

    @property
    def _is_much(self) -> bool:
        return self._bytes > _PERIOD_BYTES or self._writes > _PERIOD_WRITES

    def _rest_if_busy(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now > self._period_at + _PERIOD_S:
            self._period_at, self._turns, self._bytes, self._writes = now, 0, 0, 0
            return
        if self._is_told and self._outputs is not None and not self._is_much:
            self._outputs.rest()
        elif self._pause is None:
            self._leave()
            self._is_flooded = True
            self._pause = loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        for index, pipe in enumerate(self._pipes):
            self._take(index, pipe.read(_TURN_BYTES))
        self._listen()

    def _take(self, index: int, data: bytes) -> None:
        if not data:
            return
        if self._files is not None:
            self._write(index, data)
            return
        if self._directory is None:
            # Nobody's, until the next call.
            data = data[: IDLE_BYTES - self._size]
            if not data:
                return
        self._parts.append((index, data, time.time_ns() // 1000))
        self._size += len(data)
        if self._directory is not None and (self._is_shown or self._size > CARRIED_BYTES):
            self._spill()

    def _spill(self) -> None:
        """Go on in files."""
        if self._directory is None:
            return
        directory = str(self._directory)
        try:
            self._directory.mkdir(mode=0o711, exist_ok=True)
            write_meta(directory, self._limit)
        except OSError as error:
            self._complain(error)
        self._files = OutputFiles(directory, self._limit)
        parts, self._parts, self._size = self._parts, [], 0
        for index, data, _ in parts:
            self._write(index, data)

    def _write(self, index: int, data: bytes) -> None:
        if self._files is not None:
            try:
                self._files.write(index, data)
            except OSError as error:
                # It counts as dropped.
                self._complain(error)
            flush_in_s = self._files.flush_in_s
            if self._flush is None and flush_in_s is not None:
                self._flush = asyncio.get_running_loop().call_later(flush_in_s, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        if self._files is not None:
            self._files.flush()

    def _complain(self, error: OSError) -> None:
        if self._is_whole:
            _log.warning("output lost", directory=str(self._directory), error=str(error))
        self._is_whole = False

    def close(self) -> None:
        """Let go of the pipes; may be called twice."""
        if not self._pipes:
            return
        loop = asyncio.get_running_loop()
        for timer in (self._pause, self._flush):
            if timer is not None:
                timer.cancel()
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            self._poll.unregister(pipe.reading)
            if self._is_told and self._signals is not None:
                self._signals.forget(pipe)
            else:
                loop.remove_reader(pipe.reading)
            pipe.close()
        if self._signals is not None:
            self._signals.waiting.pop(self, None)
        self._is_told = False
        if self._files is not None:
            self._files.close()
        self._closed(self)


def _joined(parts: list[tuple[int, bytes, int]]) -> Printed:
    printed: Printed = {}
    for index, stream in enumerate(STREAMS):
        if data := b"".join(data for which, data, _ in parts if which == index):
            printed[stream] = data
    if len(printed) > 1:
        pieces = (output_index.encode(at, len(data), which + 1) for which, data, at in parts)
        printed[output_index.FILE] = b"".join(pieces)
    return printed
