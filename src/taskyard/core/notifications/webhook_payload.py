"""The body of a webhook message: the task and the attempt as they were at that moment.

The shape is that of the native API (docs/reference/native-api.md), without ``stdin`` and without
the task's webhooks, whose URLs are often secrets of their receivers.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.access.redaction import SECRET_WORDS, redact_attempt, redact_task
from taskyard.core.attempts import Attempt
from taskyard.core.instants import Instant, rfc3339
from taskyard.core.tasks import (
    Container,
    FunctionCall,
    Simulation,
    Task,
    WebhookEvent,
    Work,
    runtime_of,
)

PAYLOAD_LIMIT: Final = 256 * 1024
"""Bytes; a longer body leaves out what users can make large, and says so."""
_LARGE: Final = ("command", "env", "metadata", "labels")


def payload(
    task: Task,
    attempt: Attempt | None,
    event: WebhookEvent,
    now: Instant,
    words: Sequence[str] = SECRET_WORDS,
) -> bytes:
    """The message as JSON; ``words`` mark environment names whose values are hidden."""
    shown = _task(redact_task(task, words), attempt)
    message = {
        "type": f"task.{event}",
        "timestamp": rfc3339(now),
        "data": {
            "task": shown,
            "attempt": None if attempt is None else _attempt(redact_attempt(attempt)),
        },
    }
    body = msgspec.json.encode(message)
    if len(body) > PAYLOAD_LIMIT:
        for member in _LARGE:
            del shown[member]
        shown["truncated"] = True
        body = msgspec.json.encode(message)
    return body


def _work(work: Work) -> dict[str, Any]:
    if isinstance(work, Simulation):
        return {"duration_s": work.duration_s}
    if isinstance(work, Container):
        return {
            "image": work.image,
            "command": list(work.args),
            "env": work.env,
            "cwd": work.cwd,
            "user": work.user,
            "isolate": False,
            "container": {
                "entrypoint": work.entrypoint,
                "pull": work.pull,
                "network": work.network,
                "volumes": [msgspec.structs.asdict(one) for one in work.volumes],
                "read_only": work.read_only,
            },
        }
    if isinstance(work, FunctionCall):
        return {"function": work.function, "function_version": work.version}
    return {
        "command": list(work.argv) if work.shell is None else work.shell,
        "env": work.env,
        "cwd": work.cwd,
        "user": work.user,
        "isolate": work.isolate,
        "network": work.network,
    }


def _task(task: Task, attempt: Attempt | None) -> dict[str, Any]:
    spec = task.spec
    work = spec.work
    resources = spec.resources
    return {
        "id": task.id,
        "workspace": task.workspace,
        "state": task.state,
        "created_at": rfc3339(task.created_at),
        "start_at": rfc3339(task.start_at),
        "finished_at": rfc3339(task.finished_at),
        "attempt_count": task.attempt_count,
        "current_attempt": task.current_attempt,
        "kill_requested_at": rfc3339(task.kill_requested_at),
        "reason": task.reason,
        "message": task.message,
        "exit_code": None if attempt is None else attempt.exit_code,
        "schedule_id": task.schedule_id,
        "due_at": rfc3339(task.due_at),
        "retry_of": task.retry_of,
        "runtime": runtime_of(work),
        **_work(work),
        "group": spec.group,
        "name": spec.name,
        "priority": spec.priority,
        "resources": {
            "cpu": None if resources.cpu_millis is None else resources.cpu_millis / 1000,
            "memory": resources.memory_bytes,
            "pids": resources.pids,
        },
        "timeout_s": spec.timeout_s,
        "kill": {"signal": spec.kill_signal, "grace_s": spec.kill_grace_s},
        "retry": {
            "max_attempts": spec.retry.max_attempts,
            "backoff_min_s": spec.retry.backoff_min_s,
            "backoff_max_s": spec.retry.backoff_max_s,
            "factor": spec.retry.factor,
            "jitter": spec.retry.jitter,
        },
        "cron": spec.cron,
        "timezone": spec.timezone,
        "catch_up": spec.catch_up,
        "expires_at": rfc3339(spec.expires_at),
        "idempotency_key": spec.idempotency_key,
        "rerun_if_lost": spec.rerun_if_lost,
        "strict": spec.strict,
        "log_limit": spec.log_limit_bytes,
        "labels": spec.labels,
        "metadata": spec.metadata,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    report = attempt.kill_report
    return {
        "id": attempt.id,
        "task_id": attempt.task_id,
        "number": attempt.number,
        "worker_id": attempt.worker_id,
        "state": attempt.state,
        "assigned_at": rfc3339(attempt.assigned_at),
        "started_at": rfc3339(attempt.started_at),
        "finished_at": rfc3339(attempt.finished_at),
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "reason": attempt.reason,
        "message": attempt.message,
        "kill_report": None
        if report is None
        else {
            **msgspec.structs.asdict(report),
            "requested_at": rfc3339(report.requested_at),
            "done_at": rfc3339(report.done_at),
        },
        "usage": attempt.usage,
        "stdout": attempt.stdout,
        "stderr": attempt.stderr,
    }
