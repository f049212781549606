"""Translates submitted tasks into specifications, and tasks into answers."""

import random
from typing import Final

from taskyard.core.access.redaction import redact_text
from taskyard.core.attempts import Attempt
from taskyard.core.instants import Instant, rfc3339
from taskyard.core.lists import ListEntry, ListStatus, status_of
from taskyard.core.resources import Capacity, Resources
from taskyard.core.tasks import (
    Command,
    Container,
    SecretRef,
    Simulation,
    Task,
    TaskSpec,
    Work,
)
from taskyard.dialects.gx.auth import Workspace
from taskyard.dialects.gx.errors import BAD_BODY, refused
from taskyard.dialects.gx.schemas import SubmittedTask, TaskAnswer, TaskDetail
from taskyard.dialects.gx.settings import MIB, SIZES, GxSettings, GxWork, Size
from taskyard.dialects.http.errors import Refused

NAME_LENGTH: Final = 1024


def check(
    wire: SubmittedTask, settings: GxSettings, *, may_command: bool, may_image: bool
) -> GxWork | None:
    """What is to be run, None for a simulation. Raises ``Refused`` in the order of the contract."""
    if not wire.name:
        raise refused((400, "name is required"))
    if wire.type not in SIZES:
        raise refused((400, "invalid task type"))
    if len(wire.name) > NAME_LENGTH:
        raise refused((400, "name is too long"))
    if wire.command is not None and wire.function is not None:
        raise refused(BAD_BODY)
    if wire.command is not None and not may_command:
        raise _not_allowed("command")
    if wire.image is not None and (not may_image or wire.function is not None):
        raise _not_allowed("image")
    env = wire.env or {}
    if wire.command is not None or wire.image is not None:
        command = wire.command if isinstance(wire.command, str) else tuple(wire.command or ())
        return GxWork(command, env, wire.image)
    work = settings.types.get(wire.type)
    if wire.function is not None:
        work = settings.functions.get(wire.function)
        if work is None:
            raise _not_allowed("function")
    return None if work is None else GxWork(work.command, {**work.env, **env}, work.image)


def _not_allowed(member: str) -> Refused:
    return refused((400, f"{member} is not allowed"))


NUMBER: Final = "GX_TASK_ID"
"""The variable that tells a task its number."""


def spec_of(
    wire: SubmittedTask,
    workspace: Workspace,
    size: Size,
    work: GxWork | None,
    simulated_s: float,
    largest: Capacity | None,
) -> TaskSpec:
    """The specification of a checked task; ``NUMBER`` is still to be set."""
    name, kind = wire.name or "", wire.type or ""
    if work is None:
        return TaskSpec(
            work=Simulation(simulated_s),
            group=workspace.key.group,
            name=name,
            resources=Resources(slots=0),
            size=kind,
            timeout_s=size.limit_s,
        )
    env: dict[str, str | SecretRef] = {
        **work.env,
        # No variable can hold a NUL, though a name can.
        "GX_TASK_NAME": name.replace("\0", ""),
        "GX_TASK_TYPE": kind,
        "GX_WORKSPACE_ID": workspace.id,
    }
    return TaskSpec(
        work=_work(work, env, wire.input),
        group=workspace.key.group,
        name=name,
        resources=_room(size, largest),
        size=kind,
        timeout_s=size.limit_s,
    )


def _work(work: GxWork, env: dict[str, str | SecretRef], stdin: str | None) -> Work:
    shell, argv = (work.command, ()) if isinstance(work.command, str) else (None, work.command)
    if work.image is None:
        return Command(argv=argv, shell=shell, env=env, stdin=stdin, merge_output=True)
    if shell is not None:
        entrypoint = ("/bin/sh", "-c")
        return Container(work.image, (shell,), entrypoint, env, stdin=stdin)
    return Container(work.image, argv, env=env, stdin=stdin)


def draw(size: Size) -> float:
    """How long a simulation takes: at random from half of its longest time to all of it."""
    return random.uniform(size.simulated_s / 2, size.simulated_s)  # noqa: S311 - no secret


def _room(size: Size, largest: Capacity | None) -> Resources:
    """What a size reserves, cut down to what the largest worker has, so that it fits somewhere."""
    cpu, memory = round(size.cpu * 1000), size.memory_mib * MIB
    if largest is not None:
        cpu, memory = min(cpu, largest.cpu_millis), min(memory, largest.memory_bytes)
    return Resources(cpu_millis=cpu, memory_bytes=memory)


def task_answer(entry: ListEntry) -> TaskAnswer:
    """A task as lists show it."""
    return TaskAnswer(entry.number, entry.name, entry.size, entry.status.value)


def detail_of(number: int, task: Task, attempt: Attempt | None) -> TaskDetail:
    """A task with everything that is known of it; ``attempt`` is its last one."""
    status = status_of(task.state, was_dispatched=task.attempt_count > 0) or ListStatus.QUEUED
    error = task.message if status is ListStatus.FAILED else None
    if status is ListStatus.FAILED and not error:
        error = task.reason or "failed"
    finished_at = task.finished_at
    if finished_at is not None and attempt is not None and attempt.finished_at is not None:
        # When the work ended, not when the engine heard of it, which a restart may put off.
        finished_at = attempt.finished_at
    return TaskDetail(
        id=number,
        name=task.spec.name or "",
        type=task.spec.size or "",
        status=status.value,
        createdAt=rfc3339(task.created_at),
        startedAt=_time(None if attempt is None else attempt.started_at),
        finishedAt=_time(finished_at),
        exitCode=None if attempt is None else attempt.exit_code,
        error=None if error is None else redact_text(error),
    )


def _time(moment: Instant | None) -> str | None:
    return None if moment is None else rfc3339(moment)
