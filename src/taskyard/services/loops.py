"""Keeps background loops running: restarts one that fails, after a growing pause."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from taskyard.core.backoff import Backoff
from taskyard.core.instants import seconds_between
from taskyard.ports.clock import Clock

PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
LIVED_S: Final = 60.0
"""A loop that ran for so long before it failed is begun again without a longer pause."""

log = structlog.get_logger(__name__)

Loop = Callable[[], Awaitable[None]]


async def keep_running(
    name: str,
    loop: Loop,
    clock: Clock,
    on_failure: Callable[[str], None] = lambda _name: None,
) -> None:
    """Run a loop until it is cancelled or returns; begin it again after a failure.

    Each loop deals with the failures it knows. What is left is a defect, which must not end the
    server: it would meet the same at its next start.

    Args:
        name: for the log and ``on_failure``.
        loop: does its work until cancelled; can be begun again.
        clock: for the pauses, which grow from one second to 30.
        on_failure: told the name whenever it failed.
    """
    backoff = Backoff(PAUSE_MIN_S, PAUSE_MAX_S)
    while True:
        began = clock.now()
        try:
            await loop()
        except Exception:
            if seconds_between(began, clock.now()) > LIVED_S:
                backoff.reset()
            log.exception("loop_failed", loop=name, again_in_s=backoff.next_s)
            on_failure(name)
        else:
            return
        await clock.sleep(backoff.delay_s())
