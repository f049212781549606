"""Jobs of the dialects that have them: those that wait for their time, and taking that back."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from taskyard.core.access.principals import Role
from taskyard.core.access.redaction import redact_tree
from taskyard.core.ids import GroupName
from taskyard.core.instants import rfc3339
from taskyard.core.jobs import Job, JobKey
from taskyard.core.tasks import Container
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.schemas_tasks import When


class JobQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which job; ids are unique within a group."""

    group: Annotated[str, Meta(min_length=1, max_length=255)] = "default"


class JobAnswer(Struct):
    """A scheduled or recurring job; each run creates a task."""

    id: str
    group: str
    origin: str
    """The dialect it was submitted through."""
    next_at: When | None
    cron: str | None
    """Cron expression in UTC; a sixth field stands for seconds."""
    image: str | None
    command: list[str]
    execution_count: int
    created_at: When
    modified_at: When


class JobsAnswer(Struct):
    """Jobs, the next to start first."""

    items: list[JobAnswer]


routes = Routes[Call[Any, Any], Description](answers({}), "/jobs")


@routes.get("", answers({200: JobsAnswer}))
async def list_jobs(call: Call[NoQuery, None]) -> Answer:
    """Jobs that wait for a time or recur, at most 1000, the next to start first."""
    found = await call.engine.jobs.waiting(call.caller)
    return json_answer(JobsAnswer([job_answer(one) for one in found]))


@routes.post("/{job_id}/cancel", answers({200: JobAnswer}, role=Role.WRITE, fails=(404, 422, 507)))
async def cancel_job(call: Call[JobQuery, None]) -> Answer:
    """Stop a job, and cancel or kill its last execution."""
    group = GroupName(call.query.group)
    key = JobKey(call.caller.workspace, group, call.path("job_id").lower())
    await call.engine.jobs.stop(call.caller, key, None, 0)
    return json_answer(job_answer(await call.engine.jobs.get(key)))


def job_answer(job: Job) -> JobAnswer:
    """A job as answered."""
    definition = job.definition
    work = definition.spec.work
    container = work if isinstance(work, Container) else None
    command: Any = redact_tree([] if container is None else list(container.args))
    return JobAnswer(
        id=job.key.id,
        group=job.key.group,
        origin=definition.origin,
        next_at=rfc3339(job.next_at),
        cron=definition.cron,
        image=None if container is None else container.image,
        command=command,
        execution_count=job.execution_count,
        created_at=rfc3339(job.created_at),
        modified_at=rfc3339(job.modified_at),
    )
