"""Submitted wire form into specifications, by the rules of the API page."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Resources
from taskyard.core.tasks import Command, Container, TaskSpec, Volume, Webhook
from taskyard.dialects.native import schemas_shared as shared
from taskyard.dialects.native.schemas_submit import (
    SubmittedResources,
    SubmittedTask,
    TaskPatch,
)
from taskyard.dialects.native.sizes import size_bytes
from taskyard.dialects.native.times import parse_time

METADATA_BYTES: Final = 65_536
METADATA_DEPTH: Final = 64
STDIN_BYTES: Final = 4 << 20
_NO_RESOURCES: Final = Resources()
_NO_RETRY: Final = RetryPolicy()
_NO_CONTAINER: Final = shared.Container()
_ENCODER: Final = msgspec.json.Encoder()


def spec_of(wire: SubmittedTask, now: Instant) -> TaskSpec:
    """The specification a submitted task means at ``now``.

    Raises :class:`InvalidInput` for what the schema cannot say; the engine checks the rest.
    """
    if wire.stdin is not None and (
        "\0" in wire.stdin or len(wire.stdin) * 4 > STDIN_BYTES < len(wire.stdin.encode())
    ):
        raise InvalidInput("stdin", "must be at most 4 MiB, without NUL characters")
    if wire.metadata:
        _check_metadata(wire.metadata)
    start_at, expires_at = _start(wire, now), None
    if wire.expires_at is not None:
        expires_at = parse_time("expires_at", wire.expires_at)
    kill, retry = wire.kill, wire.retry
    return TaskSpec(
        work=_command(wire) if wire.image is None else _container(wire, wire.image),
        group=GroupName(wire.group),
        name=wire.name,
        priority=wire.priority,
        resources=_NO_RESOURCES if wire.resources is None else _resources(wire.resources),
        placement=wire.placement,
        timeout_s=wire.timeout_s,
        kill_signal="SIGTERM" if kill is None else kill.signal,
        kill_grace_s=10.0 if kill is None else kill.grace_s,
        retry=_NO_RETRY
        if retry is None
        else RetryPolicy(
            max_attempts=retry.max_attempts,
            backoff_min_s=retry.backoff_min_s,
            backoff_max_s=retry.backoff_max_s,
            factor=retry.factor,
            jitter=retry.jitter,
        ),
        start_at=start_at,
        starts_after_wait=wire.start_in_s is not None,
        cron=wire.cron,
        timezone=wire.timezone or "UTC",
        catch_up=wire.catch_up,
        expires_at=expires_at,
        idempotency_key=wire.idempotency_key,
        rerun_if_lost=wire.rerun_if_lost,
        strict=wire.strict,
        log_limit_bytes=None
        if wire.log_limit is None
        else size_bytes("log_limit", wire.log_limit, 0, 1 << 40),
        labels=wire.labels,
        metadata=wire.metadata,
        webhooks=tuple([Webhook(w.url, w.events, w.headers) for w in wire.webhooks]),
    )


def _command(wire: SubmittedTask) -> Command:
    command = wire.command
    if command is None:
        raise InvalidInput("command", "is required, unless there is an image")
    if wire.container is not None:
        raise InvalidInput("container", "needs an image")
    if wire.user is not None and ":" in wire.user:
        raise InvalidInput("user", "can name a group only with an image")
    shell, argv = (command, ()) if isinstance(command, str) else (None, command)
    return Command(
        argv=argv,
        shell=shell,
        env=wire.env,
        cwd=wire.cwd,
        stdin=wire.stdin,
        user=wire.user,
        isolate=wire.isolate,
        network=wire.network,
    )


def _container(wire: SubmittedTask, image: str) -> Container:
    if wire.isolate:
        raise InvalidInput("isolate", "only applies to commands; containers are always isolated")
    if not wire.network:
        raise InvalidInput(
            "network", 'only applies to commands; use "container": {"network": "none"}'
        )
    how = _NO_CONTAINER if wire.container is None else wire.container
    entrypoint, args = how.entrypoint, wire.command or ()
    if isinstance(args, str):
        if entrypoint is not None:
            raise InvalidInput("command", "cannot be a shell line together with an entrypoint")
        entrypoint, args = ("/bin/sh", "-c"), (args,)
    return Container(
        image=image,
        args=args,
        entrypoint=entrypoint,
        env=wire.env,
        cwd=wire.cwd,
        stdin=wire.stdin,
        user=wire.user,
        pull=how.pull,
        pull_timeout_s=how.pull_timeout_s,
        credentials=how.credentials,
        network=how.network,
        volumes=tuple([Volume(v.host, v.container, v.read_only) for v in how.volumes]),
        hosts=how.hosts,
        read_only=how.read_only,
        capabilities=how.capabilities,
    )


def _start(wire: SubmittedTask, now: Instant) -> Instant | None:
    if wire.start_at is None and wire.start_in_s is None:
        return None
    if wire.start_in_s is None and wire.start_at is not None:
        if wire.cron is not None:
            raise InvalidInput("cron", "cannot be combined with start_at")
        return parse_time("start_at", wire.start_at)
    if wire.start_at is not None or wire.start_in_s is None:
        raise InvalidInput("start_in_s", "cannot be combined with start_at")
    if wire.cron is not None:
        raise InvalidInput("cron", "cannot be combined with start_in_s")
    return after(now, wire.start_in_s)


def _resources(wire: SubmittedResources) -> Resources:
    return Resources(
        cpu_millis=None if wire.cpu is None else round(wire.cpu * 1000),
        memory_bytes=size_bytes("resources.memory", wire.memory, 4 << 20, 64 << 40),
        pids=wire.pids,
        cores=wire.cores,
    )


def _check_metadata(metadata: dict[str, Any]) -> None:
    encoded = _ENCODER.encode(metadata)
    if len(encoded) > METADATA_BYTES:
        raise InvalidInput("metadata", f"has more than {METADATA_BYTES} bytes as JSON")
    if encoded.count(b"{") + encoded.count(b"[") > METADATA_DEPTH:
        _check_depth(metadata)


def _check_depth(metadata: dict[str, Any]) -> None:
    """Refuse metadata so deep that readers would meet their recursion limits."""
    level: list[Any] = [metadata]
    for _ in range(METADATA_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise InvalidInput("metadata", f"is nested more than {METADATA_DEPTH} levels deep")


def patched_start(patch: TaskPatch, now: Instant) -> Instant | None:
    """The new start a patch asks for; None if it asks for none. Raises :class:`InvalidInput`."""
    if patch.start_at is not UNSET and patch.start_in_s is not UNSET:
        raise InvalidInput("start_in_s", "cannot be combined with start_at")
    if patch.start_at is not UNSET:
        return parse_time("start_at", patch.start_at)
    return None if patch.start_in_s is UNSET else after(now, patch.start_in_s)
