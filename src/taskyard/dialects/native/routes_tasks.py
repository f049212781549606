"""Tasks: submit, look, change, cancel, retry, delete."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET

from taskyard.core.access.principals import Role
from taskyard.core.attempts import ran_s
from taskyard.core.errors import InvalidInput, Overloaded
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.core.tasks import Task
from taskyard.dialects.http.answers import Answer, json_answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.answers_tasks import (
    attempt_answer,
    event_answer,
    task_answer,
    task_answers,
    why_answer,
)
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.errors import malformed
from taskyard.dialects.native.mapping import patched_start, spec_of
from taskyard.dialects.native.paging import make_cursor, page_of, read_number
from taskyard.dialects.native.queries import (
    CancelQuery,
    CountsQuery,
    PageQuery,
    TasksQuery,
    WaitQuery,
)
from taskyard.dialects.native.schemas_submit import (
    Cancel,
    CancelMany,
    SubmittedBatch,
    SubmittedTask,
    TaskPatch,
)
from taskyard.dialects.native.schemas_tasks import (
    AttemptsAnswer,
    CountsAnswer,
    EventPageAnswer,
    OutcomeAnswer,
    OutcomesAnswer,
    SubmittedAnswer,
    SubmittedBatchAnswer,
    TaskAnswer,
    TaskPageAnswer,
    WhyAnswer,
)
from taskyard.dialects.native.times import parse_time
from taskyard.ports.store import CancelOutcome, TaskQuery

TASKS: Final = "tasks"
EVENTS: Final = "events"


routes = Routes[Call[Any, Any], Description](answers({}), "/tasks")


@routes.post("", answers({200: TaskAnswer, 201: TaskAnswer}, role=Role.WRITE, fails=(429, 507)))
async def submit_task(call: Call[NoQuery, SubmittedTask]) -> Answer:
    """Submit a task; answers once it is stored. 200 if the idempotency key was known."""
    engine = call.engine
    spec = spec_of(call.body, engine.clock.now())
    task, created = await engine.tasks.submit(call.caller, spec)
    if not created:
        return json_answer(await _with_attempts(call, task))
    return json_answer(task_answer(task), 201, (_location(call, task.id),))


@routes.post("/batch", answers({201: SubmittedBatchAnswer}, role=Role.WRITE, fails=(429, 507)))
async def submit_batch(call: Call[NoQuery, SubmittedBatch]) -> Answer:
    """Submit many tasks, all stored or none."""
    now = call.engine.clock.now()
    specs = []
    for position, wire in enumerate(call.body.tasks):
        try:
            specs.append(spec_of(wire, now))
        except InvalidInput as error:
            raise InvalidInput(f"tasks.{position}.{error.field}", error.problem) from error
    stored = await call.engine.tasks.submit_many(call.caller, specs)
    items = [SubmittedAnswer(one.task_id, one.state, one.created) for one in stored]
    return json_answer(SubmittedBatchAnswer(items), 201)


@routes.get("", answers({200: TaskPageAnswer}))
async def list_tasks(call: Call[TasksQuery, None]) -> Answer:
    """A page of tasks, newest first."""
    query = call.query
    page = await call.engine.tasks.page(
        TaskQuery(
            workspace=call.caller.workspace,
            states=frozenset(query.state),
            group=GroupName(query.group) if query.group else None,
            labels=_labels(query.label),
            text=query.text or None,
            created_after=_moment("created_after", query.created_after),
            created_before=_moment("created_before", query.created_before),
            schedule_id=TaskId(query.schedule) if query.schedule else None,
            oldest_first=query.order == "oldest",
            limit=query.limit,
            after_seq=read_number(TASKS, query.cursor),
        )
    )
    cursor = None if page.next_seq is None else make_cursor(TASKS, page.next_seq)
    return json_answer(TaskPageAnswer(await task_answers(page), cursor))


@routes.get("/counts", answers({200: CountsAnswer}))
async def count_tasks(call: Call[CountsQuery, None]) -> Answer:
    """Tasks of the workspace, or of one group, by state."""
    group = GroupName(call.query.group) if call.query.group else None
    counts = await call.engine.tasks.counts(call.caller, group)
    return json_answer(CountsAnswer({str(state): count for state, count in counts.items()}))


@routes.get("/{task_id}", answers({200: TaskAnswer}, fails=(404,)))
async def get_task(call: Call[NoQuery, None]) -> Answer:
    """One task."""
    task = await call.engine.tasks.get(call.caller, call.task_id)
    return json_answer(await _with_attempts(call, task))


@routes.patch("/{task_id}", answers({200: TaskAnswer}, role=Role.WRITE, fails=(404, 409, 507)))
async def change_task(call: Call[NoQuery, TaskPatch]) -> Answer:
    """Change priority, start or schedule of a waiting task."""
    patch, tasks = call.body, call.engine.tasks
    start_at = patched_start(patch, call.engine.clock.now())
    rescheduled = start_at is not None or any(
        value is not UNSET for value in (patch.cron, patch.timezone, patch.catch_up)
    )
    if patch.priority is UNSET and not rescheduled:
        raise InvalidInput("", "give at least one member to change")
    task: Task | None = None
    if rescheduled:
        # First, as it can refuse more than a priority can.
        task = await tasks.reschedule(
            call.caller,
            call.task_id,
            start_at,
            None if patch.cron is UNSET else patch.cron,
            None if patch.timezone is UNSET else patch.timezone,
            None if patch.catch_up is UNSET else patch.catch_up,
        )
    if patch.priority is not UNSET:
        task = await tasks.set_priority(call.caller, call.task_id, patch.priority)
    if task is None:
        raise InvalidInput("", "give at least one member to change")
    return json_answer(task_answer(task))


@routes.delete("/{task_id}", answers({204: None}, role=Role.WRITE, fails=(404, 409, 507)))
async def delete_task(call: Call[NoQuery, None]) -> Answer:
    """Remove an ended task with its history and logs."""
    await call.engine.tasks.delete(call.caller, [call.task_id])
    return no_content()


@routes.get("/{task_id}/attempts", answers({200: AttemptsAnswer}, fails=(404,)))
async def list_attempts(call: Call[NoQuery, None]) -> Answer:
    """All attempts at a task, first to last."""
    attempts = await call.engine.tasks.attempts(call.caller, call.task_id)
    return json_answer(AttemptsAnswer([attempt_answer(one) for one in attempts]))


@routes.get("/{task_id}/events", answers({200: EventPageAnswer}, fails=(404,)))
async def list_events(call: Call[PageQuery, None]) -> Answer:
    """A page of a task's history, oldest first."""
    limit = call.query.limit
    after = read_number(EVENTS, call.query.cursor) or 0
    events = await call.engine.tasks.events(call.caller, call.task_id, after, limit + 1)
    shown = page_of(EVENTS, events, limit, lambda one: one.number, event_answer)
    return json_answer(EventPageAnswer(*shown))


@routes.get("/{task_id}/why", answers({200: WhyAnswer}, fails=(404,)))
async def explain_task(call: Call[NoQuery, None]) -> Answer:
    """Why a task is waiting, or how it ended."""
    return json_answer(why_answer(await call.engine.why.explain(call.caller, call.task_id)))


@routes.post(
    "/{task_id}/cancel",
    answers({200: TaskAnswer, 202: OutcomeAnswer}, role=Role.WRITE, fails=(404, 507)),
)
async def cancel_task(call: Call[CancelQuery, Cancel | None]) -> Answer:
    """Cancel a waiting task, kill a running one; with `wait`, answer when it has ended."""
    how = call.body or Cancel()
    tasks = call.engine.tasks
    if call.query.wait > 0:
        await tasks.get(call.caller, call.task_id)
    (outcome,) = await tasks.cancel(call.caller, [call.task_id], how.signal, how.grace_s)
    if outcome.outcome == "unknown":
        await tasks.get(call.caller, call.task_id)  # says that there is none
    if call.query.wait > 0:
        try:
            task = await call.until_end(
                lambda: tasks.wait(call.caller, call.task_id, call.query.wait)
            )
        except Overloaded:
            return json_answer(_outcome(outcome), 202)  # It is killed all the same.
        return json_answer(await _with_attempts(call, task))
    return json_answer(_outcome(outcome), 202)


@routes.post("/cancel", answers({202: OutcomesAnswer}, role=Role.WRITE, fails=(507,)))
async def cancel_tasks(call: Call[NoQuery, CancelMany]) -> Answer:
    """Cancel many tasks: by id, or all of a group that have not ended."""
    which, tasks = call.body, call.engine.tasks
    if (which.ids is None) == (which.group is None):
        raise InvalidInput("ids", "give either ids or group")
    if which.ids is not None:
        outcomes = await tasks.cancel(
            call.caller, [TaskId(one) for one in which.ids], which.signal, which.grace_s
        )
    else:
        group = GroupName(which.group or "")
        outcomes = await tasks.cancel_group(call.caller, group, which.signal, which.grace_s)
    return json_answer(OutcomesAnswer([_outcome(one) for one in outcomes]), 202)


@routes.post(
    "/{task_id}/retry", answers({201: TaskAnswer}, role=Role.WRITE, fails=(404, 409, 429, 507))
)
async def retry_task(call: Call[NoQuery, None]) -> Answer:
    """Submit an ended task again; `retry_of` of the new one names the old one."""
    engine, caller = call.engine, call.caller
    old = await engine.tasks.get(caller, call.task_id)
    # Through the one who has it: so it is seen where the old one is.
    again = (
        await engine.jobs.rerun_of(caller, old)
        or await engine.lists.retry(caller, old)
        or await engine.invocations.retry(caller, old)
    )
    if again is None:
        task = await engine.tasks.retry(caller, old.id)
    else:
        task = await engine.tasks.get(caller, again)
    return json_answer(task_answer(task), 201, (_location(call, task.id),))


@routes.get("/{task_id}/wait", answers({200: TaskAnswer}, fails=(404,)))
async def wait_for_task(call: Call[WaitQuery, None]) -> Answer:
    """The task once it has ended, or as it is after the timeout."""
    tasks, timeout_s = call.engine.tasks, call.query.timeout_s
    task = await call.until_end(lambda: tasks.wait(call.caller, call.task_id, timeout_s))
    return json_answer(await _with_attempts(call, task))


async def _with_attempts(call: Call[object, object], task: Task) -> TaskAnswer:
    """One task, with what its attempts tell: the last exit code, and how long they ran."""
    if not task.attempt_count:
        return task_answer(task)
    attempts = await call.engine.tasks.attempts(call.caller, task.id)
    exit_code = None
    if attempts and task.state is not TaskState.RUNNING:
        exit_code = attempts[-1].exit_code
    return task_answer(task, exit_code, ran_s(attempts))


def _location(call: Call[object, object], task_id: TaskId) -> tuple[bytes, bytes]:
    return b"location", f"{call.dialect.prefix}/tasks/{task_id}".encode()


def _outcome(outcome: CancelOutcome) -> OutcomeAnswer:
    return OutcomeAnswer(outcome.task_id, outcome.outcome)  # type: ignore[arg-type]  # its words


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition(":")
        if labels.setdefault(key, value) != value:
            raise malformed(f"no task can have two values for {key!r}", "label")
    return labels


def _moment(field: str, text: str) -> Instant | None:
    if not text:
        return None
    try:
        return parse_time(field, text)
    except InvalidInput as error:
        raise malformed(error.problem, field) from error
