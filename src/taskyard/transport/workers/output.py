"""Output of what runs on other machines, while it runs: the worker there is asked for it.

Afterwards it is with the control planes, as part of the report or as an object.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio

from taskyard.core.ids import AttemptId
from taskyard.ports.dispatching import JOINED, DispatchStore
from taskyard.ports.messages import WorkerMessages
from taskyard.transport.addresses import worker_address
from taskyard.transport.remote_output import OutputPlace, RemoteOutput


class WorkersOfAttempts:
    """Finds the workers on other machines that have output.

    Args:
        messages: reaches workers.
        store: knows who was given what.
    """

    def __init__(self, messages: WorkerMessages, store: DispatchStore) -> None:
        self._messages = messages
        self._store = store

    async def place(self, attempt_id: AttemptId) -> OutputPlace | None:
        """Whom to ask, if the attempt is known to be on another machine."""
        worker_id = await self._store.holder_of(attempt_id)
        if worker_id is None:
            return None
        return OutputPlace(worker_address(worker_id), partial(self._messages.ask_worker, worker_id))

    async def place_if_joined(self, attempt_id: AttemptId) -> OutputPlace | None:
        """Whom to ask; None for what runs beside a control plane."""
        if await self._store.plane_of(attempt_id) != JOINED:
            return None
        return await self.place(attempt_id)


@asynccontextmanager
async def joined_output(
    messages: WorkerMessages, store: DispatchStore
) -> AsyncIterator[RemoteOutput]:
    """Reads output of what runs on other machines, for a control plane that is the only one."""
    async with anyio.create_task_group() as tasks:
        yield RemoteOutput(WorkersOfAttempts(messages, store).place_if_joined, tasks)
        tasks.cancel_scope.cancel()
