"""What a command prints: taken out of its pipes in fair turns, and kept in the attempt's files.

A file system that is slow, or takes nothing for a while, loses nothing: bytes stay in the pipe
until they can be kept, and whoever writes to a full pipe waits.
"""

import contextlib
import os
import selectors
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.output_reader import PAUSE_S, OutputReader
from taskyard.runtimes.command.timers import Timer
from taskyard.runtimes.output.attempt_files import STREAMS, OutputFiles
from taskyard.runtimes.output.interleaving import LATE_S, Interleaving
from taskyard.runtimes.output.pipes import OutputPipe

_TURN_BYTES: Final = 256 << 10
"""Taken from one pipe before others have their turn."""
_PERIOD_S: Final = 0.1
_PERIOD_TURNS: Final = 200
"""Turns of an attempt in so much time before it is looked at less often: prints in tiny pieces
would keep this process busy."""
_PERIOD_WRITES: Final = 20_000
_PERIOD_BYTES: Final = 4 << 20
"""Writes in a period, and bytes, of which the order is found out; more is read without."""
_QUIET_TURNS: Final = 10
"""Who had no more turns since the last look after it is worth finding out the order again."""
_LOOKS: Final = 3
"""At the end, at most: whoever still writes is not waited for."""


class Output:
    """The output of one attempt.

    Args:
        directory: the attempt's.
        limit_bytes: kept of each stream; the rest is dropped and counted.
        reader: tells of what comes.
        null: an open ``/dev/null``.
    """

    __slots__ = (
        *("_bytes", "_directory", "_files", "_flush", "_interleaving", "_is_told", "_pause"),
        *(
            "_period_at",
            "_pipes",
            "_reader",
            "_stuck",
            "_turns",
            "_turns_lately",
            "_waiting",
            "_watched",
            "_writes",
        ),
        *("is_unsure", "written"),
    )

    def __init__(self, directory: str, limit_bytes: int, reader: OutputReader, null: int) -> None:
        self._directory = directory
        self._reader = reader
        self._flush: Timer | None = None
        self._files = OutputFiles(directory, limit_bytes, null)
        self._pipes: dict[int, OutputPipe] = {}
        self._watched: set[int] = set()
        """Streams whose pipes the selector knows."""
        self._is_told = False
        """Whether each write to the pipes is noted instead."""
        self._interleaving = Interleaving()
        self.written = self._interleaving.written
        self.is_unsure = False
        self._period_at = 0.0
        self._turns = 0
        self._writes = 0
        self._bytes = 0
        self._turns_lately = 0
        """Since :meth:`look`."""
        self._pause: Timer | None = None
        self._waiting: Timer | None = None
        """Until when a signal is waited for."""
        self._stuck: set[int] = set()
        """Streams whose pipes are left to fill, because what is in them cannot be kept now."""

    @contextlib.contextmanager
    def opened(self, owner: tuple[int, int] | None, *, merge: bool) -> Iterator[tuple[int, int]]:
        """Descriptors for a command that is started inside the block: its output and its errors.

        ``owner`` is whom it runs as, None being ourselves; with ``merge`` both are one. Raises
        ``OSError``.
        """
        ends: list[int] = []
        try:
            for index in range(1 if merge else 2):
                pipe = self._pipes[index] = OutputPipe.new()
                ends.append(pipe.work_end(owner, outlives_us=True))
            self._listen()
            yield ends[0], ends[-1]
        finally:
            for fd in ends:
                os.close(fd)
        if not self._is_told:
            self._watch()

    @property
    def pipes(self) -> list[str]:
        """Names of the pipes; only processes of the attempt write to them."""
        return [pipe.name for pipe in self._pipes.values()]

    def resume(self, names: list[str], pids: Iterable[int], dropped: tuple[int, int]) -> None:
        """Go on with the pipes of a supervisor that is gone, which any of these may have open.

        What only dead processes had open is gone, and what is missing in the index is added.
        ``dropped`` is how much of each stream is known to be.
        """
        self._files.resume(dropped)
        processes = list(pids)
        for index, name in enumerate(names):
            pipe = OutputPipe.found(name, processes)
            if pipe is not None:
                self._pipes[index] = pipe
        if not self._listen_again():
            self._watch()

    def _listen(self) -> None:
        """Have each write noted, where there are two pipes to tell apart and the system can."""
        signals = self._reader.signals
        if signals is None or len(self._pipes) < len(STREAMS) or self._files.is_order_coarse:
            return
        try:
            for index, pipe in self._pipes.items():
                signals.listen(pipe, self, index)
        except OSError:
            for pipe in self._pipes.values():
                signals.ignore(pipe)
        else:
            self._is_told = True

    def _listen_again(self) -> bool:
        """Nothing is known of the writes until now."""
        self._listen()
        if self._is_told:
            self.is_unsure = True
            self._take_both()
        return self._is_told

    def _guess(self) -> None:
        """Read on without knowing the writes."""
        signals = self._reader.signals
        if signals is None or not self._is_told:
            return
        self._is_told = False
        for pipe in self._pipes.values():
            signals.ignore(pipe)
        signals.waiting.pop(self, None)
        self._note(self._interleaving.forget())
        self._watch()

    def _watch(self) -> None:
        for index in self._pipes.keys() - self._watched - self._stuck:
            self._watched.add(index)
            self._reader.selector.register(
                self._pipes[index].reading, selectors.EVENT_READ, partial(self._arrived, index)
            )

    def _unwatch(self, index: int) -> None:
        if index in self._watched:
            self._watched.discard(index)
            self._reader.selector.unregister(self._pipes[index].reading)

    def _arrived(self, index: int, _events: int) -> None:
        # What the selector found in the same moment may have closed this, or begun a pause.
        if index in self._watched:
            self._take(index)
            self._count_turn()

    def take_written(self) -> None:
        """Something was noted in :attr:`written`."""
        if self._is_told:
            self._take_both()
            self._count_turn()

    def _count_turn(self) -> None:
        self._turns += 1
        self._turns_lately += 1
        if self._turns > _PERIOD_TURNS or self._is_flood:
            self._rest_if_busy()

    @property
    def _is_flood(self) -> bool:
        return self._writes > _PERIOD_WRITES or self._bytes > _PERIOD_BYTES

    def _rest_if_busy(self) -> None:
        now = time.monotonic()
        if now > self._period_at + _PERIOD_S:
            self._period_at, self._turns, self._writes, self._bytes = now, 0, 0, 0
            return
        if self._is_flood:
            self._guess()
        if self._is_told:
            self._reader.rest()
            return
        for index in list(self._watched):
            self._unwatch(index)
        if self._pause is None:
            self._pause = self._reader.timers.at(now + PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        for index in self._pipes.keys() - self._stuck:
            self._take(index)
        self._watch()

    def _take_both(self, *, waits: bool = True) -> None:
        """Take what is in both pipes, in the order in which it was written.

        With ``waits`` a signal that is on its way is waited for, with the place of what it tells.
        """
        signals = self._reader.signals
        if signals is None:
            return
        sure, left = signals.look(self, (self._pipes[0], self._pipes[1]))
        # Told of by now, and behind what is taken below: no signal will tell of it again.
        is_late = len(self.written) > sure
        self._writes += len(self.written)
        self._bytes += left[0] + left[1]
        before = (self._files.kept(0), self._files.kept(1))
        for index, size in enumerate(left):
            # The rest of what crosses the limit is dropped in another turn, which whoever wrote it
            # may be waiting for.
            is_late = (size > 0 and self._move(index, min(size, _TURN_BYTES)) < size) or is_late
        kept = (self._files.kept(0) - before[0], self._files.kept(1) - before[1])
        self._note_kept(sure, left, kept, waits=waits)
        if self._interleaving.is_waiting:
            self._wait()
        if is_late or (self.written and not self._interleaving.is_waiting):
            self._reader.take_soon(self)
        else:
            self._reader.remind()
        if self._stuck or self._files.is_order_coarse:
            self._guess()
        self._flush_soon()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self._reader.timers.at(time.monotonic() + LATE_S, self._wait_no_more)

    def _wait_no_more(self) -> None:
        self._waiting = None
        if self._is_told and self._interleaving.is_waiting:
            self._take_both(waits=False)

    def _note_kept(
        self, sure: int, left: tuple[int, int], kept: tuple[int, int], *, waits: bool
    ) -> None:
        interleaving = self._interleaving
        if self.is_unsure or kept != left:
            # Nobody knows, or a part of it is dropped.
            self.is_unsure = False
            first = self.written[0] if self.written and interleaving.is_settled else 0
            self._note(interleaving.forget())
            self._note([(first, kept[first]), (1 - first, kept[1 - first])])
        elif interleaving.is_plain(sure, kept):
            self._note(enumerate(kept))
        else:
            self._note(interleaving.divide(sure, kept, self._files.last, waits=waits))

    def _note(self, runs: Iterable[tuple[int, int]]) -> None:
        for index, size in runs:
            self._files.note(index, size)

    def _move(self, index: int, most: int) -> int:
        try:
            return self._files.move_unnoted(index, self._pipes[index], most)
        except OSError as error:
            self._is_stuck(index, error)
            return most

    def _take(self, index: int) -> None:
        try:
            self._files.move(index, self._pipes[index], _TURN_BYTES)
        except OSError as error:
            self._is_stuck(index, error)
        self._flush_soon()

    def _is_stuck(self, index: int, error: OSError) -> None:
        if not self._stuck:
            log_error(f"output in {self._directory} cannot be kept now: {error.strerror}")
        self._unwatch(index)
        self._stuck.add(index)

    def _flush_soon(self) -> None:
        if self._flush is None and (flush_in_s := self._files.flush_in_s) is not None:
            self._flush = self._reader.timers.at(time.monotonic() + flush_in_s, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._files.flush()

    def look(self) -> bool:
        """Look after the room on the disk, and try again what could not be kept.

        Answers whether that should be done again soon. Raises ``OSError``.
        """
        needy = self._files.look()
        for index in list(self._stuck):
            with contextlib.suppress(OSError):
                self._files.move(index, self._pipes[index], _TURN_BYTES)
                self._stuck.discard(index)
        if self._pause is None and not self._is_told:
            if self._turns_lately <= _QUIET_TURNS and not self._stuck:
                for index in list(self._watched):
                    self._unwatch(index)
                self._listen_again()
            if not self._is_told:
                self._watch()
        self._turns_lately = 0
        return needy or bool(self._stuck)

    def finish(self) -> dict[str, dict[str, int]]:
        """Take what is in the pipes now, whoever still writes, and close all.

        ``{stream: {"stored_bytes", "dropped_bytes"}}``. What cannot be kept counts as dropped.
        """
        left = {index: pipe.waiting_bytes() for index, pipe in self._pipes.items()}
        if self._is_told and (any(left.values()) or not self._interleaving.is_settled):
            for _ in range(_LOOKS):
                if self._is_told:
                    self._take_both(waits=False)
            self._guess()
            left = {index: pipe.waiting_bytes() for index, pipe in self._pipes.items()}
        for index, size in left.items():
            self._drain(index, size)
        self.close()
        return self._files.sizes()

    def _drain(self, index: int, left: int) -> None:
        pipe = self._pipes[index]
        while left > 0:
            try:
                moved = self._files.move(index, pipe, left)
            except OSError as error:
                log_error(f"output in {self._directory} is dropped: {error.strerror}")
                moved = self._files.drop(index, pipe, left)
            if not moved:
                break
            left -= moved

    def close(self) -> None:
        """Let go of pipes and files; may be called twice."""
        for index in list(self._watched):
            self._unwatch(index)
        pipes, self._pipes = self._pipes, {}
        signals = self._reader.signals
        for pipe in pipes.values():
            if signals is not None:
                signals.forget(pipe)
            pipe.close()
        if signals is not None:
            signals.waiting.pop(self, None)
        self._is_told = False
        for timer in (self._flush, self._pause, self._waiting):
            if timer is not None:
                timer.cancel()
        self._files.close()
