"""Python's standard streams in a member: the same objects from import on, for all calls.

A module may take hold of them, wrap them or hand them to its logging when it is imported, so they
are never replaced; it is the files behind descriptors 1 and 2 that change. What threads and tasks
that a call left behind print is dropped: it would be in the log of another call.
"""

import asyncio
import contextlib
import gc
import io
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final

_CHANNELS: Final = (1, 2)
_left: set[object] = set()
"""Threads and tasks whose call is over."""


class Stream(io.TextIOWrapper):
    """Text over descriptor 1 or 2."""

    def write(self, text: str, /) -> int:
        """See the base; what belongs to no call is dropped."""
        if _left and _is_left():
            return len(text)
        return super().write(text)


def _is_left() -> bool:
    if threading.current_thread() in _left:
        return True
    try:
        return asyncio.current_task() in _left
    except RuntimeError:
        return False


class Streams:
    """All streams that are known to end in descriptors 1 and 2."""

    def __init__(self) -> None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        self._own = (_stream(1, line_buffering=False), _stream(2, line_buffering=True))
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = self._own  # type: ignore[misc]  # final for others
        self._more: list[Any] = []
        self._threads: set[threading.Thread] = set()

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

    def flush(self) -> None:
        """Write what is on its way."""
        for stream in (sys.stdout, sys.stderr, *self._more, *self._own):
            with contextlib.suppress(Exception):
                stream.flush()

    def end(self, tasks: Iterable[object] = ()) -> None:
        """The call is over: note who is left of it."""
        if _left:
            _left.clear()
        _left.update(tasks)
        if threading.active_count() > len(self._threads):
            for thread in threading.enumerate():
                # Threads of pools work for the next call as well.
                if thread not in self._threads and not _is_pooled(thread):
                    _left.add(thread)


def _is_pooled(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    return getattr(target, "__module__", None) == "concurrent.futures.thread"


def _stream(descriptor: int, *, line_buffering: bool) -> Stream:
    return Stream(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering,
    )
