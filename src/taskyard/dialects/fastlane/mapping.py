"""Translates payloads into jobs of ours, and jobs and executions into objects of this dialect."""

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from taskyard.core.access.redaction import HIDDEN
from taskyard.core.attempts import Attempt
from taskyard.core.ids import GroupName
from taskyard.core.instants import SECOND, Instant, after
from taskyard.core.jobs import Execution, Job, JobDefinition
from taskyard.core.notifications.messages import Dispatched
from taskyard.core.tasks import Container, TaskSpec
from taskyard.dialects.fastlane.schemas import LATEST_S, Payload, iso
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.fastlane.statuses import WAITING, exit_code_of, finished, status_of
from taskyard.dialects.fastlane.urls import Urls

Document = dict[str, Any]
FAILED_KEPT: Final = 3
"""Entries of the history that are left after a failure."""
NO_ANSWER: Final = 500
"""Status that stands for a connection that failed."""
_HOST_PORT: Final = re.compile(r"(?P<host>.+):(?P<port>\d{1,5})\Z")
ORIGIN: Final = "fastlane"
KEPT: Final = ("custom",)
"""Details that a PUT without them leaves alone."""
LEAST_TIMEOUT_S: Final = 1.0
"""The original looks at a container for the first time after a second."""
_NAME_LENGTH: Final = 200


class PlannedJob(Struct, frozen=True):
    """A definition and when it is to start."""

    definition: JobDefinition
    start_at: Instant | None


def definition_of(
    payload: Payload,
    settings: FastlaneSettings,
    group: str,
    address: str | None,
    base: str,
    now: Instant,
) -> PlannedJob:
    """The job that a payload describes; ``base`` is what links in mails begin with."""
    limit = settings.timeout_limit_s
    timeout = limit if payload.timeout is None else min(payload.timeout, limit)
    details: dict[str, Any] = {
        "image": payload.image,
        "command": payload.command,
        "envs": payload.envs,
        "notify": payload.notify,
        "webhooks": payload.webhooks,
        "dns": [list(pair) for pair in payload.hosts.items()],
        "timeout": int(timeout) if float(timeout).is_integer() else timeout,
        "base": base,
    }
    if payload.expiration is not None:
        details["expiration"] = payload.expiration
    if payload.custom is not None:
        details["custom"] = payload.custom
    spec = TaskSpec(
        work=Container(
            image=payload.image,
            args=payload.args,
            env=dict(payload.env),
            hosts=payload.hosts,
            pull=settings.pull,
            # What clients of a bare engine expect: a container as it comes.
            read_only=False,
            privileged_defaults=True,
        ),
        group=GroupName(group),
        name=f"{payload.image} {payload.command}"[:_NAME_LENGTH],
        timeout_s=float(max(timeout, LEAST_TIMEOUT_S)),
        starts_after_wait=payload.start_in_s is not None and payload.start_at_s is None,
        expires_at=_expiry(payload.expiration),
        # Executions show what they ran, whatever becomes of their job.
        metadata={"image": payload.image, "command": payload.command},
    )
    min_ms, factor = payload.backoff_min_ms, payload.backoff_factor
    definition = JobDefinition(
        spec=spec,
        retries=payload.retries,
        backoff_min_s=(settings.retry_backoff_min_ms if min_ms is None else min_ms) / 1000,
        backoff_factor=settings.retry_backoff_factor if factor is None else factor,
        cron=payload.cron,
        origin=ORIGIN,
        address=address,
        details=details,
    )
    return PlannedJob(definition, _start(payload, now))


def _expiry(expiration: float | None) -> Instant | None:
    if expiration is None:
        return None
    return Instant(round(min(max(expiration, 0), LATEST_S) * SECOND))


def _start(payload: Payload, now: Instant) -> Instant | None:
    if payload.start_at_s is not None:
        return Instant(max(payload.start_at_s, 0) * SECOND)
    if payload.start_in_s is not None:
        seconds = min(payload.start_in_s, LATEST_S - now // SECOND - 1)
        return after(now, seconds)
    return None


def job_object(job: Job, words: Sequence[str], executions: list[Document] | None) -> Document:
    """A job; without its executions (and its task) in the list of scheduled ones."""
    definition = job.definition
    details = definition.details
    metadata: Document = {
        "enqueued_id": job.ticket,
        "retries": definition.retries,
        "retry_count": job.retry_count,
        "timeout": details.get("timeout"),
        "envs": redacted(details.get("envs", {}), words),
        "notify": details.get("notify"),
        "webhooks": details.get("webhooks"),
        "additional_dns_entries": details.get("dns", []),
    }
    for name in ("expiration", "custom"):
        if name in details:
            metadata[name] = details[name]
    if definition.cron is not None:
        metadata["cron"] = definition.cron
    shown: Document = {
        "createdAt": iso(job.created_at),
        "lastModifiedAt": iso(job.modified_at),
        "image": details.get("image"),
        "command": details.get("command"),
        "requestIPAddress": definition.address,
        "scheduled": job.recurs,
        "executionCount": job.execution_count,
        "metadata": metadata,
    }
    if executions is not None:
        shown["taskId"] = job.key.group
        shown["executions"] = executions
    return shown


def execution_object(
    execution: Execution,
    log: str | None,
    error: str | None,
    dispatched: Sequence[Dispatched] | None,
) -> Document:
    """An execution; with ``dispatched`` None its metadata has no ``webhookDispatch`` at all."""
    ran = execution.task.spec.metadata
    attempt = execution.attempt
    status = status_of(execution)
    metadata = {} if status in WAITING or attempt is None else container_of(attempt)
    if dispatched:
        metadata["webhookDispatch"] = dispatch_history(dispatched)
    started = attempt.started_at if attempt is not None and status not in WAITING else None
    return {
        "executionId": execution.task.id,
        "status": status,
        "exitCode": exit_code_of(execution),
        "image": ran.get("image"),
        "command": ran.get("command"),
        "requestIPAddress": execution.address,
        "createdAt": iso(execution.task.created_at),
        "startedAt": iso(started),
        "finishedAt": finished(execution),
        "log": log,
        "error": error,
        "metadata": metadata,
    }


def container_of(attempt: Attempt) -> Document:
    """Where its container is; empty before there is one."""
    handle = attempt.handle
    container_id = handle.get("container_id") or handle.get("container")
    if attempt.started_at is None and container_id is None:
        return {}
    host, port = host_and_port(str(handle.get("engine") or attempt.worker_id))
    return {"docker_host": host, "docker_port": port, "container_id": container_id}


def host_and_port(text: str) -> tuple[str, int]:
    """``name:port`` apart; port 0 where there is none, as on a local socket."""
    match = _HOST_PORT.match(text)
    return (text, 0) if match is None else (match["host"], int(match["port"]))


def dispatch_history(dispatched: Sequence[Dispatched]) -> list[Document]:
    """The tries, oldest first; after a failure only the last few are kept, as by the original."""
    history: list[Document] = []
    for one in dispatched:
        delivered = one.error is None
        entry: Document = {
            "timestamp": iso(one.at),
            "url": one.url,
            "statusCode": NO_ANSWER if one.status is None else one.status,
            "body": one.answer_body if delivered else one.request_body.decode(errors="replace"),
            "headers": one.answer_headers if delivered else one.request_headers,
        }
        history.append(entry)
        if not delivered:
            entry["error"] = one.error
            history = history[-FAILED_KEPT:]
    return history


def redacted(envs: Any, words: Sequence[str]) -> Any:
    """Values of names that hold one of the words are hidden, in nested objects likewise."""
    if not isinstance(envs, dict):
        return envs
    lowered = [word.lower() for word in words]
    return {
        name: HIDDEN
        if any(word in str(name).lower() for word in lowered)
        else redacted(value, words)
        for name, value in envs.items()
    }


def references(urls: Urls, job: Job) -> tuple[Document, Document]:
    """The task and the job that something belongs to."""
    task_id, job_id = job.key.group, job.key.id
    return (
        {"id": task_id, "url": urls.task(task_id) + "/"},
        {"id": job_id, "url": urls.job(task_id, job_id) + "/"},
    )
