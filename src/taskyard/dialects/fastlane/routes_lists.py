"""Routes of lists, health, status and hosts."""

import re
from collections.abc import Sequence
from math import ceil
from typing import Any, Final
from urllib.parse import urlencode

from litestar.types import ASGIApp

from taskyard.core.access.principals import Role
from taskyard.core.errors import NotFound, TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.jobs import Job
from taskyard.core.states import TaskState
from taskyard.dialects.fastlane.container_hosts import host_objects, host_of_body, workers_at
from taskyard.dialects.fastlane.dialect import Call
from taskyard.dialects.fastlane.errors import (
    json_error,
    page_answer,
)
from taskyard.dialects.fastlane.mapping import container_of, job_object
from taskyard.dialects.fastlane.schemas import document_answer, iso, unix
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.errors import Refused
from taskyard.dialects.http.routes import Routes
from taskyard.ports.store import TaskQuery
from taskyard.services.access.permissions import require_installation

VERSION: Final = "2.2.4"
"""Of the original whose contract this is."""
RUNNING_SHOWN: Final = 500
_PAGE: Final = re.compile(r"[0-9]{1,9}\Z")
_WORD: Final = re.compile(r"\w+")

routes = Routes[Call, None](access=None)


@routes.get("/")
@routes.get("/healthcheck")
async def health(call: Call) -> ASGIApp:
    """``GET /`` and ``GET /healthcheck``."""
    errors: list[dict[str, str]] = []
    try:
        await call.engine.jobs.counts(call.caller)
    except TaskyardError as error:
        errors.append({"source": "mongo", "message": str(error)})
    if call.engine.bus.closed:
        errors.append({"source": "redis", "message": "the queue is closed"})
    sources = {one["source"] for one in errors}
    document = {
        "redis": "redis" not in sources,
        "mongo": "mongo" not in sources,
        "errors": errors,
    }
    return document_answer(document, 500 if errors else 200)


@routes.get("/tasks")
async def task_list(call: Call) -> ASGIApp:
    """``GET /tasks``."""
    return await _page(call, "/tasks/", None, {})


@routes.get("/search")
async def search(call: Call) -> ASGIApp:
    """``GET /search``."""
    query = call.parameters().get("query")
    if not query:
        raise json_error(400, "search_tasks", "The parameter query is required.")
    words = _WORD.findall(query.casefold())
    return await _page(call, "/search/", words, {"query": query})


async def _page(
    call: Call, path: str, words: Sequence[str] | None, parameters: dict[str, str]
) -> ASGIApp:
    text = call.parameters().get("page", "1")
    if not _PAGE.match(text) or int(text) < 1:
        raise json_error(400, "get_tasks", "page has to be a whole number of at least 1.")
    page, size = int(text), call.dialect.settings.page_size
    groups, total = await call.engine.jobs.groups(call.caller, words, (page - 1) * size, size)
    pages = ceil(total / size)
    if page > max(pages, 1):
        raise Refused(page_answer(404))
    urls = call.urls

    def url(number: int) -> str:
        return f"{urls.base}{path}?{urlencode({**parameters, 'page': number})}"

    items = [
        {
            "taskId": one.name,
            "createdAt": unix(one.created_at),
            "lastModifiedAt": unix(one.modified_at),
            "jobsCount": one.job_count,
            "url": urls.task(one.name),
        }
        for one in groups
    ]
    return document_answer(
        {
            "items": items,
            "total": total,
            "page": page,
            "pages": pages,
            "perPage": size,
            "hasNext": page < pages,
            "hasPrev": page > 1,
            "nextUrl": url(page + 1) if page < pages else None,
            "prevUrl": url(page - 1) if page > 1 else None,
        }
    )


@routes.get("/status")
async def status(call: Call) -> ASGIApp:
    """``GET /status``."""
    engine, caller = call.engine, call.caller
    counts = await engine.jobs.counts(caller)
    states = await engine.tasks.counts(caller)
    later = TaskQuery(
        caller.workspace, frozenset({TaskState.SCHEDULED, TaskState.RETRYING}), limit=RUNNING_SHOWN
    )
    delayed = [one.start_at for one in (await engine.tasks.page(later)).tasks if one.start_at]
    nexts: list[Instant] = [one for one in (counts.next_at, *delayed) if one is not None]
    next_at = Instant(min(nexts) // 1_000_000 * 1_000_000) if nexts else None
    scheduled = sum(states.get(one, 0) for one in (TaskState.SCHEDULED, TaskState.RETRYING))
    records = [record for record, _ in engine.dispatch.workers()]
    recurring = await engine.jobs.recurring(caller)
    return document_answer(
        {
            "fastlane": {"version": VERSION, "executor": "taskyard"},
            "hosts": host_objects(records),
            "containers": {"running": await _running(call, caller.workspace)},
            "queues": {
                "jobs": {"length": states.get(TaskState.QUEUED, 0)},
                "monitor": {"length": states.get(TaskState.RUNNING, 0)},
                "webhooks": {"length": counts.plain_pending},
                "notify": {"length": counts.mail_pending},
                "scheduled": {
                    "length": counts.delayed + scheduled,
                    "nextTimeStamp": None if next_at is None else unix(next_at),
                    "nextHumanReadableDate": iso(next_at),
                },
            },
            "tasks": {"count": counts.groups},
            "jobs": {
                "count": counts.jobs,
                "scheduled": [_scheduled(call, job) for job in recurring],
            },
        }
    )


def _scheduled(call: Call, job: Job) -> dict[str, Any]:
    urls, key = call.urls, job.key
    url = urls.job(key.group, key.id)
    return {
        **job_object(job, call.dialect.settings.hidden_words, None),
        "nextScheduledAt": iso(job.next_at),
        "url": url + "/",
        "stopUrl": url + "/stop/",
        "task": {"id": key.group, "url": urls.task(key.group) + "/"},
    }


async def _running(call: Call, workspace: WorkspaceName) -> list[dict[str, Any]]:
    query = TaskQuery(workspace, frozenset({TaskState.RUNNING}), limit=RUNNING_SHOWN)
    found = []
    for task in (await call.engine.tasks.page(query)).tasks:
        attempts = await call.engine.tasks.attempts(call.caller, task.id)
        place = container_of(attempts[-1]) if attempts else {}
        if place.get("container_id"):
            found.append(
                {
                    "host": place["docker_host"],
                    "port": place["docker_port"],
                    "id": place["container_id"],
                }
            )
    return found


@routes.on(("POST", "PUT"), "/docker-executor/blacklist")
async def blacklist(call: Call) -> ASGIApp:
    """``POST``, ``PUT /docker-executor/blacklist``: a host takes nothing new."""
    return await _blacklist(call, draining=True)


@routes.delete("/docker-executor/blacklist")
async def unblacklist(call: Call) -> ASGIApp:
    """``DELETE /docker-executor/blacklist``: a host takes new work again."""
    return await _blacklist(call, draining=False)


async def _blacklist(call: Call, *, draining: bool) -> ASGIApp:
    host = host_of_body(await call.read())
    require_installation(call.caller, Role.OPERATE)
    workers = call.engine.workers
    for worker_id in workers_at(host, [record for record, _ in workers.present()]):
        try:
            await (workers.drain if draining else workers.undrain)(call.caller, worker_id)
        except NotFound:
            continue  # forgotten meanwhile; the host need not be one we know
    return Answer(200, b"")
