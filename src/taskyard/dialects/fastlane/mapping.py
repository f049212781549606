"""From a payload to a job of ours."""

from typing import Any, Final

from msgspec import Struct

from taskyard.core.ids import GroupName
from taskyard.core.instants import SECOND, Instant, after
from taskyard.core.jobs import JobDefinition
from taskyard.core.tasks import Container, TaskSpec
from taskyard.dialects.fastlane.payload import LATEST_S, Payload
from taskyard.dialects.fastlane.settings import FastlaneSettings

ORIGIN: Final = "fastlane"
KEPT: Final = ("custom",)
"""Details that a PUT without them leaves alone."""
LEAST_TIMEOUT_S: Final = 1.0
"""The original looks at a container for the first time after a second."""
_NAME_LENGTH: Final = 200


class Placed(Struct, frozen=True):
    """A definition and when it is to start."""

    definition: JobDefinition
    start_at: Instant | None


def definition_of(
    payload: Payload,
    settings: FastlaneSettings,
    group: str,
    address: str | None,
    base: str,
    now: Instant,
) -> Placed:
    """The job that a payload describes; ``base`` is what links in mails begin with."""
    limit = settings.timeout_limit_s
    timeout = limit if payload.timeout is None else min(payload.timeout, limit)
    details: dict[str, Any] = {
        "image": payload.image,
        "command": payload.command,
        "envs": payload.envs,
        "notify": payload.notify,
        "webhooks": payload.webhooks,
        "dns": [list(pair) for pair in payload.hosts.items()],
        "timeout": int(timeout) if float(timeout).is_integer() else timeout,
        "base": base,
    }
    if payload.expiration is not None:
        details["expiration"] = payload.expiration
    if payload.custom is not None:
        details["custom"] = payload.custom
    spec = TaskSpec(
        work=Container(
            image=payload.image,
            args=payload.args,
            env=dict(payload.env),
            hosts=payload.hosts,
            pull=settings.pull,
            # What clients of a bare engine expect: a container as it comes.
            read_only=False,
            privileged_defaults=True,
        ),
        group=GroupName(group),
        name=f"{payload.image} {payload.command}"[:_NAME_LENGTH],
        timeout_s=float(max(timeout, LEAST_TIMEOUT_S)),
        starts_after_wait=payload.start_in_s is not None and payload.start_at_s is None,
        expires_at=_expiry(payload.expiration),
        # Executions show what they ran, whatever becomes of their job.
        metadata={"image": payload.image, "command": payload.command},
    )
    min_ms, factor = payload.backoff_min_ms, payload.backoff_factor
    definition = JobDefinition(
        spec=spec,
        retries=payload.retries,
        backoff_min_s=(settings.retry_backoff_min_ms if min_ms is None else min_ms) / 1000,
        backoff_factor=settings.retry_backoff_factor if factor is None else factor,
        cron=payload.cron,
        origin=ORIGIN,
        address=address,
        details=details,
    )
    return Placed(definition, _start(payload, now))


def _expiry(expiration: float | None) -> Instant | None:
    if expiration is None:
        return None
    return Instant(round(min(max(expiration, 0), LATEST_S) * SECOND))


def _start(payload: Payload, now: Instant) -> Instant | None:
    if payload.start_at_s is not None:
        return Instant(max(payload.start_at_s, 0) * SECOND)
    if payload.start_in_s is not None:
        seconds = min(payload.start_in_s, LATEST_S - now // SECOND - 1)
        return after(now, seconds)
    return None
