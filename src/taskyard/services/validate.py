"""The rules a specification has to keep, whichever dialect it came through."""

import re
import signal
from typing import Final

from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant
from taskyard.core.policies import problem_of
from taskyard.core.schedule import check_cron
from taskyard.core.tasks import Command, SecretRef, TaskSpec, Webhook
from taskyard.core.webhooks import WEBHOOKS_LIMIT, check_webhook

ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LABEL_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
NAME_LENGTH: Final = 1024
COMMAND_BYTES: Final = 128 * 1024
CORES_LIMIT: Final = 10_000
LATEST: Final = 253_402_300_799_000_000
"""The end of the year 9999, in microseconds."""


def check_spec(spec: TaskSpec) -> None:
    """Raise :class:`InvalidInput` naming the first member that breaks a rule.

    Numbers in plain ranges are declared on the dialects' schemas; here stand the rules that
    protect the engine whatever a dialect forgot.
    """
    if isinstance(spec.work, Command):
        check_command(spec.work)
    if not 1 <= len(spec.group) <= 255 or _CONTROL.search(spec.group):
        raise InvalidInput("group", "needs 1 to 255 characters, none of them a control character")
    if spec.name is not None and len(spec.name) > NAME_LENGTH:
        raise InvalidInput("name", f"has at most {NAME_LENGTH} characters")
    if spec.kill_signal != "SIGTERM" and spec.kill_signal not in signal.Signals.__members__:
        raise InvalidInput("kill.signal", f"there is no signal {spec.kill_signal!r}")
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


def check_command(work: Command) -> None:
    """Raise :class:`InvalidInput` unless this names exactly one thing that could be run."""
    if (work.shell is None) == (not work.argv):
        raise InvalidInput("command", "needs a non-empty list of strings, or a shell command line")
    if not (work.argv[0] if work.shell is None else work.shell.strip()):
        raise InvalidInput("command", "is empty")
    text = work.shell if work.shell is not None else "\0".join(work.argv)
    if text.count("\0") != max(0, len(work.argv) - 1):
        raise InvalidInput("command", "contains a NUL character")
    if len(text) > COMMAND_BYTES or len(text.encode(errors="surrogatepass")) > COMMAND_BYTES:
        raise InvalidInput("command", f"is longer than {COMMAND_BYTES} bytes")
    if work.cwd is not None and (not work.cwd.startswith("/") or "\0" in work.cwd):
        raise InvalidInput("cwd", "has to be an absolute path")
    for name, value in work.env.items():
        if not ENV_NAME.match(name):
            raise InvalidInput(f"env.{name}", "is not a valid variable name")
        if not isinstance(value, SecretRef) and "\0" in value:
            raise InvalidInput(f"env.{name}", "contains a NUL character")


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
