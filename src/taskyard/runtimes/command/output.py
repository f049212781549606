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
from taskyard.runtimes.command.timers import Timer, Timers
from taskyard.runtimes.output.attempt_files import OutputFiles
from taskyard.runtimes.output.pipes import OutputPipe

_TURN_BYTES: Final = 256 << 10
"""Taken from one pipe before others have their turn."""
_PERIOD_S: Final = 0.1
_PERIOD_TURNS: Final = 200
"""Turns of an attempt in so much time before it is looked at less often: prints in tiny pieces
would keep this process busy."""
_PAUSE_S: Final = 0.002


class Output:
    """The output of one attempt.

    Args:
        directory: the attempt's.
        limit_bytes: kept of each stream; the rest is dropped and counted.
        selector: is told of the pipes.
        timers: for what is to be done a moment later.
        null: an open ``/dev/null``.
    """

    __slots__ = (
        *("_directory", "_files", "_flush", "_pause", "_period_at", "_pipes", "_selector"),
        *("_stuck", "_timers", "_turns", "_watched"),
    )

    def __init__(
        self,
        directory: str,
        limit_bytes: int,
        selector: selectors.BaseSelector,
        timers: Timers,
        null: int,
    ) -> None:
        self._directory = directory
        self._selector = selector
        self._timers = timers
        self._flush: Timer | None = None
        self._files = OutputFiles(directory, limit_bytes, null)
        self._pipes: dict[int, OutputPipe] = {}
        self._watched: set[int] = set()
        """Streams whose pipes the selector knows."""
        self._period_at = 0.0
        self._turns = 0
        self._pause: Timer | None = None
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
            yield ends[0], ends[-1]
        finally:
            for fd in ends:
                os.close(fd)
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
        self._watch()

    def _watch(self) -> None:
        for index in self._pipes.keys() - self._watched - self._stuck:
            self._watched.add(index)
            self._selector.register(
                self._pipes[index].reading, selectors.EVENT_READ, partial(self._arrived, index)
            )

    def _unwatch(self, index: int) -> None:
        if index in self._watched:
            self._watched.discard(index)
            self._selector.unregister(self._pipes[index].reading)

    def _arrived(self, index: int, _events: int) -> None:
        # What the selector found in the same moment may have closed this, or begun a pause.
        if index in self._watched:
            self._take(index)
            self._turns += 1
            if self._turns > _PERIOD_TURNS:
                self._rest_if_busy()

    def _rest_if_busy(self) -> None:
        now = time.monotonic()
        if now > self._period_at + _PERIOD_S:
            self._period_at, self._turns = now, 0
            return
        for index in list(self._watched):
            self._unwatch(index)
        self._pause = self._timers.at(now + _PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        for index in self._pipes.keys() - self._stuck:
            self._take(index)
        self._watch()

    def _take(self, index: int) -> None:
        try:
            self._files.move(index, self._pipes[index], _TURN_BYTES)
        except OSError as error:
            if not self._stuck:
                log_error(f"output in {self._directory} cannot be kept now: {error.strerror}")
            self._unwatch(index)
            self._stuck.add(index)
        if self._flush is None and (flush_in_s := self._files.flush_in_s) is not None:
            self._flush = self._timers.at(time.monotonic() + flush_in_s, self._flush_now)

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
        if self._pause is None:
            self._watch()
        return needy or bool(self._stuck)

    def finish(self) -> dict[str, dict[str, int]]:
        """Take what is in the pipes now, whoever still writes, and close all.

        ``{stream: {"stored_bytes", "dropped_bytes"}}``. What cannot be kept counts as dropped.
        """
        for index, pipe in self._pipes.items():
            self._drain(index, pipe)
        self.close()
        return self._files.sizes()

    def _drain(self, index: int, pipe: OutputPipe) -> None:
        left = pipe.waiting_bytes()
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
        for pipe in pipes.values():
            pipe.close()
        for timer in (self._flush, self._pause):
            if timer is not None:
                timer.cancel()
        self._files.close()
