"""Python's standard streams in an instance: the same objects from import on, for all calls.

A module may take hold of them, wrap them or hand them to its logging when it is imported, so they
are never replaced; it is the files behind descriptors 1 and 2 that change. What threads and tasks
that a call left behind print is dropped: it would be in the log of another call.
"""

import contextlib
import gc
import io
import os
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHANNELS: Final = (1, 2)
_left: set[threading.Thread] = set()
"""Threads whose call is over."""
_current: object = None
"""The call that runs."""
_begun_by: ContextVar[object] = ContextVar("taskyard_call", default=None)
"""The call that what runs now was begun by, however long ago: tasks and timers of event loops, and
what they have threads do, keep it."""


class Stream(io.TextIOWrapper):
    """Text over descriptor 1 or 2."""

    def write(self, text: str, /) -> int:
        """See the base; what belongs to no call is dropped."""
        return len(text) if _is_left() else super().write(text)

    def flush(self) -> None:
        """See the base; what is on its way is another call's."""
        if not _is_left():
            super().flush()


class _Buffer(io.BufferedWriter):
    """The bytes below it."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """See above."""
        return memoryview(data).nbytes if _is_left() else super().write(data)

    def flush(self) -> None:
        """See above."""
        if not _is_left():
            super().flush()


class _Raw(io.FileIO):
    """What is below them."""

    before: Stream | None = None
    """What was printed there comes first; it is buffered."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """See above."""
        if _is_left():
            return memoryview(data).nbytes
        if self.before is not None:
            with contextlib.suppress(Exception):
                self.before.flush()
        return super().write(data)


def _is_left() -> bool:
    call = _begun_by.get()
    if call is not None and call is not _current:
        return True
    return bool(_left) and threading.current_thread() in _left


class Streams:
    """All streams that are known to end in descriptors 1 and 2."""

    def __init__(self) -> None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        out = _stream(1, line_buffering=False)
        self._own = (out, _stream(2, line_buffering=True, before=out))
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = self._own  # type: ignore[misc]  # final for others
        self._more: list[Any] = []
        self._threads: set[threading.Thread] = set()
        self._ends = self._where()

    def imported(self) -> None:
        """Look at what the handler's modules have made of the streams, and begin to serve calls."""
        for one in gc.get_objects():
            if isinstance(one, io.TextIOWrapper | io.BufferedWriter) and one not in self._own:
                with contextlib.suppress(Exception):
                    if one.fileno() in _CHANNELS:
                        # Texts before the bytes that they become.
                        self._more.insert(0 if isinstance(one, io.TextIOWrapper) else -1, one)
        self.flush()
        # A child must not print once more what its parent has not written yet.
        os.register_at_fork(before=self.flush)

    def begin(self) -> None:
        """Threads that are there belong to no single call."""
        self._threads = set(threading.enumerate())
        self._ends = self._where()

    def are_lost(self) -> bool:
        """Whether a call closed them, or had them lead elsewhere: later ones print nothing."""
        return self._where() != self._ends

    def _where(self) -> list[tuple[int, int] | None]:
        """What the descriptors are open on; None for one that cannot be printed to."""
        return [_file_of(stream) for stream in self._own]

    def enter(self) -> None:
        """A call begins."""
        global _current  # noqa: PLW0603 - of the process, like the descriptors
        _current = object()
        _begun_by.set(_current)

    def flush(self) -> None:
        """Write what is on its way."""
        for stream in (sys.stdout, sys.stderr, *self._more, *self._own):
            with contextlib.suppress(Exception):
                stream.flush()

    def end(self) -> None:
        """The call is over: note who is left of it."""
        if _left:
            _left.clear()
        if threading.active_count() > len(self._threads):
            for thread in threading.enumerate():
                # Threads of pools work for the next call as well.
                if thread not in self._threads and not _is_pooled(thread):
                    _left.add(thread)


def _is_pooled(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    return getattr(target, "__module__", None) == "concurrent.futures.thread"


def _file_of(stream: Stream) -> tuple[int, int] | None:
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _stream(descriptor: int, *, line_buffering: bool, before: Stream | None = None) -> Stream:
    raw = _Raw(descriptor, "w", closefd=False)
    raw.before = before
    return Stream(
        _Buffer(raw),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering,
    )
