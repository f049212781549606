"""Output of attempts that run beside other control planes, read by offset from any plane."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import structlog
from anyio.abc import TaskGroup

from taskyard.core.ids import AttemptId, PlaneId
from taskyard.ports.dispatching import JOINED
from taskyard.ports.logs import LocalLogStore
from taskyard.ports.messages import Messages
from taskyard.transport.addresses import plane_address
from taskyard.transport.remote_output import (
    OutputPlace,
    OutputPlaceOf,
    RemoteOutput,
    ServedOutput,
    decoded_request,
)

DELETED: Final = "output_deleted"
"""What the message is for."""
DELETED_AT_ONCE: Final = 1000

PlaneOfAttempt = Callable[[AttemptId], Awaitable[PlaneId | None]]
"""Beside which plane a running attempt's worker lives; None if it has ended or nobody knows."""

log = structlog.get_logger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_DELETIONS: Final = msgspec.msgpack.Decoder(list[AttemptId])


class PlaneOutput(RemoteOutput):
    """Implements ``ports.logs.OutputSource`` for output beside other planes; serves what is here.

    Args:
        messages: reaches the other planes.
        plane_of: finds the plane of an attempt.
        held: output on this machine.
        tasks: where waiting for growth goes on for all who wait.
        at_worker: whom to ask for output of workers on other machines; None: there are none.
    """

    def __init__(
        self,
        messages: Messages,
        plane_of: PlaneOfAttempt,
        held: LocalLogStore,
        tasks: TaskGroup,
        at_worker: OutputPlaceOf | None = None,
    ) -> None:
        super().__init__(self._find, tasks)
        self._messages = messages
        self._plane_of = plane_of
        self._held = held
        self._at_worker = at_worker
        ServedOutput(messages.serve, held)
        messages.listen(DELETED, self._on_deleted)

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """Have other planes remove what they have of these; one that does not hear it keeps it."""
        for begin in range(0, len(attempt_ids), DELETED_AT_ONCE):
            batch = attempt_ids[begin : begin + DELETED_AT_ONCE]
            self._messages.publish(DELETED, _encode(batch))

    async def _find(self, attempt_id: AttemptId) -> OutputPlace | None:
        plane = await self._plane_of(attempt_id)
        if plane == JOINED:
            return None if self._at_worker is None else await self._at_worker(attempt_id)
        if not plane or plane == self._messages.plane_id:
            return None
        return OutputPlace(plane_address(plane), partial(self._messages.request, plane))

    def _on_deleted(self, payload: bytes) -> None:
        self._tasks.start_soon(self._delete, decoded_request(_DELETIONS, payload))

    async def _delete(self, attempt_ids: list[AttemptId]) -> None:
        try:
            await self._held.delete(attempt_ids)
        except OSError:
            # As when a deletion here fails half-way: what is left takes up room, and no more.
            log.exception("output_not_deleted", attempts=len(attempt_ids))
