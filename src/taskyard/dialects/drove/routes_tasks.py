"""The routes about tasks: creating, ending, looking, forgetting."""

import re
from collections import Counter
from typing import Final

import anyio
from litestar.handlers import HTTPRouteHandler

from taskyard.core.access.principals import Caller
from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import TaskId
from taskyard.core.instants import after
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.rule_budget import OutOfSteps
from taskyard.core.states import TERMINAL
from taskyard.core.tasks import Task, TaskSpec
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.board import Row
from taskyard.dialects.drove.business import asked_of, check_business, policy_of
from taskyard.dialects.drove.callers import ALL, WRITERS
from taskyard.dialects.drove.checks import operation_problems, spec_problems
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.configs import fetched_configs
from taskyard.dialects.drove.errors import LookupFailed, Refused, encoded_success, success
from taskyard.dialects.drove.executors import capacity_problems, present
from taskyard.dialects.drove.identities import key_of
from taskyard.dialects.drove.mapping import spec_of, wire_path
from taskyard.dialects.drove.placement import translation_effort, without_rules
from taskyard.dialects.drove.requests import (
    FORM_TYPE,
    JSON_TYPE,
    Connection,
    body_of,
    decoded,
    form,
    route,
    text_in_path,
)
from taskyard.dialects.drove.schemas import operation_decoder, spec_decoder
from taskyard.dialects.drove.simulation import (
    INSTANCES_LIMIT,
    SimulationRequest,
    simulated,
    simulation_decoder,
)
from taskyard.dialects.drove.views import MEBI, is_shown
from taskyard.dialects.http.answers import Answer

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]*\Z", re.ASCII)
_TASK_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_FORWARDED: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z", re.ASCII)
_SLACK_S: Final = 2.0
"""How much longer than allowed a create waits to hear whether it was placed."""


class TaskRoutes:
    """The handlers, with what they work with."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._cluster = cluster
        self._prefix = prefix

    def handlers(self) -> list[HTTPRouteHandler]:
        """All of them."""
        cluster, one = self._cluster, "/tasks/{app:str}/instances/{name:str}"
        read = ["GET", "HEAD"]
        return [
            route(cluster, "/tasks/operations", ["POST"], WRITERS, self.operate),
            route(cluster, "/tasks/validate/spec", ["POST"], ALL, self.validate),
            route(cluster, "/tasks/search", ["POST"], ALL, self.search),
            route(cluster, "/cluster/placement/simulate", ["POST"], ALL, self.simulate),
            route(cluster, "/tasks", read, ALL, self.active),
            route(cluster, one, read, ALL, self.show),
            route(cluster, one, ["DELETE"], WRITERS, self.delete),
        ]

    async def operate(self, request: Connection, caller: Caller) -> Answer:
        """Section 6: CREATE and KILL."""
        body = await body_of(self._cluster, request, JSON_TYPE, caller)
        operation = decoded(operation_decoder, body)
        problems = operation_problems(operation)
        if problems or operation is None:
            raise Refused(problems)
        await self._cluster.check_open()
        if isinstance(operation, wire.Kill):
            return await self._kill(caller, operation)
        return await self._create(caller, operation.spec or wire.WireSpec())

    async def validate(self, request: Connection, caller: Caller) -> Answer:
        """Section 5.1: whether a task could be created now, duplicates aside."""
        spec = decoded(spec_decoder, await body_of(self._cluster, request, JSON_TYPE, caller))
        problems = spec_problems(spec)
        if problems or spec is None:
            raise Refused(problems)
        await self._cluster.check_open()
        await self._pace(caller, spec)
        policy = check_business(self._cluster.engine, self._cluster.settings, spec)
        # What would be fetched is not looked at; that it has a place is enough.
        names = dict.fromkeys((one.localFilename or "" for one in spec.configs or ()), "")
        self._checked(spec, policy, names, "")
        return success()

    async def simulate(self, request: Connection, caller: Caller) -> Answer:
        """Section 4: where so many of a task would go now."""
        body = await body_of(self._cluster, request, JSON_TYPE, caller)
        wanted = decoded(simulation_decoder, body) or SimulationRequest()
        spec = wanted.spec
        if spec is not None and wanted.placementPolicy is not None:
            spec.placementPolicy = wanted.placementPolicy
        problems = spec_problems(spec)
        if not 1 <= wanted.numInstances <= INSTANCES_LIMIT:
            problems.append(f"numInstances must be between 1 and {INSTANCES_LIMIT}")
        if problems or spec is None:
            raise Refused(problems)
        executors = present(self._cluster.engine)
        await self._pace(caller, spec)
        policy = policy_of(executors, spec)
        cores, memory_mb = asked_of(spec)
        running = Counter(
            row.place.worker_id
            for row in await self._cluster.board.active(caller)
            if row.place is not None and row.app == spec.sourceAppName
        )
        resources = Resources(cores=cores, memory_bytes=memory_mb * MEBI)
        count = wanted.numInstances
        try:
            return success(simulated(executors, running, resources, policy, count))
        except OutOfSteps as error:
            raise Refused(
                ["placementPolicy takes too long to evaluate for all executors"]
            ) from error

    async def active(self, request: Connection, caller: Caller) -> Answer:
        """Section 7: everything active."""
        del request
        rows = await self._cluster.board.active(caller)
        hosts = self._cluster.hosts
        hosts.look()
        return encoded_success(b"[" + b",".join([row.encoded(hosts) for row in rows]) + b"]")

    async def show(self, request: Connection, caller: Caller) -> Answer:
        """Section 7: one task, active or ended."""
        app, name = text_in_path(request, "app"), text_in_path(request, "name")
        task = await find(self._cluster, caller, app, name)
        if task is None:
            raise LookupFailed(f"No task found for {app}/{name}")
        self._cluster.hosts.look()
        return encoded_success(await self._cluster.board.show(caller, task))

    async def delete(self, request: Connection, caller: Caller) -> Answer:
        """Section 7: forget a record."""
        app, name = text_in_path(request, "app"), text_in_path(request, "name")
        task = await find(self._cluster, caller, app, name, stale=True)
        if task is not None:
            if task.state not in TERMINAL:
                raise LookupFailed(
                    f"Task {app}/{name} is active; kill it first", {"deleted": False}
                )
            await self._forget(caller, task.id)
        return success({"deleted": True})

    async def search(self, request: Connection, caller: Caller) -> Answer:
        """Section 7: from a web form to a web page."""
        fields = form(await body_of(self._cluster, request, FORM_TYPE, caller))
        names = ("taskSearchAppName", "taskSearchTaskID")
        problems = []
        for field in names:
            if field not in fields:
                problems.append(f"form field {field} must not be null")
            elif not _NAME.match(fields[field]):
                problems.append(f'form field {field} must match "[a-zA-Z0-9_-]*"')
        if problems:
            raise Refused(problems)
        app, name = (fields[field] for field in names)
        found = await find(self._cluster, caller, app, name) if app and name else None
        path = "/" if found is None else f"/tasks/{app}/{name}"
        location = self._root(request) + path
        return Answer(303, b"", ((b"location", location.encode("ascii")),))

    def _root(self, request: Connection) -> str:
        """Where the dialect begins for the client: our own prefix, behind one of a proxy."""
        for name, value in request.scope["headers"]:
            if name == b"x-forwarded-prefix":
                given = value.decode("latin-1").strip().rstrip("/")
                if _FORWARDED.match(given):
                    return given + self._prefix
        return self._prefix

    async def _kill(self, caller: Caller, kill: wire.Kill) -> Answer:
        app, name = kill.sourceAppName or "", kill.taskId or ""
        task = await find(self._cluster, caller, app, name)
        if task is None or task.state in TERMINAL:
            raise Refused([f"Task {app}/{name} does not exist or has ended"])
        await self._cluster.engine.tasks.cancel(caller, [task.id], "SIGKILL", 0.0)
        return success({"taskId": name})

    async def _create(self, caller: Caller, spec: wire.WireSpec) -> Answer:
        cluster = self._cluster
        await self._pace(caller, spec)
        policy = check_business(cluster.engine, cluster.settings, spec)
        app, name = spec.sourceAppName or "", spec.taskId or ""
        known = await find(cluster, caller, app, name)
        if known is not None:
            raise _exists(app, name)
        fetched = await fetched_configs(cluster.host.fetch, spec.configs or ())
        deadline = cluster.settings.placement_wait_s
        wanted = self._checked(spec, policy, fetched, "spec.")
        with cluster.host.streams.waiting(caller):
            with cluster.board.expecting():
                task = await self._submit(caller, wanted)
                if task is None:
                    raise _exists(app, name)
                row = cluster.board.add(task)
            with anyio.move_on_after(deadline + _SLACK_S):
                await self._placed(row)
        if row.attempt_id is None and row.ended is not None and row.result is None:
            # It was taken back, by the engine's own rule and for good: nothing can place it now.
            cores, memory_mb = asked_of(spec)
            where = without_rules(policy)
            problems = capacity_problems(present(cluster.engine), where, cores, memory_mb)
            await self._forget(caller, task.id)
            text = f"No executor could take the task within {deadline:g} s"
            raise Refused(problems or [text])
        return success({"taskId": f"{app}-{name}"})

    async def _pace(self, caller: Caller, spec: wire.WireSpec) -> None:
        """Wait until the workspace may have a task's rules translated. Raises ``Overloaded``."""
        if effort := translation_effort(spec.placementPolicy):
            await self._cluster.engine.tasks.policies.spend(caller.workspace, effort)

    def _checked(
        self, spec: wire.WireSpec, policy: Policy, fetched: dict[str, str], at: str
    ) -> TaskSpec:
        """The engine's specification. Raises :class:`Refused` for what the engine does not take.

        ``at`` leads the paths of members.
        """
        now = self._cluster.engine.clock.now()
        made = spec_of(spec, policy, self._cluster.settings, fetched, now)
        try:
            self._cluster.engine.tasks.check(made)
        except InvalidInput as error:
            raise Refused([f"{at}{wire_path(error.field)} {error.problem}"]) from error
        return made

    async def _submit(self, caller: Caller, spec: TaskSpec) -> Task | None:
        """The new task; None if there is one already."""
        tasks = self._cluster.engine.tasks
        task, is_new = await tasks.submit(caller, spec)
        if not is_new and self._is_stale(task):
            await self._forget(caller, task.id)
            task, is_new = await tasks.submit(caller, spec)
        return task if is_new else None

    async def _placed(self, row: Row) -> None:
        """Wait until a task was placed, or never will be."""
        bus = self._cluster.engine.bus
        while row.attempt_id is None and row.ended is None and not bus.closed:
            changed = bus.changed(row.task_id)
            await changed.wait()

    async def _forget(self, caller: Caller, task_id: TaskId) -> None:
        try:
            await self._cluster.engine.tasks.delete(caller, [task_id])
        except NotFound:
            return  # somebody else was faster

    def _is_stale(self, task: Task) -> bool:
        return is_stale(self._cluster, task)


async def find(
    cluster: Cluster, caller: Caller, app: str, name: str, *, stale: bool = False
) -> Task | None:
    """The task of a pair; None if there is none, or its record is too old.

    One that came another way goes by the engine's id. Raises as the store does.
    """
    tasks = cluster.engine.tasks
    task: Task | None = None
    try:
        if "/" not in app and "/" not in name:
            task = await tasks.by_key(caller, key_of(app, name))
    except NotFound:
        task = None
    if task is None and _TASK_ID.match(name):
        try:
            task = await tasks.get(caller, TaskId(name))
        except NotFound:
            return None
    if task is None or not is_shown(task) or task.spec.group != app:
        return None
    return task if stale or not is_stale(cluster, task) else None


def is_stale(cluster: Cluster, task: Task) -> bool:
    """Whether a record is older than records get."""
    if task.finished_at is None:
        return False
    kept_until = after(task.finished_at, cluster.settings.stale_task_age_s)
    return kept_until < cluster.engine.clock.now()


def _exists(app: str, name: str) -> Refused:
    # Clients look for these very words.
    return Refused([f"Task already exists for {app}/{name} and has to be deleted first"])
