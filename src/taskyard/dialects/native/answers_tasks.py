"""Tasks, attempts and their kin into wire form."""

from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from taskyard.core.access.redaction import redact_attempt, redact_task, redact_text, redact_tree
from taskyard.core.attempts import Attempt
from taskyard.core.backoff import RetryPolicy
from taskyard.core.changes import Change, Event
from taskyard.core.instants import rfc3339
from taskyard.core.resources import Resources
from taskyard.core.scheduling.reasons import Explanation
from taskyard.core.tasks import Command, Container, FunctionCall, Simulation, Task, runtime_of
from taskyard.dialects.native import schemas_shared as shared
from taskyard.dialects.native.schemas_tasks import (
    AttemptAnswer,
    ChangeAnswer,
    ConfinementAnswer,
    EventAnswer,
    KillReportAnswer,
    ResourcesAnswer,
    StreamSizeAnswer,
    SurvivorAnswer,
    TaskAnswer,
    UsageAnswer,
    WhyAnswer,
)
from taskyard.ports.store import TaskPage

_SLICE_S: Final = 0.005
"""Seconds that a page may keep the event loop to itself."""
_NO_COMMAND: Final = Command()
_NO_RESOURCES: Final = Resources()
_NO_RESOURCES_ANSWER: Final = ResourcesAnswer(None, None, None, None)
_NO_RETRY: Final = RetryPolicy()
_NO_RETRY_ANSWER: Final = shared.Retry()


def task_answer(task: Task, exit_code: int | None = None, ran_s: float | None = None) -> TaskAnswer:
    """A task as answered, with what looks secret hidden."""
    task = redact_task(task)
    spec, work = task.spec, task.spec.work
    command = work if isinstance(work, Command) else _NO_COMMAND
    container = work if isinstance(work, Container) else None
    place = command if container is None else container
    resources, retry = spec.resources, spec.retry
    return TaskAnswer(
        id=task.id,
        workspace=task.workspace,
        state=task.state,
        created_at=rfc3339(task.created_at),
        start_at=rfc3339(task.start_at),
        finished_at=rfc3339(task.finished_at),
        attempt_count=task.attempt_count,
        current_attempt=task.current_attempt,
        kill_requested_at=rfc3339(task.kill_requested_at),
        reason=task.reason,
        message=task.message,
        exit_code=exit_code,
        ran_s=ran_s,
        schedule_id=task.schedule_id,
        due_at=rfc3339(task.due_at),
        retry_of=task.retry_of,
        runtime=runtime_of(work),
        command=_words(command) if container is None else container.args,
        image=None if container is None else container.image,
        container=None if container is None else _container(container),
        env=place.env,
        cwd=place.cwd,
        stdin=place.stdin,
        user=place.user,
        isolate=command.isolate,
        network=command.network,
        duration_s=work.duration_s if isinstance(work, Simulation) else None,
        function=work.function if isinstance(work, FunctionCall) else None,
        function_version=work.version if isinstance(work, FunctionCall) else None,
        size=spec.size,
        group=spec.group,
        name=spec.name,
        priority=spec.priority,
        resources=_NO_RESOURCES_ANSWER if resources == _NO_RESOURCES else _resources(resources),
        placement=spec.placement,
        timeout_s=spec.timeout_s,
        kill=shared.Kill(spec.kill_signal, spec.kill_grace_s),
        retry=_NO_RETRY_ANSWER
        if retry == _NO_RETRY
        else shared.Retry(
            retry.max_attempts,
            retry.backoff_min_s,
            retry.backoff_max_s,
            retry.factor,
            retry.jitter,
        ),
        cron=spec.cron,
        timezone=spec.timezone,
        catch_up=spec.catch_up,
        expires_at=rfc3339(spec.expires_at),
        idempotency_key=spec.idempotency_key,
        rerun_if_lost=spec.rerun_if_lost,
        strict=spec.strict,
        log_limit=spec.log_limit_bytes,
        labels=spec.labels,
        metadata=spec.metadata,
        webhooks=[shared.Webhook(w.url, w.events, w.headers) for w in spec.webhooks],
    )


async def task_answers(page: TaskPage) -> list[TaskAnswer]:
    """Tasks as answered; others get their turn in between, as looking for secrets may take long."""
    answers: list[TaskAnswer] = []
    until = anyio.current_time() + _SLICE_S
    for task in page.tasks:
        answers.append(task_answer(task, ran_s=page.ran_s.get(task.id)))
        if anyio.current_time() >= until:
            await checkpoint()
            until = anyio.current_time() + _SLICE_S
    return answers


def _words(command: Command) -> tuple[str, ...] | str:
    return command.argv if command.shell is None else command.shell


def _container(work: Container) -> shared.Container:
    return shared.Container(
        entrypoint=work.entrypoint,
        pull=work.pull,
        pull_timeout_s=work.pull_timeout_s,
        credentials=work.credentials,
        network=work.network,
        volumes=tuple([shared.Volume(v.host, v.container, v.read_only) for v in work.volumes]),
        hosts=work.hosts,
        read_only=work.read_only,
        capabilities=work.capabilities,
    )


def _resources(resources: Resources) -> ResourcesAnswer:
    millis = resources.cpu_millis
    return ResourcesAnswer(
        None if millis is None else millis / 1000,
        resources.memory_bytes,
        resources.pids,
        resources.cores,
    )


def attempt_answer(attempt: Attempt) -> AttemptAnswer:
    """An attempt as answered; leases and handles are nobody's business."""
    attempt = redact_attempt(attempt)
    report, usage, held = attempt.kill_report, attempt.usage, attempt.confinement
    return AttemptAnswer(
        id=attempt.id,
        task_id=attempt.task_id,
        number=attempt.number,
        worker_id=attempt.worker_id,
        cores=() if attempt.resources.allotted is None else attempt.resources.allotted.cpus,
        state=attempt.state,
        assigned_at=rfc3339(attempt.assigned_at),
        started_at=rfc3339(attempt.started_at),
        finished_at=rfc3339(attempt.finished_at),
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        reason=attempt.reason,
        message=attempt.message,
        kill_report=None
        if report is None
        else KillReportAnswer(
            requested_at=rfc3339(report.requested_at),
            done_at=rfc3339(report.done_at),
            signal=report.signal,
            forced=report.forced,
            method=report.method,
            killed_count=report.killed_count,
            survivors=[SurvivorAnswer(one.pid, one.command) for one in report.survivors],
        ),
        usage=None
        if usage is None
        else UsageAnswer(usage.cpu_user_s, usage.cpu_system_s, usage.memory_peak_bytes),
        stdout=StreamSizeAnswer(attempt.stdout.stored_bytes, attempt.stdout.dropped_bytes),
        stderr=StreamSizeAnswer(attempt.stderr.stored_bytes, attempt.stderr.dropped_bytes),
        progress=attempt.progress,
        progress_text=attempt.progress_text,
        confinement=None
        if held is None
        else ConfinementAnswer(held.user, held.isolation, held.enforced, held.unenforced),
        warnings=() if held is None else held.warnings,
    )


def event_answer(event: Event) -> EventAnswer:
    """One line of history as answered."""
    detail = None if event.detail is None else redact_text(event.detail)
    return EventAnswer(
        event.number, event.kind, rfc3339(event.at), event.attempt_id, event.actor, detail
    )


def why_answer(explanation: Explanation) -> WhyAnswer:
    """An explanation as answered."""
    return WhyAnswer(
        task_id=explanation.task_id,
        state=explanation.state,
        summary=redact_text(explanation.summary),
        code=explanation.code,
        detail=redact_tree(explanation.detail),
        ahead=explanation.ahead,
        story=tuple(map(redact_text, explanation.story)),
    )


def change_answer(change: Change) -> ChangeAnswer:
    """A change as streamed."""
    return ChangeAnswer(
        kind=change.kind,
        at=rfc3339(change.at),
        task_id=change.task_id,
        group=change.group,
        state=change.state,
        was=change.was,
        attempt_id=change.attempt_id,
        attempt_number=change.attempt_number,
        reason=change.reason,
    )
