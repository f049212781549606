"""Orders that arrive as requests, handed to a worker in this process."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import TaskyardError
from taskyard.ports.errors import WorkerUnreachable

HANDED_S: Final = 0.5
"""Seconds after which an order is acknowledged though its worker is not done with it yet."""

log = structlog.get_logger(__name__)


async def hand(tasks: TaskGroup, call: Callable[[], Awaitable[None]]) -> None:
    """Hand over an order, and return once the worker has it or takes long over it.

    Args:
        tasks: where that is done; the end of a request must not interrupt it.
        call: gives the order.

    Raises:
        WorkerUnreachable: whatever keeps the worker from taking it.
    """
    done = anyio.Event()
    refused: list[TaskyardError] = []

    async def give() -> None:
        try:
            await call()
        except TaskyardError as error:
            refused.append(error)
        except Exception:
            # One order's defect must not end whatever else is handed over.
            log.exception("order_failed")
            refused.append(WorkerUnreachable("the worker failed; its log tells why"))
        finally:
            done.set()

    tasks.start_soon(give)
    with anyio.move_on_after(HANDED_S):
        await done.wait()
    if refused:
        raise WorkerUnreachable(str(refused[0])) from refused[0]
