"""The rules that a specification and its work have to keep, whichever dialect it came through."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from taskyard.core.access.redaction import HIDDEN, masked_member
from taskyard.core.cron import check_cron
from taskyard.core.errors import InvalidInput
from taskyard.core.image_name import parse_image
from taskyard.core.instants import Instant
from taskyard.core.notifications.webhooks import WEBHOOKS_LIMIT, check_webhook
from taskyard.core.scheduling.policies import problem_of
from taskyard.core.signals import signal_number
from taskyard.core.syslog import parse_server, problem_of_tag
from taskyard.core.tasks import Command, Container, SecretRef, Syslog, TaskSpec, Webhook, Work

LABEL_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
NAME_LENGTH: Final = 1024
CORES_LIMIT: Final = 10_000
LATEST: Final = 253_402_300_799_000_000
"""The end of the year 9999, in microseconds."""
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
CONTAINER_USER: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.$-]{0,63})?\Z"
)
NETWORK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}\Z")
HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")
CAPABILITY: Final = re.compile(r"[A-Z][A-Z_]{1,39}\Z")
SECRET_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}\Z")
PULL_TIMEOUT_S: Final = 31_536_000
"""A year, as for the time that a task may run."""
COMMAND_BYTES: Final = 128 * 1024
KEEP_LAST_BYTES: Final = 1 << 40


def check_spec(spec: TaskSpec) -> None:
    """Raise :class:`InvalidInput` naming the first member that breaks a rule.

    Numbers in plain ranges are declared on the dialects' schemas; here stand the rules that
    protect the engine whatever a dialect forgot.
    """
    check_work(spec.work)
    if (masked := masked_member(spec)) is not None:
        raise InvalidInput(
            masked,
            f"is {HIDDEN}, the placeholder of a hidden value; "
            "enter the value itself, or retry the task",
        )
    if not 1 <= len(spec.group) <= 255 or _CONTROL.search(spec.group):
        raise InvalidInput("group", "must be 1 to 255 characters, without control characters")
    if spec.name is not None and len(spec.name) > NAME_LENGTH:
        raise InvalidInput("name", f"must be at most {NAME_LENGTH} characters long")
    if not _is_signal(spec.kill_signal):
        raise InvalidInput(
            "kill.signal",
            f"{spec.kill_signal!r} is not a signal, such as SIGTERM or SIGRTMIN+3",
        )
    if spec.retry.backoff_min_s > spec.retry.backoff_max_s:
        raise InvalidInput("retry.backoff_min_s", "must not exceed backoff_max_s")
    _check_placement(spec)
    if spec.cron is not None:
        if spec.start_at is not None:
            raise InvalidInput("cron", "cannot be combined with start_at or start_in_s")
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
        raise InvalidInput("resources.allotted", "is set by the scheduler")
    if asked.cores is not None:
        if not 1 <= asked.cores <= CORES_LIMIT:
            raise InvalidInput("resources.cores", f"must be from 1 to {CORES_LIMIT}")
        if asked.cpu_millis is not None:
            raise InvalidInput("resources.cores", "cannot be combined with cpu")
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


def check_work(work: Work) -> None:
    """Raise :class:`InvalidInput` for work that nothing could execute."""
    if isinstance(work, Command):
        check_command(work)
    elif isinstance(work, Container):
        check_container(work)


def check_command(work: Command) -> None:
    """Raise :class:`InvalidInput` unless this names exactly one thing that could be run."""
    if (work.shell is None) == (not work.argv):
        raise InvalidInput(
            "command", "must be a non-empty list of strings, or a shell command line"
        )
    if not (work.argv[0] if work.shell is None else work.shell.strip()):
        raise InvalidInput("command", "is empty")
    text = work.shell if work.shell is not None else "\0".join(work.argv)
    if text.count("\0") != max(0, len(work.argv) - 1):
        raise InvalidInput("command", "contains a NUL character")
    if len(text) > COMMAND_BYTES or len(text.encode(errors="surrogatepass")) > COMMAND_BYTES:
        raise InvalidInput("command", f"is longer than {COMMAND_BYTES} bytes")
    _check_path("cwd", work.cwd)
    _check_env(work.env)


def check_container(work: Container) -> None:
    """Raise :class:`InvalidInput` for what no engine could run."""
    parse_image(work.image)
    texts = [*work.args, *(work.entrypoint or ()), *work.hosts, *work.hosts.values()]
    if any("\0" in text for text in texts):
        raise InvalidInput("command", "contains a NUL character")
    if sum(len(text) for text in work.args) > COMMAND_BYTES:
        raise InvalidInput("command", f"is longer than {COMMAND_BYTES} bytes")
    if work.user is not None and not CONTAINER_USER.match(work.user):
        raise InvalidInput("user", "must be USER or USER:GROUP")
    if work.network is not None and not NETWORK.match(work.network):
        raise InvalidInput(
            "container.network", "is not a valid network mode, such as none, bridge or host"
        )
    _check_settings(work)
    if not 0 <= work.keep_last_bytes <= KEEP_LAST_BYTES:
        raise InvalidInput("container.keep_last_bytes", f"is from 0 to {KEEP_LAST_BYTES}")
    if work.syslog is not None:
        _check_syslog(work.syslog)
    if not 0 < work.pull_timeout_s <= PULL_TIMEOUT_S:
        raise InvalidInput("container.pull_timeout_s", f"is above 0 and at most {PULL_TIMEOUT_S}")
    if work.credentials is not None and not SECRET_NAME.match(work.credentials):
        raise InvalidInput("container.credentials", "is not a valid name of a secret")
    _check_path("cwd", work.cwd)
    _check_env(work.env)


def _check_settings(work: Container) -> None:
    for volume in work.volumes:
        _check_path("container.volumes", volume.host)
        _check_path("container.volumes", volume.container)
        if ":" in volume.host or ":" in volume.container or volume.container == "/":
            raise InvalidInput(
                "container.volumes", "contains a path that container engines do not accept"
            )
    for name, address in work.hosts.items():
        if not HOST_NAME.match(name) or not _is_address(address):
            raise InvalidInput("container.hosts", f"{name!r} needs a name and an IP address")
    for capability in work.capabilities:
        if not CAPABILITY.match(capability):
            raise InvalidInput(
                "container.capabilities",
                f"{capability!r} is not a capability, such as NET_BIND_SERVICE",
            )


def _check_syslog(syslog: Syslog) -> None:
    try:
        parse_server(syslog.server)
    except ValueError as error:
        raise InvalidInput("container.syslog.server", str(error)) from error
    problem = problem_of_tag(syslog.tag)
    if problem is not None:
        raise InvalidInput("container.syslog.tag", problem)


def _is_address(text: str) -> bool:
    if text == "host-gateway":
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_path(field: str, path: str | None) -> None:
    if path is not None and (not path.startswith("/") or "\0" in path):
        raise InvalidInput(field, "must be an absolute path")


def _check_env(env: Mapping[str, str | SecretRef]) -> None:
    for name, value in env.items():
        if not ENV_NAME.match(name):
            raise InvalidInput(f"env.{name}", "is not a valid variable name")
        if not isinstance(value, SecretRef) and "\0" in value:
            raise InvalidInput(f"env.{name}", "contains a NUL character")
