"""What lasts ends with the credential it began with: streams, downloads, waiting for an answer.

A credential ends when it is revoked, removed or changed, which is announced, and when it expires,
for which there is a timer. Callers without a credential (the control socket, secrets of the
settings) stay as long as they like.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio

from taskyard.core.access.principals import Caller, Credential
from taskyard.core.errors import NotAuthenticated
from taskyard.core.instants import seconds_between
from taskyard.ports.clock import Clock

LOOK_S: Final = 60.0
"""Seconds after which the time is looked at again, since clocks can be set."""

T = TypeVar("T")


@contextmanager
def watched(clock: Clock, caller: Caller, on_end: Callable[[], None]) -> Iterator[None]:
    """Call ``on_end`` once if the caller's credential ends during the block.

    Raises ``NotAuthenticated`` if it has ended already.
    """
    credential = caller.credential
    if not isinstance(credential, Credential):
        yield
        return
    expires_at = credential.expires_at
    if credential.has_ended or (expires_at is not None and clock.now() >= expires_at):
        raise NotAuthenticated("this credential has expired or was revoked")
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if credential.expires_at is None:
            return
        left_s = seconds_between(clock.now(), credential.expires_at)
        if left_s <= 0:
            credential.end()
        else:
            timer = asyncio.get_running_loop().call_later(min(left_s, LOOK_S), look)

    credential.watch(on_end)
    look()
    try:
        yield
    finally:
        credential.unwatch(on_end)
        if timer is not None:
            timer.cancel()


async def while_valid(clock: Clock, caller: Caller, awaited: Awaitable[T]) -> T:
    """What is waited for. Raises ``NotAuthenticated`` if the caller's credential ends before.

    Only for what may be cancelled at any point.
    """
    if not isinstance(caller.credential, Credential):
        return await awaited
    with anyio.CancelScope() as scope, watched(clock, caller, scope.cancel):
        return await awaited
    raise NotAuthenticated("this credential expired or was revoked during the request")
