"""Tasks: create, kill, validate, simulate, list, show, delete, search."""

import re
from collections import Counter
from typing import Final

import anyio

from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import TaskId
from taskyard.core.instants import after
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.rule_budget import OutOfSteps
from taskyard.core.states import TERMINAL, WAITING
from taskyard.core.tasks import Task, TaskSpec
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.auth import ALL, WRITERS
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.config_files import fetch_configs
from taskyard.dialects.drove.dialect import BASE, Call, Roles
from taskyard.dialects.drove.errors import LookupFailed, ValidationFailed, encoded_success, success
from taskyard.dialects.drove.executors import capacity_problems, present
from taskyard.dialects.drove.identities import key_of
from taskyard.dialects.drove.mapping import spec_of, wire_path
from taskyard.dialects.drove.placement import translation_effort, without_rules
from taskyard.dialects.drove.schemas import operation_decoder, spec_decoder
from taskyard.dialects.drove.simulation import (
    INSTANCES_LIMIT,
    SimulationRequest,
    simulated,
    simulation_decoder,
)
from taskyard.dialects.drove.task_rows import TaskRow
from taskyard.dialects.drove.validation import (
    asked_of,
    check_allowed,
    operation_problems,
    policy_of,
    spec_problems,
)
from taskyard.dialects.drove.views import MEBI, is_shown
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routes import Routes

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]*\Z", re.ASCII)
_TASK_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_FORWARDED: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z", re.ASCII)
_SLACK_S: Final = 2.0
"""How much longer than allowed a create waits to hear whether it was placed."""

routes = Routes[Call, Roles](ALL, BASE)


@routes.post("/tasks/operations", WRITERS)
async def operate(call: Call) -> Answer:
    """Section 6: CREATE and KILL."""
    operation = await call.json(operation_decoder)
    problems = operation_problems(operation)
    if problems or operation is None:
        raise ValidationFailed(problems)
    await call.cluster.check_open()
    if isinstance(operation, wire.Kill):
        return await _kill(call, operation)
    return await _create(call, operation.spec or wire.WireSpec())


@routes.post("/tasks/validate/spec")
async def validate(call: Call) -> Answer:
    """Section 5.1: whether a task could be created now, duplicates aside."""
    spec = await call.json(spec_decoder)
    problems = spec_problems(spec)
    if problems or spec is None:
        raise ValidationFailed(problems)
    await call.cluster.check_open()
    await _pace(call, spec)
    policy = check_allowed(call.cluster.engine, call.cluster.settings, spec)
    # What would be fetched is not looked at; that it has a place is enough.
    names = dict.fromkeys((one.localFilename or "" for one in spec.configs or ()), "")
    _checked(call, spec, policy, names, "")
    return success()


@routes.post("/cluster/placement/simulate")
async def simulate(call: Call) -> Answer:
    """Section 4: where so many of a task would go now."""
    wanted = await call.json(simulation_decoder) or SimulationRequest()
    spec = wanted.spec
    if spec is not None and wanted.placementPolicy is not None:
        spec.placementPolicy = wanted.placementPolicy
    problems = spec_problems(spec)
    if not 1 <= wanted.numInstances <= INSTANCES_LIMIT:
        problems.append(f"numInstances must be between 1 and {INSTANCES_LIMIT}")
    if problems or spec is None:
        raise ValidationFailed(problems)
    executors = present(call.cluster.engine)
    await _pace(call, spec)
    policy = policy_of(executors, spec)
    cores, memory_mb = asked_of(spec)
    running = Counter(
        row.place.worker_id
        for row in await call.cluster.tasks.active(call.caller)
        if row.place is not None and row.app == spec.sourceAppName
    )
    resources = Resources(cores=cores, memory_bytes=memory_mb * MEBI)
    count = wanted.numInstances
    try:
        return success(simulated(executors, running, resources, policy, count))
    except OutOfSteps as error:
        raise ValidationFailed(
            ["placementPolicy takes too long to evaluate for all executors"]
        ) from error


@routes.get("/tasks")
async def active(call: Call) -> Answer:
    """Section 7: everything active."""
    rows = await call.cluster.tasks.active(call.caller)
    hosts = call.cluster.names
    hosts.refresh()
    return encoded_success(b"[" + b",".join([row.encoded(hosts) for row in rows]) + b"]")


@routes.get("/tasks/{app}/instances/{name}")
async def show(call: Call) -> Answer:
    """Section 7: one task, active or ended."""
    app, name = call.path("app"), call.path("name")
    task = await find(call, app, name)
    if task is None:
        raise LookupFailed(f"No task found for {app}/{name}")
    call.cluster.names.refresh()
    return encoded_success(await call.cluster.tasks.show(call.caller, task))


@routes.delete("/tasks/{app}/instances/{name}", WRITERS)
async def delete(call: Call) -> Answer:
    """Section 7: forget a record."""
    app, name = call.path("app"), call.path("name")
    task = await find(call, app, name, stale=True)
    if task is not None:
        if task.state not in TERMINAL:
            raise LookupFailed(f"Task {app}/{name} is active; kill it first", {"deleted": False})
        await _forget(call, task.id)
    return success({"deleted": True})


@routes.post("/tasks/search")
async def search(call: Call) -> Answer:
    """Section 7: from a web form to a web page."""
    fields = await call.form()
    names = ("taskSearchAppName", "taskSearchTaskID")
    problems = []
    for field in names:
        if field not in fields:
            problems.append(f"form field {field} must not be null")
        elif not _NAME.match(fields[field]):
            problems.append(f'form field {field} must match "[a-zA-Z0-9_-]*"')
    if problems:
        raise ValidationFailed(problems)
    app, name = (fields[field] for field in names)
    found = await find(call, app, name) if app and name else None
    path = "/" if found is None else f"/tasks/{app}/{name}"
    location = _root(call) + path
    return Answer(303, b"", ((b"location", location.encode("ascii")),))


def _root(call: Call) -> str:
    """Where the dialect begins for the client: our own prefix, behind one of a proxy."""
    for name, value in call.scope["headers"]:
        if name == b"x-forwarded-prefix":
            given = value.decode("latin-1").strip().rstrip("/")
            if _FORWARDED.match(given):
                return given + call.dialect.prefix
    return call.dialect.prefix


async def _kill(call: Call, kill: wire.Kill) -> Answer:
    app, name = kill.sourceAppName or "", kill.taskId or ""
    task = await find(call, app, name)
    if task is None or task.state in TERMINAL:
        raise ValidationFailed([f"Task {app}/{name} does not exist or has ended"])
    await call.cluster.engine.tasks.cancel(call.caller, [task.id], "SIGKILL", 0.0)
    return success({"taskId": name})


async def _create(call: Call, spec: wire.WireSpec) -> Answer:
    cluster = call.cluster
    await _pace(call, spec)
    policy = check_allowed(cluster.engine, cluster.settings, spec)
    app, name = spec.sourceAppName or "", spec.taskId or ""
    known = await find(call, app, name)
    if known is not None:
        raise _exists(app, name)
    fetched = await fetch_configs(cluster.context.fetch, spec.configs or ())
    deadline = cluster.settings.placement_wait_s
    wanted = _checked(call, spec, policy, fetched, "spec.")
    with cluster.context.streams.waiting(call.caller):
        with cluster.tasks.expecting():
            task = await _submit(call, wanted)
            if task is None:
                raise _exists(app, name)
            row = cluster.tasks.add(task)
        with anyio.move_on_after(deadline + _SLACK_S):
            await _placed(call, row)
    if row.attempt_id is None and row.ended is not None and row.result is None:
        # It was taken back, by the engine's own rule and for good: nothing can place it now.
        cores, memory_mb = asked_of(spec)
        where = without_rules(policy)
        problems = capacity_problems(present(cluster.engine), where, cores, memory_mb)
        await _forget(call, task.id)
        text = f"No executor could take the task within {deadline:g} s"
        raise ValidationFailed(problems or [text])
    return success({"taskId": f"{app}-{name}"})


async def _pace(call: Call, spec: wire.WireSpec) -> None:
    """Wait until the workspace may have a task's rules translated. Raises ``Overloaded``."""
    if effort := translation_effort(spec.placementPolicy):
        await call.cluster.engine.tasks.policies.spend(call.caller.workspace, effort)


def _checked(
    call: Call, spec: wire.WireSpec, policy: Policy, fetched: dict[str, str], at: str
) -> TaskSpec:
    """The engine's specification. Raises :class:`ValidationFailed`.

    ``at`` leads the paths of members.
    """
    now = call.cluster.engine.clock.now()
    made = spec_of(spec, policy, call.cluster.settings, fetched, now)
    try:
        call.cluster.engine.tasks.check(made)
    except InvalidInput as error:
        raise ValidationFailed([f"{at}{wire_path(error.field)} {error.problem}"]) from error
    return made


async def _submit(call: Call, spec: TaskSpec) -> Task | None:
    """The new task; None if there is one already."""
    tasks = call.cluster.engine.tasks
    task, is_new = await tasks.submit(call.caller, spec)
    if not is_new and is_stale(call.cluster, task):
        await _forget(call, task.id)
        task, is_new = await tasks.submit(call.caller, spec)
    return task if is_new else None


async def _placed(call: Call, row: TaskRow) -> None:
    """Wait until a task was placed, or never will be."""
    bus, projection = call.cluster.engine.bus, call.cluster.tasks
    while row.attempt_id is None and row.ended is None and not bus.closed:
        await bus.woken(bus.changed(row.task_id))
        if not projection.has(row):
            # Forgotten along with all others, as changes were missed: the store knows.
            task = await call.engine.tasks.get(call.caller, row.task_id)
            if task.state not in WAITING:
                return


async def _forget(call: Call, task_id: TaskId) -> None:
    try:
        await call.cluster.engine.tasks.delete(call.caller, [task_id])
    except NotFound:
        return  # deleted concurrently


async def find(call: Call, app: str, name: str, *, stale: bool = False) -> Task | None:
    """The task of a pair; None if there is none, or its record is too old.

    One that came another way goes by the engine's id. Raises as the store does.
    """
    tasks = call.engine.tasks
    task: Task | None = None
    try:
        if "/" not in app and "/" not in name:
            task = await tasks.by_key(call.caller, key_of(app, name))
    except NotFound:
        task = None
    if task is None and _TASK_ID.match(name):
        try:
            task = await tasks.get(call.caller, TaskId(name))
        except NotFound:
            return None
    if task is None or not is_shown(task) or task.spec.group != app:
        return None
    return task if stale or not is_stale(call.cluster, task) else None


def is_stale(cluster: Cluster, task: Task) -> bool:
    """Whether a record is older than records get."""
    if task.finished_at is None:
        return False
    kept_until = after(task.finished_at, cluster.settings.stale_task_age_s)
    return kept_until < cluster.engine.clock.now()


def _exists(app: str, name: str) -> ValidationFailed:
    # Clients look for these very words.
    return ValidationFailed([f"Task already exists for {app}/{name} and has to be deleted first"])
