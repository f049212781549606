"""How a process of ours ends: parts in order and not forever, signals, and one error of several."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

STOP_S: Final = 15.0
"""Seconds for one part to stop."""
HARD_EXIT: Final = 130

log = structlog.get_logger(__name__)


async def last(end: Callable[[], Awaitable[None]]) -> None:
    """End a part, also when everything is being cancelled, and not forever."""
    with anyio.move_on_after(STOP_S, shield=True) as scope:
        await end()
    if scope.cancelled_caught:
        log.error("stop_timed_out", part=getattr(end, "__qualname__", repr(end)))


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """A task group that an ``AsyncExitStack`` may hold, as ``anyio.create_task_group()`` may not.

    That raises the very exception which ended its block once more. If an earlier part of the stack
    was cancelled while it ended, the stack then notes that exception as its own context, and anyio,
    which follows contexts to their end, never returns.
    """
    async with anyio.create_task_group() as tasks:
        yield tasks


def exit_at_the_next() -> None:
    """From here on another signal ends the process, whatever it is waiting for."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_now)


def _exit_now(_number: int, _frame: object) -> None:
    os._exit(HARD_EXIT)


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error inside nested groups, or the group if there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
