"""The options of a task, and the task specification they make."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from taskyard.cli.errors import UsageError
from taskyard.cli.quantities import moment_or_duration, seconds

SECRET_PREFIX = "@secret:"  # noqa: S105 - the mark of a reference, not a secret
Repeated = tuple[str, ...]


@Parameter(name="*", group="Task")
@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The members of a task besides its command."""

    image: str | None = None
    """Image to run as a container; the command is passed to its entry point."""
    entrypoint: str | None = None
    """Program to run instead of the image's entry point."""
    pull: Literal["always", "missing", "never"] | None = None
    """When to pull the image."""
    registry_secret: str | None = None
    """Secret with the credentials for the image's registry."""
    network: str | None = None
    """Network mode of the container, such as none, bridge or host."""
    volume: Annotated[Repeated, Parameter(name=["--volume", "-v"])] = ()
    """HOST:CONTAINER[:rw], a directory the container sees; repeatable."""
    writable: bool = False
    """Let the container write to its root file system."""
    env: Annotated[Repeated, Parameter(name=["--env", "-e"])] = ()
    """NAME=VALUE of the environment; NAME=@secret:SECRET refers to a stored secret; repeatable."""
    cwd: str | None = None
    """Working directory; a private, empty one by default."""
    stdin_file: Annotated[str | None, Parameter(name="--stdin-file", allow_leading_hyphen=True)] = (
        None
    )
    """File for standard input; - passes on that of this command."""
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None
    """Group of the task."""
    name: Annotated[str | None, Parameter(name=["--name", "-n"])] = None
    """Name of the task."""
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"])] = None
    """-100 to 100; higher starts first."""
    cpu: float | None = None
    """Number of cores to reserve, which is also the limit."""
    cores: int | None = None
    """Number of exclusive cores, all of one NUMA node; replaces --cpu."""
    on: str | None = None
    """Tag or host name of the workers that may run it."""
    memory: str | None = None
    """Memory to reserve, which is also the limit, such as 512MiB."""
    pids: int | None = None
    """Maximum number of processes and threads."""
    timeout: str | None = None
    """How long one attempt may run, such as 30s or 2h."""
    retries: int | None = None
    """Number of retries after a failure."""
    backoff: str | None = None
    """Delay before the first retry, such as 1s, or first and longest delay: 1s..5m."""
    at: str | None = None
    """When to start, such as 2026-12-01T08:00 (local time unless it has a zone)."""
    start_in: Annotated[str | None, Parameter(name="--in")] = None
    """Delay before it starts, such as 30s."""
    cron: str | None = None
    """Run repeatedly: a cron expression with five fields, such as '0 8 * * *'."""
    tz: str | None = None
    """Time zone of --cron, such as Europe/Berlin."""
    catch_up: Literal["none", "one", "all"] | None = None
    """Which runs missed while the server was down to make up for."""
    expires: str | None = None
    """Do not start after this time, or later than this long from now."""
    key: str | None = None
    """Idempotency key: another submit with the same key returns the first task."""
    label: Annotated[Repeated, Parameter(name=["--label", "-l"])] = ()
    """Label as KEY=VALUE; repeatable."""
    metadata: str | None = None
    """JSON object to store with the task."""
    user: str | None = None
    """Unprivileged user to run as."""
    isolate: bool = False
    """Run inside bubblewrap."""
    no_network: bool = False
    """Run inside bubblewrap, without a network."""
    signal: str | None = None
    """Signal that asks the task to end, such as SIGINT."""
    grace: str | None = None
    """How long the task may take to end before it is killed with SIGKILL."""
    strict: bool = False
    """Fail instead of running where a limit cannot be enforced."""
    no_rerun: bool = False
    """Do not run again if its worker is lost while it runs."""
    log_limit: str | None = None
    """How much of each output stream to keep, such as 100MiB."""
    webhook: Repeated = ()
    """URL to report to; repeatable."""
    webhook_on: Repeated = ()
    """When to report: started, succeeded, failed, finished; repeatable."""

    def members(self) -> dict[str, Any]:
        """The members of the API's task specification, without those not given.

        Raises :class:`UsageError` for what cannot be read; rules are the server's to check.
        """
        members: dict[str, Any] = {
            "image": self.image,
            "container": self._container(),
            "env": self._env(),
            "cwd": self.cwd if self.image is not None else _absolute(self.cwd),
            "stdin": self._stdin(),
            "group": self.group,
            "name": self.name,
            "priority": self.priority,
            "resources": _given(cpu=self.cpu, memory=self.memory, pids=self.pids, cores=self.cores),
            "placement": None if self.on is None else {"type": "match_tag", "tag": self.on},
            "timeout_s": _seconds(self.timeout, "--timeout"),
            "retry": self._retry(),
            "start_at": None if self.at is None else moment_or_duration(self.at, "--at"),
            "start_in_s": _seconds(self.start_in, "--in"),
            "cron": self.cron,
            "timezone": self.tz,
            "catch_up": self.catch_up,
            "expires_at": (
                None if self.expires is None else moment_or_duration(self.expires, "--expires")
            ),
            "idempotency_key": self.key,
            "labels": pairs(self.label, "--label"),
            "metadata": self._metadata(),
            "user": self.user,
            "isolate": self.isolate or None,
            "network": False if self.no_network else None,
            "strict": self.strict or None,
            "kill": _given(signal=self.signal, grace_s=_seconds(self.grace, "--grace")),
            "rerun_if_lost": False if self.no_rerun else None,
            "log_limit": self.log_limit,
            "webhooks": [
                {"url": url, **_given(events=list(self.webhook_on) or None)} for url in self.webhook
            ],
        }
        return {name: value for name, value in members.items() if value not in (None, {}, [])}

    def _container(self) -> dict[str, Any]:
        how = _given(
            entrypoint=None if self.entrypoint is None else [self.entrypoint],
            pull=self.pull,
            credentials=self.registry_secret,
            network=self.network,
            volumes=[_volume(text) for text in self.volume] or None,
            read_only=False if self.writable else None,
        )
        if how and self.image is None:
            raise UsageError("container options need --image")
        return how

    def _env(self) -> dict[str, Any]:
        return {
            name: (
                {"secret": value.removeprefix(SECRET_PREFIX)}
                if value.startswith(SECRET_PREFIX)
                else value
            )
            for name, value in pairs(self.env, "--env").items()
        }

    def _stdin(self) -> str | None:
        if self.stdin_file is None:
            return None
        try:
            if self.stdin_file == "-":
                return sys.stdin.buffer.read().decode()
            return Path(self.stdin_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--stdin-file: {self.stdin_file} cannot be read: {error}") from error

    def _retry(self) -> dict[str, Any]:
        if self.retries is not None and self.retries < 0:
            raise UsageError("--retries: cannot be negative")
        least, _, most = (self.backoff or "").partition("..")
        least_s = _seconds(least or None, "--backoff")
        most_s = _seconds(most or None, "--backoff")
        return _given(
            max_attempts=None if self.retries is None else self.retries + 1,
            backoff_min_s=least_s,
            backoff_max_s=most_s,
        )

    def _metadata(self) -> dict[str, Any] | None:
        if self.metadata is None:
            return None
        try:
            return msgspec.json.decode(self.metadata, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise UsageError(
                f"--metadata: {self.metadata!r} is not a JSON object",
                what_to_do="""Write for example '{"ticket": 7}'.""",
            ) from error


def command_of(arguments: Sequence[str], shell: str | None) -> list[str] | str | None:
    """The command as the API takes it; None without one. Raises :class:`UsageError` for two."""
    if shell is not None and arguments:
        raise UsageError("give a command after -- or a shell line with --shell, not both")
    return shell if shell is not None else (list(arguments) or None)


def pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dictionary."""
    read: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag}: {text!r} must be NAME=VALUE")
        read[name] = value
    return read


def _volume(text: str) -> dict[str, Any]:
    host, colon, inside = text.partition(":")
    inside, _, mode = inside.partition(":")
    if not colon or not inside or mode not in {"", "ro", "rw"}:
        raise UsageError(f"--volume: {text!r} must be HOST:CONTAINER or HOST:CONTAINER:rw")
    return {"host": _absolute(host), "container": inside, "read_only": mode != "rw"}


def _absolute(path: str | None) -> str | None:
    """The absolute path; the server does not know our working directory."""
    return path if not path or path.startswith("/") else os.path.abspath(path)  # noqa: PTH100 - as shells do


def _seconds(text: str | None, flag: str) -> float | None:
    return None if text is None else seconds(text, flag)


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
