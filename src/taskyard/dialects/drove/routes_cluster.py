"""The routes about the cluster: its state, executors, maintenance, events."""

from typing import Any, Final

from litestar.handlers import HTTPRouteHandler

from taskyard.core.access.principals import Caller, Role
from taskyard.dialects.drove.callers import ALL, MAINTAINERS
from taskyard.dialects.drove.cluster import Cluster, Controller
from taskyard.dialects.drove.errors import (
    MAINTENANCE,
    LookupFailed,
    Refused,
    encoded_success,
    success,
)
from taskyard.dialects.drove.executors import Executor, known, present
from taskyard.dialects.drove.requests import (
    Connection,
    ignored_body,
    number,
    parameters,
    route,
    text_in_path,
)
from taskyard.dialects.drove.summary import dashboard, summary
from taskyard.dialects.drove.views import milliseconds
from taskyard.dialects.http.answers import Answer
from taskyard.services.access.accounts import require_installation

EVENTS_SIZE: Final = 1024
EVENTS_MOST: Final = 10_000
"""In one answer, whatever is asked for."""
_NOTHING: Final[dict[str, Any]] = {"/endpoints": [], "/applications": {}, "/localservices": {}}


class ClusterRoutes:
    """The handlers, with what they work with."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def handlers(self) -> list[HTTPRouteHandler]:
        """All of them."""
        cluster, read, write = self._cluster, ["GET", "HEAD"], ["POST"]
        base, one = "/cluster/executors", "/cluster/executors/{id:str}"
        switch = "/cluster/maintenance"
        return [
            route(cluster, "/ping", read, ALL, self.ping),
            route(cluster, "/cluster", read, ALL, self.summary),
            route(cluster, "/cluster/dashboard", read, ALL, self.dashboard),
            route(cluster, base, read, ALL, self.executors),
            route(cluster, f"{base}/blacklist", write, MAINTAINERS, self.blacklist),
            route(cluster, f"{base}/unblacklist", write, MAINTAINERS, self.unblacklist),
            route(cluster, one, read, ALL, self.executor),
            route(cluster, f"{one}/blacklist", write, MAINTAINERS, self.blacklist),
            route(cluster, f"{one}/unblacklist", write, MAINTAINERS, self.unblacklist),
            route(cluster, f"{switch}/set", write, MAINTAINERS, self.set_maintenance),
            route(cluster, f"{switch}/unset", write, MAINTAINERS, self.unset_maintenance),
            route(cluster, "/cluster/events", read, ALL, self.events),
            route(cluster, "/cluster/events/latest", read, ALL, self.latest),
            route(cluster, "/cluster/events/summary", read, ALL, self.counts),
            *(route(cluster, path, read, ALL, self.nothing) for path in _NOTHING),
        ]

    async def ping(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: a sign of life."""
        del request, caller
        return success("pong")

    async def nothing(self, request: Connection, caller: Caller) -> Answer:
        """What belongs to other kinds of workload, of which there is none."""
        del caller
        return success(_NOTHING["/" + request.scope["path"].rstrip("/").rpartition("/")[2]])

    async def summary(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: the cluster in numbers."""
        rows = await self._cluster.board.active(caller)
        in_maintenance = await self._cluster.in_maintenance()
        leader = self._leader(request)
        return success(
            summary(present(self._cluster.engine), len(rows), leader, in_maintenance=in_maintenance)
        )

    async def dashboard(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: numbers for a page."""
        cluster = self._cluster
        executors = await known(cluster.engine)
        in_maintenance = await cluster.in_maintenance()
        # Last: what has ended since cannot be shown as active any more.
        rows = await cluster.board.active(caller)
        leader = self._leader(request)
        cluster.hosts.look()
        now = milliseconds(cluster.engine.clock.now())
        numbers = summary(executors, len(rows), leader, in_maintenance=in_maintenance)
        return success(dashboard(numbers, executors, rows, cluster.hosts, now))

    async def executors(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: all executors."""
        del request, caller
        return success([one.row() for one in await known(self._cluster.engine)])

    async def executor(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: one executor and what runs there."""
        name = text_in_path(request, "id")
        found = next((one for one in present(self._cluster.engine) if one.id == name), None)
        if found is None:
            raise LookupFailed(f"No executor found with id {name}")
        rows = await self._cluster.board.active_on(caller, found.record.id)
        hosts = self._cluster.hosts
        hosts.look()
        tasks = b",".join([row.encoded(hosts) for row in rows])
        detail = success(found.detail()).body
        begin = detail.index(b'"data":') + len(b'"data":')
        return encoded_success(detail[begin:-2] + b',"tasks":[' + tasks + b"]}")

    async def blacklist(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: have executors take nothing new."""
        return await self._switch(request, caller, draining=True)

    async def unblacklist(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: let executors take tasks again."""
        return await self._switch(request, caller, draining=False)

    async def _switch(self, request: Connection, caller: Caller, *, draining: bool) -> Answer:
        cluster = self._cluster
        require_installation(caller, Role.OPERATE)
        await ignored_body(cluster, request, caller)
        if "id" in request.scope["path_params"]:
            ids = [text_in_path(request, "id")]
        else:
            ids = [value for name, value in parameters(request) if name == "id" and value]
        if not ids:
            raise Refused(["query param id must not be empty"])
        if await cluster.in_maintenance():
            raise LookupFailed(MAINTENANCE)
        ids = list(dict.fromkeys(ids))
        if cluster.changing:
            return success(_outcome([], ids, "Another such request is in progress"))
        cluster.changing = True
        try:
            done = await self._drain(caller, ids, draining=draining)
        finally:
            cluster.changing = False
        failed = [name for name in ids if name not in done]
        said = "Done" if not failed else "Some executors are unknown, or need nothing done"
        return success(_outcome(done, failed, said))

    async def _drain(self, caller: Caller, ids: list[str], *, draining: bool) -> list[str]:
        """Drain those that can be, or the other way round; answers with their ids."""
        here = {one.id: one for one in present(self._cluster.engine)}
        able: list[Executor] = [here[name] for name in ids if name in here]
        if draining and all(one.record.draining for one in able):
            return []
        for one in able:
            if draining:
                await self._cluster.engine.workers.drain(caller, one.record.id)
            else:
                await self._cluster.engine.workers.undrain(caller, one.record.id)
        return [one.id for one in able]

    async def set_maintenance(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: refuse operations from now on."""
        return await self._maintain(request, caller, is_on=True)

    async def unset_maintenance(self, request: Connection, caller: Caller) -> Answer:
        """Section 9: take operations again, at once."""
        return await self._maintain(request, caller, is_on=False)

    async def _maintain(self, request: Connection, caller: Caller, *, is_on: bool) -> Answer:
        cluster = self._cluster
        require_installation(caller, Role.OPERATE)
        await ignored_body(cluster, request, caller)
        before = await cluster.in_maintenance()
        record = await cluster.engine.maintenance.set(caller, is_on=is_on)
        if before != is_on:
            kind = "MAINTENANCE_MODE_SET" if is_on else "MAINTENANCE_MODE_REMOVED"
            cluster.events.add(kind, Controller(cluster.hostname))
        changed = record.changed_at or cluster.engine.clock.now()
        state = "MAINTENANCE" if record.is_on else "NORMAL"
        return success({"state": state, "updated": milliseconds(changed)})

    async def events(self, request: Connection, caller: Caller) -> Answer:
        """Section 10: the form that the command-line client asks for."""
        found, _ = await self._newest(request, caller)
        return success(found)

    async def latest(self, request: Connection, caller: Caller) -> Answer:
        """Section 10: what is newer than a time, and the time to ask with next."""
        found, sync_time = await self._newest(request, caller)
        return success({"events": found, "lastSyncTime": sync_time})

    async def _newest(
        self, request: Connection, caller: Caller
    ) -> tuple[list[dict[str, Any]], int]:
        after = number(request, "lastSyncTime", 0, 0)
        size = min(number(request, "size", EVENTS_SIZE, 0), EVENTS_MOST)
        events = self._cluster.events
        newest = events.newest(caller.workspace, after, size)
        sync_time = events.sync_time(after)
        return [await self._cluster.shown(caller, event) for event in newest], sync_time

    async def counts(self, request: Connection, caller: Caller) -> Answer:
        """Section 10: how many of each type are newer than a time."""
        after = number(request, "lastSyncTime", 0, 0)
        events = self._cluster.events
        counts = events.counts(caller.workspace, after)
        return success({"eventsCount": counts, "lastSyncTime": events.sync_time(after)})

    def _leader(self, request: Connection) -> str:
        server = request.scope.get("server")
        port = server[1] if server and server[1] else 0
        return f"{self._cluster.hostname}:{port}"


def _outcome(done: list[str], failed: list[str], message: str) -> dict[str, Any]:
    return {
        "successful": done,
        "failed": failed,
        "approxCompletionTimeMs": 0,
        "message": message,
    }
