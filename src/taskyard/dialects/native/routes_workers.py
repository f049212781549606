"""Workers, parked items, the caller, the version."""

from typing import Any

from msgspec import UNSET

from taskyard.core.access.principals import Role
from taskyard.core.access.redaction import redact_text
from taskyard.core.ids import GroupName, WorkerId
from taskyard.core.instants import rfc3339
from taskyard.core.resources import Capacity
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.queries import ScalingQuery
from taskyard.dialects.native.routes_access import role_word
from taskyard.dialects.native.schemas_rest import (
    CapacityAnswer,
    ClusterAnswer,
    MeAnswer,
    ParkedAnswer,
    ParkedListAnswer,
    PlaneAnswer,
    ScalingAnswer,
    ServerVersionAnswer,
    TagScalingAnswer,
    UnavailableRuntimeAnswer,
    WorkerAnswer,
    WorkersAnswer,
)
from taskyard.ports.dispatching import WorkerRecord

routes = Routes[Call[Any, Any], Description](answers({}), "")


@routes.get("/workers", answers({200: WorkersAnswer}))
async def list_workers(call: Call[NoQuery, None]) -> Answer:
    """All workers, with capacity and usage."""
    return json_answer(
        WorkersAnswer([worker_answer(*one) for one in call.engine.workers.present()])
    )


@routes.post(
    "/workers/{worker_id}/drain",
    answers({200: WorkerAnswer}, role=Role.OPERATE, installation=True, fails=(404, 507)),
)
async def drain_worker(call: Call[NoQuery, None]) -> Answer:
    """Place no new tasks on a worker; running ones continue."""
    worker_id = WorkerId(call.path("worker_id"))
    return json_answer(worker_answer(*await call.engine.workers.drain(call.caller, worker_id)))


@routes.delete(
    "/workers/{worker_id}/drain",
    answers({200: WorkerAnswer}, role=Role.OPERATE, installation=True, fails=(404, 507)),
)
async def undrain_worker(call: Call[NoQuery, None]) -> Answer:
    """Let a worker take tasks again."""
    worker_id = WorkerId(call.path("worker_id"))
    found = await call.engine.workers.undrain(call.caller, worker_id)
    return json_answer(worker_answer(*found))


@routes.get("/scaling", answers({200: ScalingAnswer}))
async def get_scaling(call: Call[ScalingQuery, None]) -> Answer:
    """How many workers the tasks of a group want, for autoscalers."""
    asked = call.query
    found = await call.engine.scaling.demand(call.caller, GroupName(asked.group), asked.slots)
    tags = [
        TagScalingAnswer(one.tag, one.waiting, one.running, one.wanted)
        for one in found
        if not asked.tag or one.tag == asked.tag
    ]
    return json_answer(
        ScalingAnswer(
            asked.group,
            sum(one.waiting for one in tags),
            sum(one.running for one in tags),
            sum(one.wanted for one in tags),
            tags,
        )
    )


@routes.get("/cluster", answers({200: ClusterAnswer}))
async def get_cluster(call: Call[NoQuery, None]) -> Answer:
    """The control planes of the installation, and which of them leads."""
    found = await call.engine.control_planes.status()
    planes = [
        PlaneAnswer(
            one.id,
            one.name,
            one.address,
            one.version,
            one.state,
            rfc3339(one.joined_at),
            rfc3339(one.beat_at),
            round(one.silent_s, 3),
        )
        for one in found.planes
    ]
    return json_answer(
        ClusterAnswer(
            found.plane,
            found.leader,
            found.term,
            hears_messages=found.hears_messages,
            hears_changes=found.hears_changes,
            planes=planes,
        )
    )


@routes.get("/parked", answers({200: ParkedListAnswer}))
async def list_parked(call: Call[NoQuery, None]) -> Answer:
    """Entries that background work failed on and set aside, with the reason."""
    found = await call.engine.parking.all(call.caller)
    items = [
        ParkedAnswer(
            one.kind,
            one.key,
            redact_text(one.reason),
            rfc3339(one.since),
            rfc3339(one.retry_at),
        )
        for one in found
    ]
    return json_answer(ParkedListAnswer(items))


@routes.get("/me", answers({200: MeAnswer}))
async def get_me(call: Call[NoQuery, None]) -> Answer:
    """The caller, and the output its workspace stores and may store."""
    caller = call.caller
    given = caller.installation if caller.is_of_installation else None
    installation = UNSET if given is None else role_word(given)
    role = role_word(caller.role)
    answer = MeAnswer(caller.actor, caller.workspace, role, installation)
    if not caller.is_of_installation:
        output = call.engine.output
        answer.output_bytes = output.kept(caller.workspace)
        answer.output_quota_bytes = output.workspace_bytes or UNSET
    return json_answer(answer)


@routes.get("/version", answers({200: ServerVersionAnswer}))
async def get_version(call: Call[NoQuery, None]) -> Answer:
    """The version of the server."""
    return json_answer(ServerVersionAnswer(call.context.version, "v1", dev=call.context.dev))


def worker_answer(record: WorkerRecord, free: Capacity) -> WorkerAnswer:
    """A worker as answered."""
    total = record.capacity
    used = Capacity(
        total.slots - free.slots,
        total.cpu_millis - free.cpu_millis,
        total.memory_bytes - free.memory_bytes,
    )
    return WorkerAnswer(
        id=record.id,
        hostname=record.hostname,
        state=record.state,
        version=record.version,
        capacity=_capacity(total),
        used=_capacity(used),
        runtimes=record.runtimes,
        unavailable={
            tag: UnavailableRuntimeAnswer(
                status.reason or "",
                str(status.circuit),
                None if status.retry_at is None else rfc3339(status.retry_at),
            )
            for tag, status in record.statuses.items()
            if not status.available
        },
        joined_at=rfc3339(record.joined_at),
        beat_at=rfc3339(record.beat_at),
    )


def _capacity(capacity: Capacity) -> CapacityAnswer:
    return CapacityAnswer(capacity.slots, capacity.cpu_millis / 1000, capacity.memory_bytes)
