"""Waiting for what another thread, task or process does: the one way in which tests poll.

A test that can be woken by what it waits for (an event, a line of output, the virtual clock) is
better off with that. Where there is nothing to be woken by, it asks again and again here.
"""

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

import anyio

T = TypeVar("T")

WITHIN_S: Final = 45.0
"""Seconds until a test gives up: less than tests may take, more than a busy machine needs."""
PAUSE_S: Final = 0.01
_SLOWEST_S: Final = 0.1


def eventually(
    look: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    of: Callable[[], object] | None = None,
    within_s: float = WITHIN_S,
    pause_s: float = PAUSE_S,
) -> T:
    """Block until what ``look`` answers is as wanted; answers with that.

    Args:
        look: asked again and again, after growing pauses.
        until: whether an answer is as wanted; something true by default.
        of: what to show when the time is over; what ``look`` answered last when None.
        within_s: seconds until the test fails.
        pause_s: seconds of the first pause.

    Raises ``AssertionError`` that tells what was seen last.
    """
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(seen, of, within_s))
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, max(_SLOWEST_S, pause_s))


@overload
async def eventually_async(
    look: Callable[[], Awaitable[T]],
    until: Callable[[T], object] = bool,
    *,
    of: Callable[[], object] | None = None,
    within_s: float = WITHIN_S,
    pause_s: float = PAUSE_S,
) -> T: ...


@overload
async def eventually_async(
    look: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    of: Callable[[], object] | None = None,
    within_s: float = WITHIN_S,
    pause_s: float = PAUSE_S,
) -> T: ...


async def eventually_async(
    look: Callable[[], Any],
    until: Callable[[Any], object] = bool,
    *,
    of: Callable[[], object] | None = None,
    within_s: float = WITHIN_S,
    pause_s: float = PAUSE_S,
) -> Any:
    """The same without blocking the event loop; ``look`` may be a coroutine function."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if until(seen):
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(seen, of, within_s))
        await anyio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, max(_SLOWEST_S, pause_s))


def _complaint(seen: object, of: Callable[[], object] | None, within_s: float) -> str:
    return f"not within {within_s:g} s; last seen: {(seen if of is None else of())!r}"
