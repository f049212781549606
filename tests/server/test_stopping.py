"""Parts of a process that are cancelled while they end."""

import asyncio
from contextlib import AsyncExitStack

import anyio
import pytest

from taskyard.server.stopping import last, task_group

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


def contexts(error: BaseException) -> list[BaseException]:
    """An exception and those that were handled when it was raised; stops where they repeat."""
    found: list[BaseException] = []
    context: BaseException | None = error
    while context is not None:
        found.append(context)
        if found.count(context) > 1:
            break
        context = context.__context__
    return found


async def test_parts_that_are_cancelled_while_they_end_leave_no_endless_context() -> None:
    """As when all tasks of a loop are cancelled: whoever follows the contexts would never end."""
    begun = asyncio.Event()
    caught: list[BaseException] = []
    background = asyncio.create_task(anyio.sleep_forever())

    async def stop() -> None:
        # Its cancellation is another exception than that of the task which ends it.
        await background

    async def serve() -> None:
        try:
            async with AsyncExitStack() as stack:
                tasks = await stack.enter_async_context(task_group())
                stack.callback(tasks.cancel_scope.cancel)
                stack.push_async_callback(last, stop)
                begun.set()
                await anyio.sleep_forever()
        except asyncio.CancelledError as error:
            caught.append(error)

    serving = asyncio.create_task(serve())
    await begun.wait()
    background.cancel()
    serving.cancel()
    await asyncio.wait({serving}, timeout=10)
    (error,) = caught
    seen = contexts(error)
    assert len(seen) == len({id(one) for one in seen})
