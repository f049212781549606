"""A small real server for the slice of the native API that the client's tests exercise.

Runs commands as plain child processes and keeps everything in memory. ``POST /faults`` makes it
misbehave: ``cut_follow_bytes`` cuts the next follow streams after so many bytes of output,
``refuse`` answers the next requests with that many of the given statuses.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import contract_settings
import uvicorn
from contract_engine import FAULTS, GROUPS, JOBS, KEYS, TASKS, TERMINAL, Json, Running, problem
from contract_streams import changes, find, follow
from litestar import Litestar, Request, Response, delete, get, patch, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter


def accept(spec: Json, request: "Request[Any, Any, Any]") -> tuple[Running, bool]:
    """Store a specification; whether it is new."""
    if not spec.get("command"):
        raise problem(
            422,
            "invalid-input",
            "The request breaks a rule.",
            errors=[{"field": "command", "problem": "is required"}],
        )
    key = spec.get("idempotency_key")
    if key in KEYS:
        return TASKS[KEYS[key]], False
    entry = Running(spec, request.state.workspace)
    TASKS[entry.task["id"]] = entry
    if key:
        KEYS[key] = entry.task["id"]
    if entry.task["state"] == "queued" and not GROUPS.get(entry.task["group"], {}).get("paused"):
        job = asyncio.get_running_loop().create_task(entry.run())
        JOBS.add(job)
        job.add_done_callback(JOBS.discard)
    return entry, True


@post("/api/v1/tasks")
async def submit(data: Json, request: Request[Any, Any, Any]) -> Response[Json]:
    """Submit one."""
    entry, created = accept(data, request)
    return Response(dict(entry.task), status_code=201 if created else 200)


@post("/api/v1/tasks/batch")
async def batch(data: Json, request: Request[Any, Any, Any]) -> Json:
    """Submit many."""
    accepted = [accept(spec, request) for spec in data["tasks"]]
    return {
        "items": [
            {"id": entry.task["id"], "state": entry.task["state"], "created": created}
            for entry, created in accepted
        ]
    }


@get("/api/v1/tasks")
async def listing(
    states: Annotated[list[str] | None, Parameter(query="state")] = None,
    group: str | None = None,
    label: list[str] | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Json:
    """A page, newest first."""
    start = int(cursor or 0)
    found = [
        entry.task
        for entry in reversed(TASKS.values())
        if (not states or entry.task["state"] in states)
        and group in (None, entry.task["group"])
        and all(
            entry.task.get("labels", {}).get(key) == value
            for key, _, value in (each.partition(":") for each in label or ())
        )
    ]
    more = start + limit < len(found)
    return {
        "items": found[start : start + limit],
        "next_cursor": str(start + limit) if more else None,
    }


@get("/api/v1/tasks/counts")
async def counts() -> Json:
    """Counts by state."""
    counted: dict[str, int] = {}
    for entry in TASKS.values():
        counted[entry.task["state"]] = counted.get(entry.task["state"], 0) + 1
    return {"counts": counted}


@get("/api/v1/tasks/{task_id:str}")
async def one(task_id: str) -> Json:
    """One task."""
    return find(task_id).task


@patch("/api/v1/tasks/{task_id:str}")
async def update(task_id: str, data: Json) -> Json:
    """Change a waiting task."""
    entry = find(task_id)
    if entry.task["state"] != "scheduled":
        raise problem(409, "conflict", f"a task that is {entry.task['state']} cannot change")
    await entry.change(**data)
    return entry.task


@delete("/api/v1/tasks/{task_id:str}")
async def remove(task_id: str) -> None:
    """Remove an ended task."""
    if find(task_id).task["state"] not in TERMINAL:
        raise problem(409, "conflict", "the task has not ended")
    del TASKS[task_id]


@get("/api/v1/tasks/{task_id:str}/attempts")
async def attempts(task_id: str) -> Json:
    """All attempts."""
    return {"items": find(task_id).attempts}


@get("/api/v1/tasks/{task_id:str}/events")
async def history(task_id: str) -> Json:
    """The history."""
    task = find(task_id).task
    return {"items": [{"number": 1, "kind": "submitted", "at": task["created_at"]}]}


@get("/api/v1/tasks/{task_id:str}/why")
async def why(task_id: str) -> Json:
    """Why it is where it is."""
    task = find(task_id).task
    return {
        "task_id": task_id,
        "state": task["state"],
        "summary": f"it is {task['state']}",
        "code": "ended",
        "story": ["attempt 1 ran"],
    }


@post("/api/v1/tasks/{task_id:str}/cancel", status_code=202)
async def cancel(task_id: str, data: Json | None = None) -> Json:
    """Cancel one."""
    outcome = await find(task_id).cancel((data or {}).get("signal", "SIGTERM"))
    return {"task_id": task_id, "outcome": outcome}


@post("/api/v1/tasks/cancel", status_code=202)
async def cancel_many(data: Json) -> Json:
    """Cancel many."""
    if "group" in data:
        ids = [
            key
            for key, entry in TASKS.items()
            if entry.task["group"] == data["group"] and entry.task["state"] not in TERMINAL
        ]
    else:
        ids = data["ids"]
    return {
        "items": [
            {
                "task_id": each,
                "outcome": await TASKS[each].cancel("SIGTERM") if each in TASKS else "unknown",
            }
            for each in ids
        ]
    }


@post("/api/v1/tasks/{task_id:str}/retry")
async def retry(task_id: str, request: Request[Any, Any, Any]) -> Json:
    """Submit again."""
    task = find(task_id).task
    if task["state"] not in TERMINAL - {"succeeded"}:
        raise problem(409, "conflict", f"a task that is {task['state']} cannot retry")
    spec: Json = {name: task[name] for name in ("command", "group", "env") if name in task}
    entry, _ = accept(spec, request)
    entry.task["retry_of"] = task_id
    return entry.task


@get("/api/v1/tasks/{task_id:str}/wait")
async def wait(task_id: str, timeout_s: float) -> Json:
    """Answer when it has ended."""
    entry = find(task_id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), entry.moved:
            await entry.moved.wait_for(lambda: entry.task["state"] in TERMINAL)
    return entry.task


@get("/api/v1/tasks/{task_id:str}/logs/{stream:str}")
async def logs(
    task_id: str, stream: str, attempt: int | None = None, offset: int = 0
) -> Response[bytes]:
    """Bytes of a stream, a few at a time."""
    output = find(task_id).output
    data = bytes(output[(attempt or len(output)) - 1][stream]) if output else b""
    return Response(data[offset : offset + 7], media_type="application/octet-stream")


@get("/health")
async def health() -> Json:
    """Well."""
    return {"live": True, "ready": True}


@post("/faults")
async def faults(data: Json) -> Json:
    """Misbehave from now on."""
    FAULTS.update(data)
    return FAULTS


async def admit(request: Request[Any, Any, Any]) -> Response[Json] | None:
    """Check the credential, name the workspace, and refuse what was asked to be refused."""
    path = request.url.path
    if not path.startswith("/api"):
        return None
    if FAULTS["refuse"]:
        status = FAULTS["refuse"].pop(0)
        document = {"type": "about:blank#overloaded", "status": status, "detail": "too much"}
        return Response(document, status_code=status, headers={"retry-after": "0.05"})
    basic = base64.b64encode(b"admin:secret").decode()
    credential = request.headers.get("authorization")
    local = request.scope["server"] is None or request.scope["server"][1] is None
    if not local and credential not in {"Bearer dev", f"Basic {basic}"}:
        raise problem(401, "not-authenticated", "no valid credential was presented")
    chosen = request.headers.get("taskyard-workspace", "default") if local else "default"
    request.state.workspace = chosen
    return None


def explain(_: Request[Any, Any, Any], error: HTTPException) -> Response[Json]:
    """An error as a problem document."""
    extra = error.extra if isinstance(error.extra, dict) else {}
    document = {"title": "Problem", "status": error.status_code, "detail": error.detail, **extra}
    return Response(document, status_code=error.status_code, media_type="application/problem+json")


HANDLERS = (
    submit,
    batch,
    listing,
    counts,
    one,
    update,
    remove,
    attempts,
    history,
    why,
    cancel,
    cancel_many,
    retry,
    wait,
    logs,
    follow,
    changes,
    health,
    faults,
)

APP = Litestar(
    [*HANDLERS, *contract_settings.HANDLERS],
    before_request=admit,
    exception_handlers={HTTPException: explain},
    openapi_config=None,
)


async def serve(data: Path, dev: bool) -> None:
    """Serve over TCP and at the control socket of a data directory until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0))
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(data / "control.sock"))
    control.listen()
    server = uvicorn.Server(uvicorn.Config(APP, log_level="warning", lifespan="off"))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    file = {"pid": os.getpid(), "url": url, "control": "control.sock", "dev": dev}
    (data / "server.json.new").write_text(json.dumps(file))
    (data / "server.json.new").rename(data / "server.json")
    await server.serve([listener, control])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--dev", action="store_true")
    options = parser.parse_args()
    asyncio.run(serve(options.data, options.dev))
    sys.exit(0)
