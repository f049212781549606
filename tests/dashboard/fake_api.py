"""A small stand-in for the native API, only as large as the dashboard's tests need."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from fake_streams import Call, change_socket, change_stream, grow, log_socket, log_stream, world_of
from fake_world import ENDED, WAITING, Json, World, ago
from litestar import Litestar, Response, delete, get, patch, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from taskyard.dashboard.routes import dashboard_router

States = Annotated[list[str] | None, QueryParameter(name="state")]


class Refused(HTTPException):
    """Answered as a problem document."""

    def __init__(self, status: int, title: str, detail: str, errors: list[Json]) -> None:
        super().__init__(status_code=status, detail=detail)
        self.body = {"title": title, "status": status, "detail": detail, "errors": errors}


def refuse(status: int, title: str, detail: str = "", **fields: str) -> Refused:
    """A problem, with its fields."""
    errors = [{"field": name.replace("__", "."), "problem": text} for name, text in fields.items()]
    return Refused(status, title, detail or title, errors)


def problem(_: Call, error: HTTPException) -> Response[Json]:
    """Any error as a problem document."""
    body = error.body if isinstance(error, Refused) else {"title": error.detail}
    return Response(body, status_code=error.status_code, media_type="application/problem+json")


def role_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Role of the credential, if there is a good one."""
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    if kind == "Basic":
        return "read" if base64.b64decode(value) == b"guest:guest" else None
    token = value if kind == "Bearer" else connection.query_params.get("access_token", "")
    world: World = connection.app.state.world
    return world.roles.get(token)


def signed_in(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse whoever has no credential, or a role too low to write."""
    if not handler.paths & {p for p in handler.paths if p.startswith("/api/")}:
        return
    role = role_of(connection)
    if role is None:
        raise refuse(401, "Not authenticated", "no or wrong credential")
    if connection.scope.get("method", "GET") != "GET" and role == "read":
        raise refuse(403, "Not allowed", "this needs the role write")


def known(request: Call, task_id: str) -> Json:
    """A task, or 404."""
    task = world_of(request).tasks.get(task_id)
    if task is None:
        raise refuse(404, "Not found", f"no task '{task_id}' in this workspace")
    return task


def paged(items: list[Json], limit: int, cursor: int) -> Json:
    """A page of a list."""
    end = cursor + limit
    return {"items": items[cursor:end], "next_cursor": str(end) if end < len(items) else None}


@get("/api/v1/me")
async def me(request: Call) -> Json:
    """Who is asking."""
    return {"actor": "token dev", "workspace": "default", "role": role_of(request)}


@get("/health")
async def health(request: Call) -> Json:
    """Alive, and whether with well-known credentials."""
    return {"live": True, "ready": True, "dev": world_of(request).dev}


@get("/api/v1/cluster")
async def cluster(request: Call) -> Json:
    """The control planes."""
    world = world_of(request)
    world.cluster_asked += 1
    return world.cluster


@get("/api/v1/tasks/counts")
async def counts(request: Call, group: FromQuery[str | None] = None) -> Json:
    """Tasks by state."""
    return {"counts": world_of(request).counts(group)}


@get("/api/v1/tasks")
async def tasks(
    request: Call, states: States = None, group: FromQuery[str | None] = None,
    text: FromQuery[str | None] = None, schedule: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50, cursor: FromQuery[int] = 0,
) -> Json:  # fmt: skip
    """A page of tasks, newest first."""
    found = [
        task for task in reversed(world_of(request).tasks.values())
        if (not states or task["state"] in states) and group in (None, task["group"])
        and schedule in (None, task["schedule_id"])
        and (not text or text in json.dumps([task["name"], task["command"]]))
    ]  # fmt: skip
    return paged(
        sorted(found, key=lambda task: str(task["created_at"]), reverse=True), limit, cursor
    )


@post("/api/v1/tasks")
async def submit(request: Call, data: JSONBody[Json]) -> Json:
    """Store a task, or say what is wrong with it."""
    if not data.get("command") and not data.get("image"):
        raise refuse(422, "Invalid input", command="must not be empty")
    if data.get("retry", {}).get("max_attempts", 1) > 1000:
        raise refuse(422, "Invalid input", retry__max_attempts="must be 1 to 1000")
    world = world_of(request)
    world.submitted.append(dict(data))
    task = world.add("queued", data.pop("command", []), 0, **data)
    world.announce(task, "submitted", None)
    return task


@get("/api/v1/tasks/{task_id:str}")
async def show(request: Call, task_id: FromPath[str]) -> Json:
    """One task."""
    return known(request, task_id)


@patch("/api/v1/tasks/{task_id:str}")
async def change(request: Call, task_id: FromPath[str], data: JSONBody[Json]) -> Json:
    """Change a waiting task."""
    task = known(request, task_id)
    task.update(data)
    return task


@delete("/api/v1/tasks/{task_id:str}")
async def remove(request: Call, task_id: FromPath[str]) -> None:
    """Delete an ended task."""
    task = known(request, task_id)
    if task["state"] not in ENDED:
        raise refuse(409, "Conflict", f"a task that is {task['state']} cannot be deleted")
    world_of(request).announce(task, "deleted", task["state"])
    del world_of(request).tasks[task_id]


@get("/api/v1/tasks/{task_id:str}/{part:str}")
async def part_of(request: Call, task_id: FromPath[str], part: FromPath[str]) -> Json:
    """Attempts, history, deliveries, or why."""
    task, world = known(request, task_id), world_of(request)
    if part == "attempts":
        return {"items": world.attempts[task_id]}
    if part == "events":
        return {"items": world.events[task_id], "next_cursor": None}
    if part == "webhooks":
        return {"items": [delivery(task_id)] if task["webhooks"] else []}
    story = [
        f"attempt {one['number']} on forge-1: {one['state']}" for one in world.attempts[task_id]
    ]
    blocked = task["group"] == "mail"
    summary = "group mail is at its limit of 4; 3 ahead of it" if blocked else f"is {task['state']}"
    return {"task_id": task_id, "state": task["state"], "summary": summary, "detail": {},
            "code": "group_limit" if blocked else "ended", "ahead": 3, "story": story}  # fmt: skip


@get("/api/v1/jobs")
async def jobs(request: Call) -> Json:
    """Jobs of another dialect that wait."""
    return {"items": world_of(request).jobs}


@post("/api/v1/jobs/{job_id:str}/cancel", status_code=200)
async def cancel_job(request: Call, job_id: FromPath[str], group: FromQuery[str]) -> Json:
    """Take one back."""
    world = world_of(request)
    (job,) = [one for one in world.jobs if (one["id"], one["group"]) == (job_id, group)]
    world.jobs.remove(job)
    return {**job, "next_at": None}


@get("/api/v1/tasks/{task_id:str}/request")
async def request_of(request: Call, task_id: FromPath[str]) -> Json:
    """What a call asked."""
    known(request, task_id)
    return {"method": "POST", "query": "width=80", "headers": {"x-kind": "thumbnail"},
            "body": "<b>photo</b>", "body_base64": None}  # fmt: skip


@get("/api/v1/tasks/{task_id:str}/result")
async def result_of(request: Call, task_id: FromPath[str]) -> Response[str]:
    """What a call answered: an error of the function's own."""
    known(request, task_id)
    headers = {"taskyard-task-id": task_id, "x-cost": "7"}
    return Response("<i>too large</i>", status_code=413, headers=headers, media_type="text/html")


@post("/api/v1/tasks/{task_id:str}/{action:str}", status_code=202)
async def act(request: Call, task_id: FromPath[str], action: FromPath[str]) -> Json:
    """Cancel or retry."""
    task, world = known(request, task_id), world_of(request)
    if action == "retry":
        again = world.add("queued", task["command"], 0, name=task["name"], retry_of=task_id)
        world.announce(again, "submitted", None)
        return again
    return {
        "task_id": task_id,
        "outcome": cancel(world, task, await request.json() if await request.body() else {}),
    }


def cancel(world: World, task: Json, order: Json) -> str:
    """End a task, with a proof if it ran."""
    if task["state"] in WAITING:
        world.move(task, "cancelled", "cancelled")
        return "cancelled"
    if task["state"] != "running":
        return "ended"
    for one in world.attempts[task["id"]][-1:]:
        one.update(
            state="killed", finished_at=ago(0), signal="SIGKILL", reason="killed",
            kill_report={"requested_at": ago(0.085), "done_at": ago(0), "forced": True,
                         "signal": order.get("signal"), "method": "cgroup", "killed_count": 3,
                         "survivors": []},
        )  # fmt: skip
    world.move(task, "cancelled", "cancelled")
    return "killing"


@post("/api/v1/tasks/cancel", status_code=202)
async def cancel_many(request: Call, data: JSONBody[Json]) -> Json:
    """Cancel many."""
    world = world_of(request)
    return {
        "items": [{"task_id": i, "outcome": cancel(world, world.tasks[i], {})} for i in data["ids"]]
    }


@get("/api/v1/tasks/{task_id:str}/logs/{stream:str}")
async def read_log(
    request: Call,
    task_id: FromPath[str],
    stream: FromPath[str],
    offset: FromQuery[int] = 0,
    length: FromQuery[int] = 8 << 20,
) -> Response[bytes]:
    """Bytes of a stream."""
    data = bytes(world_of(request).logs.get((task_id, stream), b""))
    headers = {"Log-Size": str(len(data)), "Log-Dropped": "0", "Log-Complete": "false"}
    return Response(
        data[offset : offset + length], headers=headers, media_type="application/octet-stream"
    )


def delivery(task_id: str) -> Json:
    """A webhook delivery that failed twice."""
    return {"id": str(uuid.UUID(int=7)), "task_id": task_id, "event": "finished",
            "url": "https://app.example/hook", "state": "failed", "attempt_count": 2,
            "next_at": None, "created_at": ago(190), "delivered_at": None, "last_status": 503,
            "last_error": "answered 503", "tries": [
                {"at": ago(190), "status": 503, "error": None, "duration_ms": 84},
                {"at": ago(100), "status": None, "error": "no answer", "duration_ms": 10_000},
            ]}  # fmt: skip


@get(["/api/v1/groups", "/api/v1/{listing:str}"])
async def listing_of(request: Call) -> Json:
    """The lists that the tests only look at."""
    world, listing = world_of(request), request.path_params.get("listing", "groups")
    names = sorted({str(task["group"]) for task in world.tasks.values()})
    made = {"created_at": ago(86_400 * 12), "workspace": "default"}
    capacity = {"slots": 16, "cpu": 8.0, "memory_bytes": 32 << 30}
    used = {"slots": 5, "cpu": 6.2, "memory_bytes": 30 << 30}
    beat = {"state": "ready", "version": "0.1.0", "runtimes": ["command"], "joined_at": ago(9000),
            "beat_at": ago(0.4), "capacity": capacity}  # fmt: skip
    lists: dict[str, list[Json]] = {
        "groups": [world.group(name) for name in names],
        "workers": [{"id": "forge-1", "hostname": "forge", "used": used, **beat},
                    {"id": "anvil-1", "hostname": "anvil", "used": dict.fromkeys(used, 0), **beat}],
        "tokens": [{"id": "t1", "name": "ci", "role": "write", "expires_at": None,
                    "revoked_at": None, "last_used_at": ago(3600), **made}],
        "users": [{"name": "ada", "role": "admin", **made}],
        "secrets": [{"name": "db-password", "updated_at": ago(50), **made}],
        "audit": [{"number": 2, "at": ago(30), "actor": "token ci", "action": "task.submit",
                   "target": str(uuid.UUID(int=3)), "outcome": "done", "address": "10.0.0.7",
                   "detail": None},
                  {"number": 1, "at": ago(90), "actor": "user guest", "action": "group.pause",
                   "target": "mail", "outcome": "refused", "address": "10.0.0.9",
                   "detail": "needs operate"}],
    }  # fmt: skip
    if listing == "workspace":
        return {"name": "default", "concurrency_limit": None, "counts": world.counts()}
    if listing not in lists:
        raise refuse(404, "Not found")
    return {"items": lists[listing], "next_cursor": None}


@get("/api/v1/webhooks/deliveries")
async def deliveries(request: Call) -> Json:
    """All deliveries."""
    return paged([delivery(i) for i, t in world_of(request).tasks.items() if t["webhooks"]], 50, 0)


@post("/api/v1/groups/{name:str}/{action:str}")
async def turn_group(request: Call, name: FromPath[str], action: FromPath[str]) -> Json:
    """Pause or resume a group."""
    world = world_of(request)
    world.group(name)
    world.groups[name]["paused"] = action == "pause"
    return world.group(name)


@get("/openapi.json")
async def description() -> Json:
    """A description in OpenAPI 3.1, with what 3.0 writes otherwise."""
    limit = {"oneOf": [{"type": "null"}, {"type": "integer", "exclusiveMinimum": 0}]}
    task = {"type": "object", "properties": {"name": {"type": ["string", "null"]}, "limit": limit,
                                             "kind": {"const": "command"}}}  # fmt: skip
    answer = {"description": "the task", "content": {"application/json": {"schema": task}}}
    operation = {"summary": "Who is asking", "responses": {"200": answer}}
    return {"openapi": "3.1.0", "info": {"title": "Taskyard", "version": "1"},
            "paths": {"/api/v1/me": {"get": operation}}}  # fmt: skip


def application(world: World) -> Litestar:
    """The fake API with the real dashboard in front of it."""

    @asynccontextmanager
    async def growing(_: Litestar) -> AsyncIterator[None]:
        """Let the log of the running task grow."""
        world.loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            group.start_soon(grow, world)
            yield
            group.cancel_scope.cancel()

    return Litestar(
        route_handlers=[
            dashboard_router(), me, health, cluster, counts,
            tasks, submit, show, change, remove, part_of,
            request_of, result_of, jobs, cancel_job,
            act, cancel_many, read_log, log_socket, change_socket, listing_of, deliveries,
            turn_group, description, change_stream, log_stream,
        ],
        guards=[signed_in],
        exception_handlers={HTTPException: problem},
        state=State({"world": world}),
        openapi_config=None,
        lifespan=[growing],
    )  # fmt: skip
