"""A worker's connection to the control planes over core NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from taskyard.core.ids import WorkerId
from taskyard.ports.messages import Handler
from taskyard.transport.addresses import engine_address, worker_address
from taskyard.transport.nats.connection import NatsConnection, nats_connection
from taskyard.transport.nats.large_payloads import ENVELOPE_BYTES
from taskyard.transport.nats.options import NatsOptions
from taskyard.transport.nats.requests import NatsRequests


class NatsWorkerMessages:
    """Implements ``ports.messages.PlaneMessages``. Made by :func:`nats_worker_messages`."""

    def __init__(self, connection: NatsConnection, installation: str, worker_id: WorkerId) -> None:
        self.connection: Final = connection
        self.asking: Final = NatsRequests(connection, installation, worker_address(worker_id))
        self._planes = engine_address(worker_id)

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self.connection.is_connected

    @property
    def refused_at(self) -> float | None:
        """When no server ran, last; see the port."""
        return self.connection.refused_at

    @property
    def room_bytes(self) -> int:
        """Largest payload that fits into one message."""
        return self.connection.most_bytes - ENVELOPE_BYTES

    async def ask_planes(self, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask any control plane. Raises as the port says."""
        return await self.asking.ask(self._planes, what, payload, timeout_s)

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests."""
        self.asking.serve(what, handler)


@asynccontextmanager
async def nats_worker_messages(
    options: NatsOptions,
    installation: str,
    worker_id: WorkerId,
    *,
    within_s: float | None = None,
) -> AsyncIterator[NatsWorkerMessages]:
    """Connect a worker; what is under way at the end is lost.

    Args:
        options: where NATS is, and how to get in.
        installation: that of the control planes.
        worker_id: the worker, which is the credential's name.
        within_s: seconds for the first connection; as long as it takes when None.

    Raises:
        InvalidInput: one of the names cannot be part of a subject.
        NatsUnavailable: there is no way to connect; tells why.
    """
    async with nats_connection(options, f"taskyard worker {worker_id}") as connection:
        messages = NatsWorkerMessages(connection, installation, worker_id)
        await messages.asking.open(within_s)
        async with anyio.create_task_group() as tasks:
            messages.asking.begin(tasks)
            tasks.start_soon(connection.stay_connected)
            try:
                yield messages
            finally:
                tasks.cancel_scope.cancel()
