"""Orders for several workers at a time, so that none waits for another one's answer."""

from collections.abc import Awaitable, Callable, Sequence

import anyio


async def all_at_once(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Make these calls at the same time; raises the first error once all are done."""
    if len(calls) == 1:
        await calls[0]()
        return
    errors: list[Exception] = []

    async def attempt(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(attempt, call)
    if errors:
        raise errors[0]
