"""Routes of tasks, jobs and executions."""

import uuid
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

from litestar.types import ASGIApp

from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import TaskId
from taskyard.core.jobs import Execution, Job
from taskyard.dialects.fastlane.auth import address_of_caller
from taskyard.dialects.fastlane.dialect import EXECUTION, JOB, TASK, Call, job_key
from taskyard.dialects.fastlane.errors import BadRequest, json_error
from taskyard.dialects.fastlane.mapping import (
    KEPT,
    definition_of,
    execution_object,
    job_object,
    references,
)
from taskyard.dialects.fastlane.outputs import (
    SEPARATOR,
    SHOWN_BYTES,
    SHOWN_IN_LIST_BYTES,
    error_pieces,
    log_and_error,
    log_pieces,
)
from taskyard.dialects.fastlane.schemas import document_answer, iso, job_id_of, payload_of
from taskyard.dialects.fastlane.statuses import WITHOUT_OUTPUT, exit_code_of, status_of
from taskyard.dialects.http.answers import TEXT, StreamedAnswer
from taskyard.dialects.http.routes import Routes

STOP_WAIT_S: Final = 15.0
"""Longest an answer waits for the end of what it stops."""
_OUTPUT: Final = "retrieve_execution_details"

routes = Routes[Call, None](access=None)


@routes.get(TASK)
async def task_jobs(call: Call) -> ASGIApp:
    """``GET T``: the jobs of a task."""
    try:
        lines = await call.engine.jobs.of_group(call.caller, job_key(call, "any").group)
    except NotFound as error:
        raise json_error(404, "get_task", "Task not found.") from error
    urls, task_id = call.urls, call.task_id
    jobs = [
        {
            "id": one.id,
            "createdAt": iso(one.created_at),
            "url": urls.job(task_id, one.id) + "/",
        }
        for one in lines
    ]
    return document_answer({"taskId": task_id, "jobs": jobs})


@routes.post(TASK)
async def create_job(call: Call) -> ASGIApp:
    """``POST T``: a new job."""
    return await _put(call, str(uuid.uuid4()))


@routes.put(JOB)
async def put_job(call: Call) -> ASGIApp:
    """``PUT J``: a job of this id, new or changed."""
    return await _put(call, job_id_of(call.path("job_id")))


async def _put(call: Call, job_id: str) -> ASGIApp:
    payload = payload_of(await call.read())
    try:
        key = job_key(call, job_id)
    except NotFound as error:
        raise BadRequest("The task id cannot be used.") from error
    urls, now = call.urls, call.engine.clock.now()
    address = address_of_caller(call.scope)
    planned = definition_of(payload, call.dialect.settings, call.task_id, address, urls.base, now)
    stored = await call.engine.jobs.put(
        call.caller, key, planned.definition, planned.start_at, KEPT
    )
    task_id, found = key.group, stored.execution
    return document_answer(
        {
            "taskId": task_id,
            "taskUrl": urls.task(task_id),
            "jobId": job_id,
            "jobUrl": urls.job(task_id, job_id),
            "executionId": found,
            "executionUrl": None if found is None else urls.execution(task_id, job_id, found),
            "queueJobId": stored.job.ticket,
        }
    )


@routes.get(JOB)
async def job_details(call: Call) -> ASGIApp:
    """``GET J``: the job with its newest executions."""
    job = await _job(call, "get_task")
    urls = call.urls
    executions = []
    for one in await call.engine.jobs.executions(job):
        shown = await _shown(call, job, one, SHOWN_IN_LIST_BYTES)
        shown["url"] = urls.execution(job.key.group, job.key.id, one.task.id)
        executions.append(shown)
    task, _ = references(urls, job)
    words = call.dialect.settings.hidden_words
    return document_answer({"task": task, "job": job_object(job, words, executions)})


@routes.post(JOB + "/stop")
async def stop_job(call: Call) -> ASGIApp:
    """``POST J/stop``."""
    job = await _job(call, "stop_job")
    await call.engine.jobs.stop(call.caller, job.key, None, STOP_WAIT_S)
    return _summary(call, job)


@routes.post(JOB + "/retry")
async def retry_job(call: Call) -> ASGIApp:
    """``POST J/retry``."""
    job = await _job(call, "retry_job")
    try:
        await call.engine.jobs.rerun(call.caller, job.key, STOP_WAIT_S)
    except NotFound as error:
        raise json_error(400, "retry_job", "The job has no execution yet.") from error
    except Conflict as error:
        said = "Can't retry a job that is still to be started."
        raise json_error(400, "retry_job", said) from error
    return _summary(call, job)


@routes.get(EXECUTION)
async def execution_details(call: Call) -> ASGIApp:
    """``GET X``."""
    job, execution = await _execution(call, "get_job_execution")
    task, job_reference = references(call.urls, job)
    shown = await _shown(call, job, execution, SHOWN_BYTES)
    return document_answer({"task": task, "job": job_reference, "execution": shown})


@routes.post(EXECUTION + "/stop")
async def stop_execution(call: Call) -> ASGIApp:
    """``POST X/stop``."""
    job, execution = await _execution(call, "stop_job_execution")
    await call.engine.jobs.stop(call.caller, job.key, execution.task.id, STOP_WAIT_S)
    task, job_reference = references(call.urls, job)
    found = execution.task.id
    url = call.urls.execution(job.key.group, job.key.id, found)
    return document_answer(
        {"task": task, "job": job_reference, "execution": {"id": found, "url": url}}
    )


async def output(call: Call, kind: str) -> ASGIApp:
    """``GET J/stdout`` and its like, of the last execution or of the one in the path."""
    job = await _job(call, _OUTPUT)
    if "execution_id" in call.scope["path_params"]:
        try:
            found = await call.engine.jobs.execution(job, TaskId(call.path("execution_id").lower()))
        except NotFound as error:
            raise json_error(400, _OUTPUT, "The job has no such execution.") from error
    else:
        last = await call.last_execution(job)
        if last is None:
            raise json_error(400, _OUTPUT, "The job has no execution yet.")
        found = last
    code = exit_code_of(found)
    headers = (TEXT, (b"fastlane-exit-code", str(code).encode()))
    return StreamedAnswer(_pieces(call, found, kind), headers)


for _path in (JOB, EXECUTION):
    for _kind in ("stdout", "stderr", "logs"):
        routes.add(("GET",), f"{_path}/{_kind}", partial(output, kind=_kind))


async def _pieces(call: Call, execution: Execution, kind: str) -> AsyncGenerator[bytes, None]:
    if status_of(execution) in WITHOUT_OUTPUT:
        return
    logs = call.engine.logs
    if kind in {"stdout", "logs"}:
        async for piece in log_pieces(logs, execution):
            yield piece.encode()
    if kind == "logs":
        yield SEPARATOR.encode()
    if kind in {"stderr", "logs"}:
        async for piece in error_pieces(logs, execution):
            yield piece.encode()


async def _job(call: Call, operation: str) -> Job:
    try:
        return await call.job()
    except NotFound as error:
        said = "Task not found." if error.kind == "group" else "Job not found."
        raise json_error(404, operation, said) from error


async def _execution(call: Call, operation: str) -> tuple[Job, Execution]:
    job = await _job(call, operation)
    try:
        execution_id = TaskId(call.path("execution_id").lower())
        return job, await call.engine.jobs.execution(job, execution_id)
    except NotFound as error:
        raise json_error(404, operation, "Execution not found.") from error


async def _shown(call: Call, job: Job, execution: Execution, limit: int) -> dict[str, Any]:
    text, error = await log_and_error(call.engine.logs, execution, limit)
    dispatched = None
    if job.definition.details.get("webhooks"):
        dispatched = await call.engine.webhooks.dispatches(call.caller, execution.task.id)
    return execution_object(execution, text, error, dispatched)


def _summary(call: Call, job: Job) -> ASGIApp:
    task, reference = references(call.urls, job)
    return document_answer(
        {
            "taskId": task["id"],
            "jobId": reference["id"],
            "taskUrl": task["url"],
            "jobUrl": reference["url"],
        }
    )
