"""Background loops go on after a failure, and pause longer where they fail again and again."""

from itertools import pairwise

import anyio
import pytest

from fakes.clock import VirtualClock, settled
from taskyard.services.loops import LIVED_S, PAUSE_MAX_S, keep_running

pytestmark = pytest.mark.anyio


async def test_a_loop_that_fails_is_begun_again() -> None:
    """With pauses that grow, up to a limit; whoever counts failures is told."""
    clock, begun, failures = VirtualClock(), list[float](), list[str]()

    async def loop() -> None:
        begun.append(clock.monotonic())
        raise LookupError

    async with anyio.create_task_group() as group:
        group.start_soon(keep_running, "one", loop, clock, failures.append)
        await settled()
        for _ in range(400):
            clock.advance(0.5)
            await settled()
        group.cancel_scope.cancel()
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert pauses[:6] == [1, 2, 4, 8, 16, PAUSE_MAX_S]
    assert set(pauses[5:]) == {PAUSE_MAX_S}
    assert failures == ["one"] * len(begun)


async def test_a_loop_that_lived_is_begun_again_soon() -> None:
    """What failed once an hour is no reason for a long pause."""
    clock, begun = VirtualClock(), list[float]()

    async def loop() -> None:
        begun.append(clock.monotonic())
        await clock.sleep(LIVED_S + 1)
        raise LookupError

    async with anyio.create_task_group() as group:
        group.start_soon(keep_running, "one", loop, clock)
        await settled()
        for _ in range(400):
            clock.advance(1)
            await settled()
        group.cancel_scope.cancel()
    pauses = {later - earlier for earlier, later in pairwise(begun)}
    assert pauses == {LIVED_S + 2}


async def test_a_loop_that_returns_is_done() -> None:
    """It is not begun again, and what cancels it ends it."""
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1

    await keep_running("one", loop, VirtualClock())
    assert begun == 1
    with anyio.move_on_after(0.01) as scope:
        await keep_running("two", anyio.sleep_forever, VirtualClock())
    assert scope.cancelled_caught
