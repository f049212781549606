"""What all applications of the dialect share: the projection of tasks, events, executors."""

import socket
from dataclasses import dataclass
from typing import Any, Final

from taskyard.core.access.principals import Caller
from taskyard.dialects.drove.errors import MAINTENANCE, ValidationFailed
from taskyard.dialects.drove.events import Event, Events
from taskyard.dialects.drove.executors import Executor, present
from taskyard.dialects.drove.identities import executor_id
from taskyard.dialects.drove.projection import TaskProjection
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.drove.task_rows import ExecutorNames, TaskRow
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.engine import Engine

_STATES: Final = {
    "ACTIVE": "EXECUTOR_UN_BLACKLISTED",
    "UNREADY": "EXECUTOR_UN_BLACKLISTED",
    "BLACKLISTED": "EXECUTOR_BLACKLISTED",
}
_ENDING: Final = frozenset(
    {"RUN_COMPLETED", "RUN_FAILED", "PROVISIONING_FAILED", "DEPROVISIONING", "STOPPED", "LOST"}
)


@dataclass(frozen=True, slots=True)
class Controller:
    """Metadata of events about the controller."""

    hostname: str


class Cluster:
    """One engine as the dialect sees it. Belongs to one event loop."""

    def __init__(self, context: DialectContext, settings: DroveSettings) -> None:
        self.context = context
        self.settings = settings
        self.hostname = socket.gethostname()
        self.events = Events(settings.events_kept, is_shared=context.engine.bus.fed)
        self.names = ExecutorNames(context.engine)
        self.tasks = TaskProjection(context.engine, self.events, self.names)
        self.changing = False
        """Whether executors are being blacklisted or the other way round."""
        self._executors: dict[str, Executor] = {}
        self.events.add("LEADERSHIP_ACQUIRED", Controller(self.hostname))
        self._compare()
        context.engine.dispatch.watch(self._compare)

    @property
    def engine(self) -> Engine:
        """What all of this is a view of."""
        return self.context.engine

    async def in_maintenance(self) -> bool:
        """Whether operations are refused now. Raises as the store does."""
        return (await self.engine.maintenance.state()).is_on

    async def check_open(self) -> None:
        """Raise :class:`ValidationFailed` during maintenance."""
        if await self.in_maintenance():
            raise ValidationFailed([MAINTENANCE])

    async def shown(self, caller: Caller, event: Event) -> dict[str, Any]:
        """An event on the wire. Raises as the store does."""
        return {
            "type": event.type,
            "id": self.events.id_of(event),
            "time": event.time,
            "metadata": await self._metadata(caller, event),
        }

    async def _metadata(self, caller: Caller, event: Event) -> dict[str, Any]:
        subject = event.subject
        if isinstance(subject, TaskRow):
            return await self._of_task(caller, subject, event.state)
        if isinstance(subject, Controller):
            return {"HOSTNAME": subject.hostname}
        found: dict[str, Any] = subject
        return found

    async def _of_task(self, caller: Caller, row: TaskRow, state: str) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "APP_NAME": row.app,
            "TASK_ID": row.name,
            "INSTANCE_ID": row.instance,
            "EXECUTABLE": row.image,
            "CREATED": row.created,
            "CURRENT_STATE": state,
        }
        if row.place is not None:
            shown["EXECUTOR_ID"] = executor_id(row.place.worker_id)
            if row.place.hostname:
                shown["EXECUTOR_HOST"] = row.place.hostname
        if state in _ENDING and (result := await self.tasks.outcome(caller, row)) is not None:
            shown["RESULT_STATUS"] = result.status.value
            shown["RESULT_EXIT_CODE"] = result.code
            if result.error:
                shown["ERROR"] = result.error
        return shown

    def _compare(self) -> None:
        """Compare who is here with who was, and tell what is different."""
        self.names.refresh()
        before, self._executors = self._executors, {one.id: one for one in present(self.engine)}
        for name, one in self._executors.items():
            was = before.get(name)
            if was is None:
                self.events.add("EXECUTOR_ADDED", one.event())
            elif was.record.draining != one.record.draining:
                if one.record.draining:
                    self.events.add("EXECUTOR_BLACKLIST_REQUESTED", one.event())
                self.events.add(_STATES[one.state], one.event())
        for name in before.keys() - self._executors.keys():
            self.events.add("EXECUTOR_REMOVED", {"EXECUTOR_ID": name})
