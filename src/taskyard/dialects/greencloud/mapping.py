"""Translates the engine's records into the contract's objects."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from taskyard.core.functions.functions import Function, Language, Limits
from taskyard.core.functions.invocations import CallCounts, InvocationView
from taskyard.core.functions.resources import Endpoint, Node, Schedule, Tag, Trigger
from taskyard.core.ids import node_id
from taskyard.core.instants import SECOND, Instant, to_datetime
from taskyard.core.states import Reason, TaskState

LANGUAGES: Final = {
    "GO": Language.GO,
    "PY": Language.PYTHON,
    "JS": Language.JAVASCRIPT,
    "CS": Language.CSHARP,
    "RB": Language.RUBY,
    "RS": Language.RUST,
}
_CODES: Final = {language: code.lower() for code, language in LANGUAGES.items()} | {
    Language.IMAGE: Language.IMAGE.value
}
MIB: Final = 1 << 20
Tags = Mapping[str, Tag]


def capabilities(limits: Limits) -> dict[str, Any]:
    """Limits without the timeout, as in a task."""
    return {
        "cpuCount": (limits.cpu_millis or 0) // 1000,
        "memSize": (limits.memory_bytes or 0) // MIB,
        "networkLatency": 0,
        "privileged": limits.privileged,
    }


def timeout(limits: Limits) -> float:
    """Seconds, whole ones as such."""
    return int(limits.timeout_s) if limits.timeout_s.is_integer() else limits.timeout_s


def function_capabilities(limits: Limits) -> dict[str, Any]:
    """Limits with the timeout, as in a function."""
    return {"timeout": timeout(limits), **capabilities(limits)}


def tag_objects(ids: Iterable[str], tags: Tags) -> list[dict[str, str]]:
    """Tags as objects, without those deleted meanwhile."""
    return [tag_object(tags[one]) for one in ids if one in tags]


def tag_object(tag: Tag) -> dict[str, str]:
    """One tag."""
    return {"id": tag.id, "name": tag.name, "color": tag.color}


def node_object(node: Node) -> dict[str, Any]:
    """One registered node; none of them ever runs anything here."""
    return {
        "available": False,
        "description": node.description,
        "disabled": node.disabled,
        "hash": node.id,
    }


def function_object(function: Function, tags: Tags, counts: CallCounts) -> dict[str, Any]:
    """A function in full."""
    return {
        "id": function.id,
        "name": function.title or function.name,
        "description": function.description,
        "type": "docker",
        "lang": _CODES[function.language],
        "tags": tag_objects(function.tags, tags),
        "capabilities": function_capabilities(function.limits),
        "metrics": {
            "todaysTasks": counts.today,
            "pendingTasks": counts.open,
            "weekTasks": counts.week,
            "completedTasks": counts.total - counts.open,
        },
        "paused": function.paused,
        "deployed": function.live_version is not None,
        "createdAt": stamp(function.created_at),
    }


def function_line(function: Function, tags: Tags) -> dict[str, Any]:
    """A function in a list."""
    return {
        "id": function.id,
        "name": function.title or function.name,
        "description": function.description,
        "lang": _CODES[function.language],
        "tags": tag_objects(function.tags, tags),
        "createdAt": stamp(function.created_at),
    }


def progress_of(view: InvocationView) -> int:
    """0 queued, 25 assigned, 75 running and up to 99 as it says itself, 100 finished."""
    if view.is_over:
        return 100
    if view.started:
        return 75 + int(24 * view.fraction)
    return 0 if view.assigned_at is None else 25


def state_of(view: InvocationView) -> str:
    """``queued``, ``assigned``, ``running`` or ``finished``; never an earlier one than before."""
    progress = progress_of(view)
    if progress == 100:
        return "finished"
    if progress >= 75:
        return "running"
    return "assigned" if progress else "queued"


def status_of(view: InvocationView) -> int:
    """HTTP status of the result; 0 before there is one."""
    if not view.is_over:
        return 0
    if view.state is TaskState.SUCCEEDED:
        return view.status or 500
    return 408 if view.reason is Reason.TIMEOUT else 500


def task_object(view: InvocationView) -> dict[str, Any]:
    """A task in full."""
    call = view.call
    return {
        "functionId": call.function_id,
        "lambdaId": call.function_id,
        "issued": stamp(call.issued_at),
        "assigned": stamp(view.assigned_at),
        "finished": stamp(view.finished_at),
        "progress": progress_of(view),
        "node": "" if view.worker_id is None else node_id(view.worker_id),
        "timeout": timeout(call.limits),
        "capabilities": capabilities(call.limits),
        "id": call.id,
        "status": status_of(view),
    }


def task_line(view: InvocationView) -> dict[str, Any]:
    """A task in a list."""
    return {
        "id": view.call.id,
        "issued": stamp(view.call.issued_at),
        "progress": progress_of(view),
        "status": status_of(view),
    }


def endpoint_object(endpoint: Endpoint, tags: Tags) -> dict[str, Any]:
    """An endpoint in full."""
    window = endpoint.window
    return {
        "functionId": endpoint.function_id,
        "description": endpoint.description,
        "tags": tag_objects(endpoint.tags, tags),
        "dailyLimit": -1 if endpoint.daily_limit is None else endpoint.daily_limit,
        "origin": endpoint.origins,
        "ip": endpoint.addresses,
        "timeLimit": {"from": window.start, "to": window.end, "timezone": window.timezone},
        "createdAt": rfc3339(endpoint.created_at),
    }


def endpoint_line(endpoint: Endpoint, tags: Tags) -> dict[str, Any]:
    """An endpoint in a list."""
    return {
        "id": endpoint.id,
        "description": endpoint.description,
        "tags": tag_objects(endpoint.tags, tags),
        "createdAt": rfc3339(endpoint.created_at),
    }


def trigger_object(trigger: Trigger, tags: Tags) -> dict[str, Any]:
    """A trigger."""
    return {
        "functionId": trigger.function_id,
        "nextId": trigger.next_id,
        "tags": tag_objects(trigger.tags, tags),
        "status": trigger.status or 0,
        "includeResult": trigger.include_result,
        "description": trigger.description,
        "createdAt": rfc3339(trigger.created_at),
    }


def schedule_object(schedule: Schedule) -> dict[str, Any]:
    """A schedule without its payload."""
    return {
        "active": schedule.active,
        "functionId": schedule.function_id,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "description": schedule.description,
    }


def stamp(instant: Instant | None) -> str:
    """Unix seconds as text; empty while not known."""
    return "" if instant is None else str(instant // SECOND)


def rfc3339(instant: Instant) -> str:
    """UTC, whole seconds."""
    return to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%SZ")
