"""The routes about the cluster: its state, executors, maintenance, events."""

from typing import Any, Final

from taskyard.core.access.principals import Role
from taskyard.dialects.drove.auth import ALL, MAINTAINERS
from taskyard.dialects.drove.cluster import Controller
from taskyard.dialects.drove.dialect import BASE, Call, Roles
from taskyard.dialects.drove.errors import (
    MAINTENANCE,
    LookupFailed,
    ValidationFailed,
    encoded_success,
    success,
)
from taskyard.dialects.drove.executors import Executor, known, present
from taskyard.dialects.drove.summary import dashboard as dashboard_of
from taskyard.dialects.drove.summary import summary as summary_of
from taskyard.dialects.drove.views import milliseconds
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routes import Routes
from taskyard.services.access.permissions import require_installation

EVENTS_SIZE: Final = 1024
EVENTS_MOST: Final = 10_000
"""In one answer, whatever is asked for."""
_NOTHING: Final[dict[str, Any]] = {"/endpoints": [], "/applications": {}, "/localservices": {}}

routes = Routes[Call, Roles](ALL, BASE)


@routes.get("/ping")
async def ping(call: Call) -> Answer:  # noqa: ARG001 - as all handlers
    """Section 9: a sign of life."""
    return success("pong")


@routes.get("/endpoints")
@routes.get("/applications")
@routes.get("/localservices")
async def nothing(call: Call) -> Answer:
    """Lists of other kinds of workload, which are always empty."""
    return success(_NOTHING["/" + call.scope["path"].rstrip("/").rpartition("/")[2]])


@routes.get("/cluster")
async def summary(call: Call) -> Answer:
    """Section 9: the cluster in numbers."""
    rows = await call.cluster.tasks.active(call.caller)
    in_maintenance = await call.cluster.in_maintenance()
    leader = _leader(call)
    return success(
        summary_of(present(call.cluster.engine), len(rows), leader, in_maintenance=in_maintenance)
    )


@routes.get("/cluster/dashboard")
async def dashboard(call: Call) -> Answer:
    """Section 9: numbers for a page."""
    cluster = call.cluster
    executors = await known(cluster.engine)
    in_maintenance = await cluster.in_maintenance()
    # Last: what has ended since cannot be shown as active any more.
    rows = await cluster.tasks.active(call.caller)
    leader = _leader(call)
    cluster.names.refresh()
    now = milliseconds(cluster.engine.clock.now())
    numbers = summary_of(executors, len(rows), leader, in_maintenance=in_maintenance)
    return success(dashboard_of(numbers, executors, rows, cluster.names, now))


@routes.get("/cluster/executors")
async def executors(call: Call) -> Answer:
    """Section 9: all executors."""
    return success([one.row() for one in await known(call.cluster.engine)])


@routes.get("/cluster/executors/{id}")
async def executor(call: Call) -> Answer:
    """Section 9: one executor and what runs there."""
    name = call.path("id")
    found = next((one for one in present(call.cluster.engine) if one.id == name), None)
    if found is None:
        raise LookupFailed(f"No executor found with id {name}")
    rows = await call.cluster.tasks.active_on(call.caller, found.record.id)
    hosts = call.cluster.names
    hosts.refresh()
    tasks = b",".join([row.encoded(hosts) for row in rows])
    detail = success(found.detail()).body
    begin = detail.index(b'"data":') + len(b'"data":')
    return encoded_success(detail[begin:-2] + b',"tasks":[' + tasks + b"]}")


@routes.post("/cluster/executors/blacklist", MAINTAINERS)
@routes.post("/cluster/executors/{id}/blacklist", MAINTAINERS)
async def blacklist(call: Call) -> Answer:
    """Section 9: have executors take nothing new."""
    return await _switch(call, draining=True)


@routes.post("/cluster/executors/unblacklist", MAINTAINERS)
@routes.post("/cluster/executors/{id}/unblacklist", MAINTAINERS)
async def unblacklist(call: Call) -> Answer:
    """Section 9: let executors take tasks again."""
    return await _switch(call, draining=False)


async def _switch(call: Call, *, draining: bool) -> Answer:
    cluster = call.cluster
    require_installation(call.caller, Role.OPERATE)
    await call.read()  # ignored, whatever its type
    if "id" in call.scope["path_params"]:
        ids = [call.path("id")]
    else:
        ids = [value for name, value in call.pairs() if name == "id" and value]
    if not ids:
        raise ValidationFailed(["query param id must not be empty"])
    if await cluster.in_maintenance():
        raise LookupFailed(MAINTENANCE)
    ids = list(dict.fromkeys(ids))
    if cluster.changing:
        return success(_outcome([], ids, "Another such request is in progress"))
    cluster.changing = True
    try:
        done = await _drain(call, ids, draining=draining)
    finally:
        cluster.changing = False
    failed = [name for name in ids if name not in done]
    said = "Done" if not failed else "Some executors are unknown, or need nothing done"
    return success(_outcome(done, failed, said))


async def _drain(call: Call, ids: list[str], *, draining: bool) -> list[str]:
    """Drain those that can be, or the other way round; answers with their ids."""
    here = {one.id: one for one in present(call.cluster.engine)}
    able: list[Executor] = [here[name] for name in ids if name in here]
    if draining and all(one.record.draining for one in able):
        return []
    for one in able:
        if draining:
            await call.cluster.engine.workers.drain(call.caller, one.record.id)
        else:
            await call.cluster.engine.workers.undrain(call.caller, one.record.id)
    return [one.id for one in able]


@routes.post("/cluster/maintenance/set", MAINTAINERS)
async def set_maintenance(call: Call) -> Answer:
    """Section 9: refuse operations from now on."""
    return await _maintain(call, is_on=True)


@routes.post("/cluster/maintenance/unset", MAINTAINERS)
async def unset_maintenance(call: Call) -> Answer:
    """Section 9: take operations again, at once."""
    return await _maintain(call, is_on=False)


async def _maintain(call: Call, *, is_on: bool) -> Answer:
    cluster = call.cluster
    require_installation(call.caller, Role.OPERATE)
    await call.read()  # ignored, whatever its type
    before = await cluster.in_maintenance()
    record = await cluster.engine.maintenance.set(call.caller, is_on=is_on)
    if before != is_on:
        kind = "MAINTENANCE_MODE_SET" if is_on else "MAINTENANCE_MODE_REMOVED"
        cluster.events.add(kind, Controller(cluster.hostname))
    changed = record.changed_at or cluster.engine.clock.now()
    state = "MAINTENANCE" if record.is_on else "NORMAL"
    return success({"state": state, "updated": milliseconds(changed)})


@routes.get("/cluster/events")
async def events(call: Call) -> Answer:
    """Section 10: the form that the command-line client asks for."""
    found, _ = await _newest(call)
    return success(found)


@routes.get("/cluster/events/latest")
async def latest(call: Call) -> Answer:
    """Section 10: what is newer than a time, and the time to ask with next."""
    found, sync_time = await _newest(call)
    return success({"events": found, "lastSyncTime": sync_time})


async def _newest(call: Call) -> tuple[list[dict[str, Any]], int]:
    after = call.number("lastSyncTime", 0, 0)
    size = min(call.number("size", EVENTS_SIZE, 0), EVENTS_MOST)
    events = call.cluster.events
    await call.cluster.tasks.catch_up(call.caller)
    newest = events.newest(call.caller.workspace, after, size)
    sync_time = events.sync_time(after)
    return [await call.cluster.shown(call.caller, event) for event in newest], sync_time


@routes.get("/cluster/events/summary")
async def counts(call: Call) -> Answer:
    """Section 10: how many of each type are newer than a time."""
    after = call.number("lastSyncTime", 0, 0)
    events = call.cluster.events
    await call.cluster.tasks.catch_up(call.caller)
    counts = events.counts(call.caller.workspace, after)
    return success({"eventsCount": counts, "lastSyncTime": events.sync_time(after)})


def _leader(call: Call) -> str:
    server = call.scope.get("server")
    port = server[1] if server and server[1] else 0
    return f"{call.cluster.hostname}:{port}"


def _outcome(done: list[str], failed: list[str], message: str) -> dict[str, Any]:
    return {
        "successful": done,
        "failed": failed,
        "approxCompletionTimeMs": 0,
        "message": message,
    }
