"""Connects this control plane with the others, if the settings say so.

What this control plane can do with the others then: give orders to workers beside them, and read
the output of what runs there.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskGroup

from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import PlaneId
from taskyard.core.states import AttemptState
from taskyard.ports.clock import Clock
from taskyard.ports.logs import LocalLogStore, OutputSource
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import Transport
from taskyard.server.certificates import write_private
from taskyard.server.nats_server import own_nats_server
from taskyard.server.nats_settings import NatsSettings
from taskyard.server.storage import Storage
from taskyard.services.scheduling.fleet_watch import PlaneOfWorkers
from taskyard.store.sql.repositories import Repositories
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import check_token
from taskyard.transport.planes.output import PlaneOutput
from taskyard.transport.planes.transport import PlaneTransport

PLANE_FILE: Final = "plane"


@dataclass(frozen=True, slots=True)
class PlaneLinks:
    """What connects this control plane with the others."""

    messages: NatsMessages
    store: Repositories
    clock: Clock
    tasks: TaskGroup
    """Where others' orders and requests are worked on."""
    workers: PlaneOfWorkers
    """Beside which plane each worker lives; whoever leads learns that."""

    def transport(self, local: Transport) -> Transport:
        """Reaches workers beside every plane; ``local`` those beside this one."""
        plane_of = self.workers.plane_of
        return PlaneTransport(
            local, self.messages, plane_of, self.clock, self.tasks, self._is_current
        )

    def output(self, files: LocalLogStore) -> OutputSource:
        """Output beside other planes; they read what is in ``files``."""
        return PlaneOutput(self.messages, self.store.dispatch.plane_of, files, self.tasks)

    async def _is_current(self, assignment: Assignment) -> bool:
        try:
            attempt = await self.store.tasks.attempt(assignment.workspace, assignment.attempt_id)
        except NotFound:
            return False
        waits = attempt.state is AttemptState.ASSIGNED
        return waits and attempt.lease_token == assignment.lease_token


@asynccontextmanager
async def plane_links(
    settings: NatsSettings, data: Path, storage: Storage, clock: Clock
) -> AsyncIterator[PlaneLinks | None]:
    """What connects this plane with those that share its store; None if nothing is to.

    Args:
        settings: where NATS is, or that a server is to be started.
        data: the data directory.
        storage: the open store; it names the installation and this plane, unless it is our own.
        clock: tells how old orders are.

    Raises:
        InvalidInput: settings cannot be met.
        NatsUnavailable: NATS cannot be reached or does not let us in; tells why.
    """
    plane_id = storage.plane or await own_plane_id(data)
    installation = storage.installation or str(plane_id)
    async with messages_between_planes(settings, data, installation, plane_id) as messages:
        if messages is None:
            yield None
            return
        async with anyio.create_task_group() as tasks:
            yield PlaneLinks(messages, storage.store, clock, tasks, PlaneOfWorkers())
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def messages_between_planes(
    settings: NatsSettings, data: Path, installation: str, plane_id: PlaneId
) -> AsyncIterator[NatsMessages | None]:
    """The connection to the other planes; None if there is to be none.

    Args:
        settings: where NATS is, or that a server is to be started.
        data: the data directory.
        installation: what all planes of one installation have in common.
        plane_id: this plane.

    Raises:
        InvalidInput: settings cannot be met.
        NatsUnavailable: NATS cannot be reached or does not let us in; tells why.
    """
    async with AsyncExitStack() as stack:
        if settings.serve:
            options = await stack.enter_async_context(own_nats_server(settings, data))
        elif settings.url is not None:
            options = settings.options()
        else:
            yield None
            return
        yield await stack.enter_async_context(nats_messages(options, installation, plane_id))


async def own_plane_id(data: Path) -> PlaneId:
    """The id of the plane with this data directory; made up when it is asked for first.

    Raises ``InvalidInput`` if there is something else in its file, ``OSError``.
    """
    return await anyio.to_thread.run_sync(_own_plane_id, data / PLANE_FILE)


def _own_plane_id(path: Path) -> PlaneId:
    try:
        found = path.read_text("utf-8").strip()
    except FileNotFoundError:
        found = secrets.token_hex(8)
        write_private(path, found + "\n")
    try:
        return PlaneId(check_token("plane", found))
    except InvalidInput as error:
        raise InvalidInput("data", f"{path} holds no plane's id; delete it") from error
