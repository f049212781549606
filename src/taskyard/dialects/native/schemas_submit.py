"""Wire form of what is asked for: a submitted task, and changes to waiting ones."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from taskyard.core.cron import CatchUp
from taskyard.core.scheduling.policies import Policy
from taskyard.core.tasks import SecretRef
from taskyard.dialects.native.schemas_shared import (
    TEXT,
    Argument,
    Arguments,
    Container,
    Grace,
    Kill,
    Retry,
    SignalName,
    Webhook,
)

SIZE = r"^[0-9]{1,15}(\.[0-9]{1,6})? ?([kKMGTP]|[KMGTP]i|[kKMGTP]?B|[KMGTP]iB)?$"
ShellLine = Annotated[str, Meta(min_length=1, max_length=131_072, pattern=r"^[^\x00]*\S[^\x00]*$")]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=255)]
GroupText = Annotated[
    str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["reports"])
]
LabelKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, Meta(max_length=255, pattern=TEXT)]
SizeText = Annotated[
    str, Meta(pattern=SIZE, max_length=32, description="A number with a unit.", examples=["512MiB"])
]
MemorySize = Annotated[int, Meta(ge=4 << 20, le=64 << 40)] | SizeText
LogSize = Annotated[int, Meta(ge=0, le=1 << 40)] | SizeText
Time = Annotated[
    str,
    Meta(
        max_length=64,
        examples=["2026-12-01T08:00:00+01:00"],
        extra_json_schema={"format": "date-time"},
    ),
]
Cron = Annotated[str, Meta(min_length=9, max_length=255, examples=["0 8 1 * *"])]
TimeZone = Annotated[str, Meta(min_length=1, max_length=64, examples=["Europe/Berlin"])]
Priority = Annotated[int, Meta(ge=-100, le=100)]
StartIn = Annotated[float, Meta(ge=0, le=315_360_000)]


class SubmittedResources(Struct, forbid_unknown_fields=True):
    """Resources an attempt reserves and may not exceed."""

    cpu: Annotated[float, Meta(ge=0.01, le=1024)] | None = None
    memory: MemorySize | None = None
    pids: Annotated[int, Meta(ge=1, le=4_194_304)] | None = None
    cores: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Number of exclusive cores, all of one NUMA node; cannot be combined with ``cpu``."""


class SubmittedTask(Struct, forbid_unknown_fields=True):
    """A task to submit; either ``command`` or ``image`` is required."""

    command: Annotated[Arguments | ShellLine, Meta(examples=[["echo", "hello"]])] | None = None
    """A program and its arguments, or a shell command line; with an image, its arguments."""
    image: (
        Annotated[
            str, Meta(min_length=1, max_length=512, pattern=TEXT, examples=["busybox:latest"])
        ]
        | None
    ) = None
    """Image to run as a container."""
    container: Container | None = None
    env: Annotated[dict[EnvName, Argument | SecretRef], Meta(max_length=1024)] = {}
    cwd: Annotated[str, Meta(pattern=r"^/[^\x00]*$", max_length=4096)] | None = None
    stdin: Annotated[str, Meta(max_length=4 << 20)] | None = None
    user: (
        Annotated[
            str,
            Meta(
                pattern=r"^([a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,10})(:[A-Za-z0-9_.-]{1,64})?$",
                examples=["nobody"],
            ),
        ]
        | None
    ) = None
    isolate: bool = False
    network: bool = True
    """Whether a command may use the machine's network; without it, the command is isolated."""
    group: GroupText = "default"
    name: Annotated[str, Meta(max_length=255, pattern=TEXT)] | None = None
    priority: Priority = 0
    resources: SubmittedResources | None = None
    placement: Policy | None = None
    """Which workers it may run on, besides having free capacity."""
    timeout_s: Annotated[float, Meta(ge=0.001, le=31_536_000)] | None = None
    kill: Kill | None = None
    retry: Retry | None = None
    start_at: Time | None = None
    start_in_s: StartIn | None = None
    cron: Cron | None = None
    timezone: TimeZone | None = None
    catch_up: CatchUp = CatchUp.ONE
    expires_at: Time | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern=TEXT)] | None = None
    rerun_if_lost: bool = True
    strict: bool = False
    """Fail instead of running where a limit of ``resources`` cannot be enforced."""
    log_limit: LogSize | None = None
    labels: Annotated[dict[LabelKey, LabelValue], Meta(max_length=64)] = {}
    metadata: dict[str, Any] = {}
    webhooks: Annotated[list[Webhook], Meta(max_length=16)] = []


class SubmittedBatch(Struct, forbid_unknown_fields=True):
    """Many tasks, all stored or none."""

    tasks: Annotated[list[SubmittedTask], Meta(min_length=1, max_length=1000)]


class TaskPatch(Struct, forbid_unknown_fields=True):
    """Changes to a waiting task; at least one."""

    priority: Priority | UnsetType = UNSET
    start_at: Time | UnsetType = UNSET
    start_in_s: StartIn | UnsetType = UNSET
    cron: Cron | UnsetType = UNSET
    timezone: TimeZone | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET


class Cancel(Struct, forbid_unknown_fields=True):
    """How to kill, instead of the way the task specifies."""

    signal: SignalName | None = None
    grace_s: Grace | None = None


class CancelMany(Struct, forbid_unknown_fields=True):
    """Which tasks to cancel: some by id, or all of a group that have not ended."""

    ids: (
        Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=1000)]
        | None
    ) = None
    group: GroupText | None = None
    signal: SignalName | None = None
    grace_s: Grace | None = None
