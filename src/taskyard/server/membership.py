"""This control plane among those that share its database."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from taskyard import __version__
from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import PlaneId, WorkerId
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore
from taskyard.ports.leadership import Plane
from taskyard.ports.logs import LocalLogStore
from taskyard.ports.messages import Messages, WorkerMessages
from taskyard.ports.runtime import Assignment
from taskyard.ports.store import TaskStore
from taskyard.ports.transport import Transport
from taskyard.server.addresses import url_of
from taskyard.server.settings import Settings
from taskyard.server.storage import Storage
from taskyard.services.leadership import ElectedLeader
from taskyard.services.scheduling.plane_workers import PlaneWorkers
from taskyard.services.scheduling.worker_places import WorkerPlaces
from taskyard.transport.local.messages import local_message_hub
from taskyard.transport.planes import PlaneTransport
from taskyard.transport.planes.output import PlaneOutput
from taskyard.transport.workers.output import WorkersOfAttempts


@dataclass(frozen=True, slots=True)
class Membership:
    """What a control plane needs to be one of several."""

    plane_id: PlaneId
    leadership: ElectedLeader
    messages: Messages
    beside: PlaneWorkers
    """The workers beside this plane."""
    planes: WorkerPlaces
    """Beside which plane every worker lives."""
    tasks: TaskGroup
    """Where what others ask for is done."""

    @property
    def worker_id(self) -> WorkerId:
        """The worker inside this plane; the same in every life."""
        return WorkerId(self.plane_id)

    def transport(self, local: Transport, tasks: TaskStore, clock: Clock) -> PlaneTransport:
        """Reaches the workers beside all planes; ``local`` those beside this one."""
        plane_of = self.planes.plane_of

        async def is_current(assignment: Assignment) -> bool:
            try:
                task = await tasks.task(assignment.workspace, assignment.task_id)
            except NotFound:
                return False
            return task.current_attempt == assignment.attempt_id

        return PlaneTransport(local, self.messages, plane_of, clock, self.tasks, is_current)

    def output(
        self, held: LocalLogStore, store: DispatchStore, workers: WorkerMessages | None
    ) -> PlaneOutput:
        """Reads output beside other planes and of workers on other machines, if there are any.

        Lets other planes read ``held``, which is here.
        """
        at_worker = None if workers is None else WorkersOfAttempts(workers, store).place
        return PlaneOutput(self.messages, store.plane_of, held, self.tasks, at_worker)


@asynccontextmanager
async def membership(
    settings: Settings, storage: Storage, messages: Messages | None, clock: Clock
) -> AsyncIterator[Membership | None]:
    """What makes this plane one of several; None if its store is its own.

    Args:
        settings: tell where it listens.
        storage: is open.
        messages: reach the other planes; without, there can be no others.
        clock: for pauses.

    Raises:
        InvalidInput: there are pools, whose hosts would be workers of every plane at once.
    """
    plane_id = storage.plane
    if plane_id is None:
        yield None
        return
    if settings.pools:
        raise InvalidInput(
            "pools",
            "do not go with a database yet: each control plane would take their hosts for its own;"
            " leave them out, and give each control plane the engine of its machine"
            " (container_engine)",
        )
    name = socket.gethostname()
    plane = Plane(plane_id, name, url_of(settings.host, settings.port), __version__)
    leadership = ElectedLeader(storage.store.leadership, plane, clock, time.monotonic)
    beside, planes = PlaneWorkers(time.monotonic), WorkerPlaces()
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        own = messages or hub.plane(plane_id)
        yield Membership(plane_id, leadership, own, beside, planes, tasks)
        tasks.cancel_scope.cancel()
