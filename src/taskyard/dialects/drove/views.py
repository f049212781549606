"""Encodes tasks as the dialect shows them, in three parts that change at different times."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.core.attempts import Attempt
from taskyard.core.ids import WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import Container, Task
from taskyard.dialects.drove.identities import executor_id, instance_id, key_of
from taskyard.dialects.drove.states import Result, State

RECORD: Final = "drove"
"""Where a task's metadata keeps what the dialect has to show of it as it was given."""
MEBI: Final = 1 << 20
_NODE: Final = "0"
_encode: Final = msgspec.json.Encoder().encode


class Given(Struct, frozen=True, omit_defaults=True):
    """What a client gave and gets to see again; kept with the task."""

    instance: str
    pull_timeout: str
    volumes: list[dict[str, str]] | None = None
    env: dict[str, str] | None = None
    logging: dict[str, Any] | None = None


class Placement(Struct, frozen=True):
    """Where a task was placed, and what it has there."""

    worker_id: WorkerId
    hostname: str | None
    resources: Resources


def is_shown(task: Task) -> bool:
    """Whether the dialect can represent a task."""
    return isinstance(task.spec.work, Container) and task.spec.cron is None


def is_created_here(task: Task) -> bool:
    """Whether a task is the one that its pair of names stands for.

    One that was retried in another dialect, or made there with what this one keeps of a task, has
    the names and the record, but is not what the pair leads to.
    """
    name = task.spec.name
    return bool(name) and task.spec.idempotency_key == key_of(task.spec.group, name or "")


def given_of(task: Task, work: Container) -> Given:
    """What was given of a task; of one that came another way, what corresponds to it."""
    kept = task.spec.metadata.get(RECORD)
    if isinstance(kept, dict) and is_created_here(task):
        try:
            return msgspec.convert(kept, Given)
        except msgspec.ValidationError:
            pass  # metadata is free: somebody else may use this word
    timeout_s = max(1, round(work.pull_timeout_s))
    return Given(instance_id(task.id), f"{timeout_s} second{'' if timeout_s == 1 else 's'}")


def task_name(task: Task) -> str:
    """A task's id in the dialect: its name, or the engine's id of a task that came another way."""
    return task.spec.name or task.id if is_created_here(task) else task.id


def head_of(task: Task) -> bytes:
    """What never changes: a JSON object without its end."""
    work = task.spec.work
    if not isinstance(work, Container):
        raise TypeError(f"no container: {type(work).__name__}")
    given = given_of(task, work)
    shown: dict[str, Any] = {
        "sourceAppName": task.spec.group,
        "taskId": task_name(task),
        "instanceId": given.instance,
        "executable": {
            "type": "DOCKER",
            "url": work.image,
            "dockerPullTimeout": given.pull_timeout,
        },
        "metadata": {},
        "created": milliseconds(task.created_at),
    }
    if given.volumes is not None:
        shown["volumes"] = given.volumes
    if given.env is not None:
        shown["env"] = given.env
    if given.logging is not None:
        # The second name is what the command-line client looks for.
        shown["loggingSpec"] = shown["logging"] = given.logging
    return _encode(shown)[:-1]


def placed_of(place: Placement | None, asked: Resources, *, hosted: bool) -> bytes:
    """Where it is; members to go on with. ``hosted`` says whether its container exists."""
    shown: dict[str, Any] = {"resources": _resources(asked if place is None else place.resources)}
    if place is not None:
        shown["executorId"] = executor_id(place.worker_id)
        if hosted and place.hostname:
            shown["hostname"] = place.hostname
    return b"," + _encode(shown)[1:-1]


def tail_of(state: State, updated: int, result: Result | None) -> bytes:
    """How it is now; the members that are left, and the end. ``updated`` in milliseconds."""
    if result is None:
        return b',"state":"%b","errorMessage":"","updated":%d}' % (state.value.encode(), updated)
    shown = {
        "state": state.value,
        "errorMessage": result.error,
        "taskResult": {"status": result.status.value, "exitCode": result.code},
        "updated": updated,
    }
    return b"," + _encode(shown)[1:]


def place_of(attempt: Attempt | None, hostname: str | None) -> Placement | None:
    """Where an attempt is or was."""
    if attempt is None:
        return None
    return Placement(attempt.worker_id, hostname, attempt.resources)


def milliseconds(moment: Instant) -> int:
    """An instant on the wire."""
    return moment // 1000


def _resources(held: Resources) -> list[dict[str, Any]]:
    allotted = held.allotted
    memory = (held.memory_bytes or 0) // MEBI
    if allotted is None:
        return [
            {"type": "CPU", "cores": {_NODE: []}},
            {"type": "MEMORY", "memoryInMB": {_NODE: memory}},
        ]
    node = str(allotted.node)
    return [
        {"type": "CPU", "cores": {node: list(allotted.cores)}},
        {"type": "MEMORY", "memoryInMB": {node: allotted.memory_bytes // MEBI}},
    ]
