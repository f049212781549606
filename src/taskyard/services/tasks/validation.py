"""The rules a specification has to keep, whichever dialect it came through."""

import re
from typing import Final

from taskyard.core.access.redaction import HIDDEN, masked_member
from taskyard.core.cron import check_cron
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant
from taskyard.core.notifications.webhooks import WEBHOOKS_LIMIT, check_webhook
from taskyard.core.scheduling.policies import problem_of
from taskyard.core.signals import signal_number
from taskyard.core.tasks import TaskSpec, Webhook
from taskyard.services.tasks.validate_work import check_work

LABEL_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
NAME_LENGTH: Final = 1024
CORES_LIMIT: Final = 10_000
LATEST: Final = 253_402_300_799_000_000
"""The end of the year 9999, in microseconds."""


def check_spec(spec: TaskSpec) -> None:
    """Raise :class:`InvalidInput` naming the first member that breaks a rule.

    Numbers in plain ranges are declared on the dialects' schemas; here stand the rules that
    protect the engine whatever a dialect forgot.
    """
    check_work(spec.work)
    if (masked := masked_member(spec)) is not None:
        raise InvalidInput(
            masked,
            f"is {HIDDEN}, which stands for a value that is not shown; "
            "give the value itself, or have the task repeated (retry)",
        )
    if not 1 <= len(spec.group) <= 255 or _CONTROL.search(spec.group):
        raise InvalidInput("group", "needs 1 to 255 characters, none of them a control character")
    if spec.name is not None and len(spec.name) > NAME_LENGTH:
        raise InvalidInput("name", f"has at most {NAME_LENGTH} characters")
    if not _is_signal(spec.kill_signal):
        raise InvalidInput(
            "kill.signal",
            f"there is no signal {spec.kill_signal!r}; names are such as SIGTERM or SIGRTMIN+3",
        )
    if spec.retry.backoff_min_s > spec.retry.backoff_max_s:
        raise InvalidInput("retry.backoff_min_s", "is above backoff_max_s")
    _check_placement(spec)
    if spec.cron is not None:
        if spec.start_at is not None:
            raise InvalidInput("cron", "excludes start_at and start_in_s")
        check_cron(spec.cron, spec.timezone)
    _check_time("start_at", spec.start_at)
    _check_time("expires_at", spec.expires_at)
    _check_webhooks(spec.webhooks)
    for key, value in spec.labels.items():
        if not LABEL_KEY.match(key) or len(value) > 255 or "\0" in value:
            raise InvalidInput("labels", f"{key!r} is not a valid label")


def _check_placement(spec: TaskSpec) -> None:
    asked = spec.resources
    if asked.allotted is not None:
        raise InvalidInput("resources.allotted", "is for the scheduler to say")
    if asked.cores is not None:
        if not 1 <= asked.cores <= CORES_LIMIT:
            raise InvalidInput("resources.cores", f"has to be from 1 to {CORES_LIMIT}")
        if asked.cpu_millis is not None:
            raise InvalidInput("resources.cores", "excludes cpu: whole cores are counted instead")
    if spec.placement is not None and (problem := problem_of(spec.placement)) is not None:
        raise InvalidInput("placement", problem)


def _check_webhooks(webhooks: tuple[Webhook, ...]) -> None:
    if len(webhooks) > WEBHOOKS_LIMIT:
        raise InvalidInput("webhooks", f"has more than {WEBHOOKS_LIMIT} entries")
    for position, webhook in enumerate(webhooks):
        check_webhook(webhook, f"webhooks.{position}")


def _check_time(field: str, moment: Instant | None) -> None:
    if moment is not None and not 0 <= moment <= LATEST:
        raise InvalidInput(field, "is out of range")


def _is_signal(name: str) -> bool:
    return name == "SIGTERM" or (name.startswith("SIG") and signal_number(name) is not None)
