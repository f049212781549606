"""Whether a call has left something of the function's own running: threads, tasks, work of pools.

Such a thread may print through descriptors 1 and 2, which are the next call's by then, or end the
process: nobody could tell, so the process is not used again. What libraries that were installed
for the function leave running serves later calls as well and is let be, such as the monitors of
database clients and idle threads of pools.
"""

import _thread
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

GRACE_S: Final = 0.02
"""How long threads get that are about to end: many have given their result a moment before."""
_PAUSE_S: Final = 0.0005
_BEGIN_S: Final = 0.01
"""How long a thread takes to begin."""
_POOL: Final = "concurrent.futures.thread"


_starts = 0
"""Threads that were started without ``threading``: they are to be seen once they run."""


def count_starts() -> None:
    """Notice threads that are started without ``threading``. Before anybody's code is imported."""
    start = _thread.start_new_thread

    def counted(*arguments: Any) -> int:
        global _starts  # noqa: PLW0603 - of the process
        _starts += 1
        return start(*arguments)

    _thread.start_new_thread = _thread.start_new = counted


class Leftovers:
    """What runs beside the calls of one process.

    Args:
        code: directory of the function's source.
        packages: directories of the libraries that were installed for it.
    """

    def __init__(self, code: str, packages: Iterable[str]) -> None:
        self._code = f"{code}/"
        self._packages = tuple(f"{one}/" for one in packages)
        self._known: set[object] = set()
        """Threads of no call; by their numbers where ``threading`` does not know them."""
        self._starts = _starts
        self._works: set[int] = set()
        """What pools were doing before the first call."""

    def begin(self) -> None:
        """What runs now belongs to no call."""
        threads = list(self._threads())
        self._known = {one for one, _ in threads}
        self._works = {id(item) for _, frame in threads for item in _work_of(frame)}

    def remain(self, tasks: Iterable[Any] = ()) -> bool:
        """Whether the call that is over left something; ``tasks`` are those of its event loop."""
        if any(self._is_own(getattr(task.get_coro(), "cr_code", None)) for task in tasks):
            return True
        if self._starts != _starts:
            self._starts = _starts
            time.sleep(_BEGIN_S)
        if not _thread._count():  # noqa: SLF001 - there is no other way
            return False
        give_up_at = 0.0
        while any(True for _ in self._left()):
            now = time.monotonic()
            give_up_at = give_up_at or now + GRACE_S
            if now > give_up_at:
                return True
            time.sleep(_PAUSE_S)
        self._known = {one for one, _ in self._threads()}
        return False

    def _threads(self) -> Iterator[tuple[object, types.FrameType]]:
        """All threads but this one, and what they are doing."""
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way
        if len(frames) == 1:
            return
        known = {one.ident: one for one in threading.enumerate()}
        del frames[threading.get_ident()]
        for ident, frame in frames.items():
            yield known.get(ident, ident), frame

    def _left(self) -> Iterator[object]:
        for thread, frame in self._threads():
            if isinstance(thread, threading.Thread) and _is_pooled(thread):
                if any(id(one) not in self._works for one in _work_of(frame)):
                    yield thread
            elif thread not in self._known and self._is_of_function(thread, frame):
                yield thread

    def _is_of_function(self, thread: object, frame: types.FrameType) -> bool:
        """Whether a thread runs the function's code, or nobody knows whose."""
        outermost = frame
        for one in _outwards(frame):
            outermost = one
            if self._is_own(one.f_code) and one.f_code.co_filename.startswith(self._code):
                return True
        if not isinstance(thread, threading.Thread):
            return self._is_own(outermost.f_code)
        if type(thread).run is threading.Thread.run:
            if "_target" not in vars(thread):
                return False  # it is over, and about to end
            return self._is_own(_code_of(vars(thread)["_target"]))
        called = thread.function if isinstance(thread, threading.Timer) else type(thread).run
        return self._is_own(_code_of(called))

    def _is_own(self, code: types.CodeType | None) -> bool:
        """Whether code is not that of an installed library; what has none is not."""
        return code is None or not code.co_filename.startswith(self._packages)


def _is_pooled(thread: threading.Thread) -> bool:
    return getattr(getattr(thread, "_target", None), "__module__", None) == _POOL


def _work_of(frame: types.FrameType) -> list[object]:
    """What a thread of a pool has to do: the item that it works on, or those that wait for it."""
    for one in _outwards(frame):
        if one.f_globals.get("__name__") != _POOL:
            continue
        item, queue = one.f_locals.get("self"), one.f_locals.get("work_queue")
        if item is not None and hasattr(item, "future"):
            # Its result is known a moment before the thread is idle.
            return [] if item.future.done() else [item]
        if queue is not None:
            return [queue] if queue.qsize() else []
    return []


def _outwards(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _code_of(called: Callable[..., Any] | None) -> types.CodeType | None:
    """The code behind something callable; None for what is not written in Python."""
    while isinstance(called, partial):
        called = called.func
    called = getattr(called, "__func__", called)
    code = getattr(called, "__code__", None)
    if code is None:
        method = vars(type(called)).get("__call__")
        code = getattr(method, "__code__", None)
    return code if isinstance(code, types.CodeType) else None
