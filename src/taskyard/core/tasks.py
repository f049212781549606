"""The specification of a task as submitted, and the task as stored."""

from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.attempts import Attempt
from taskyard.core.backoff import RetryPolicy
from taskyard.core.cron import CatchUp
from taskyard.core.functions.functions import CallRequest, FunctionId
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import Policy
from taskyard.core.states import Reason, TaskState


class SecretRef(Struct, frozen=True, forbid_unknown_fields=True):
    """Stands for a stored secret's value in an environment; resolved when an attempt starts."""

    secret: str
    """Name of a secret of the task's workspace."""


class Command(Struct, frozen=True, omit_defaults=True, tag="command", tag_field="runtime"):
    """A program to run directly (``argv``) or through ``/bin/sh -c`` (``shell``); never both."""

    argv: tuple[str, ...] = ()
    """Program and arguments; the program is looked up in the ``PATH`` of the task."""
    shell: str | None = None
    env: dict[str, str | SecretRef] = {}
    cwd: str | None = None
    """Absolute working directory; a private, empty one that ends with the attempt when None."""
    stdin: str | None = None
    """Text given on standard input; ``/dev/null`` when None."""
    user: str | None = None
    """User to run as; the workspace's own when None, or the server's where workspaces have none."""
    merge_output: bool = False
    """Standard error goes where standard output goes, in the order in which both are written."""
    isolate: bool = False
    """Run inside bubblewrap: own mount, pid and ipc name spaces, system directories read-only."""
    network: bool = True
    """Whether it may use the machine's network; without, it is isolated as well."""

    @property
    def wants_sandbox(self) -> bool:
        """Whether it asks for one; the operator may put it into one anyhow."""
        return self.isolate or not self.network


class PullPolicy(StrEnum):
    """When an image is fetched from its registry."""

    ALWAYS = "always"
    MISSING = "missing"
    """Only if the engine does not have it."""
    NEVER = "never"


class Volume(Struct, frozen=True, omit_defaults=True):
    """A directory of the engine's machine inside a container; the operator's allow-list decides."""

    host: str
    """Absolute path outside."""
    container: str
    """Absolute path inside."""
    read_only: bool = True


class ContainerFile(Struct, frozen=True, omit_defaults=True):
    """A file that is put into a container before it starts; has either ``data`` or ``host``."""

    path: str
    """Absolute path inside."""
    data: str | None = None
    """Its content, base64."""
    host: str | None = None
    """Absolute path of a file of the worker's machine to copy."""


class Device(Struct, frozen=True, omit_defaults=True):
    """A device file of the engine's machine inside a container."""

    host: str
    container: str
    permissions: str = "rwm"
    """Of ``r``, ``w`` and ``m`` (make nodes) those that are given."""


class DeviceRequest(Struct, frozen=True, omit_defaults=True):
    """Devices that a driver of the engine provides, such as graphics cards."""

    driver: str = ""
    count: int = 0
    """-1 for all."""
    ids: tuple[str, ...] = ()
    capabilities: tuple[tuple[str, ...], ...] = ()
    options: dict[str, str] = {}


class Syslog(Struct, frozen=True, omit_defaults=True):
    """A log server that gets each line of output as well."""

    server: str
    """``udp://HOST:PORT`` or ``tcp://HOST:PORT``."""
    tag: str
    """What lines are marked with."""


class Container(Struct, frozen=True, omit_defaults=True, tag="container", tag_field="runtime"):
    """An image to run as a container on an engine of a worker."""

    image: str
    """Name as an engine takes it: ``[HOST[:PORT]/]PATH[:TAG][@DIGEST]``."""
    args: tuple[str, ...] = ()
    """Arguments of the entry point; those of the image when empty."""
    entrypoint: tuple[str, ...] | None = None
    """Program to run instead of the image's entry point."""
    env: dict[str, str | SecretRef] = {}
    cwd: str | None = None
    """Absolute working directory inside; the image's when None."""
    stdin: str | None = None
    """Text given on standard input; nothing is attached when None."""
    user: str | None = None
    """``USER[:GROUP]`` inside; the image's when None."""
    pull: PullPolicy = PullPolicy.MISSING
    pull_timeout_s: float = 600.0
    credentials: str | None = None
    """Name of a secret that holds ``{"username": …, "password": …}`` for the image's registry."""
    network: str | None = None
    """Network mode, such as ``none``, ``bridge`` or ``host``; the worker's default when None."""
    volumes: tuple[Volume, ...] = ()
    hosts: dict[str, str] = {}
    """Lines of the hosts file inside: name to address."""
    labels: dict[str, str] = {}
    read_only: bool = True
    """Whether the root file system is read-only; ``/tmp`` is writable then, in memory."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities kept, such as ``NET_BIND_SERVICE``; all others are dropped."""
    privileged_defaults: bool = False
    """Keep the engine's own default capabilities instead, as clients of bare engines expect."""
    merge_output: bool = False
    """Standard error goes where standard output goes, in the order in which both arrive."""
    inherited_env: tuple[str, ...] = ()
    """Variables taken over from the worker's own environment, as far as it has them."""
    hostname_env: tuple[str, ...] = ()
    """Variables that get the host name of the worker."""
    files: tuple[ContainerFile, ...] = ()
    devices: tuple[Device, ...] = ()
    device_requests: tuple[DeviceRequest, ...] = ()
    open_files: int | None = None
    """Files it may have open at once; the engine's default when None."""
    keep_last_bytes: int = 0
    """Of output beyond its limit, about how much of the end is kept as well; to be read once the
    attempt has ended, behind the line that says what is missing."""
    syslog: Syslog | None = None
    """Where lines of output go besides the files; whether they arrive changes nothing else."""


class Simulation(Struct, frozen=True, tag="simulation", tag_field="runtime"):
    """Pretends to work: idles for a while, then ends well. Costs a timer and no process."""

    duration_s: float
    """Seconds from its placement to its end."""


class FunctionCall(Struct, frozen=True, omit_defaults=True, tag="function", tag_field="runtime"):
    """One call of a function."""

    function_id: FunctionId
    function: str
    """Its name when the call was made."""
    version: int | None = None
    """The version that answers; the one that is live when the call is placed, when None."""
    request: CallRequest = CallRequest()
    alias: str = ""
    """Id of the task that the handler is told; the task's own when empty."""
    blob_header: str = ""
    """Header in which the handler gets the function's blob, and may answer with another one."""
    image: bool = False
    """Whether the version is a container image rather than source."""


Work = Command | Container | Simulation | FunctionCall
"""What an attempt executes. A union over the runtimes, told apart by ``runtime``."""


def environment_of(work: Work) -> dict[str, str | SecretRef]:
    """The variables that work asks for; none if it has no environment."""
    return {} if isinstance(work, Simulation | FunctionCall) else work.env


def with_environment(work: Work, env: dict[str, str | SecretRef]) -> Work:
    """The same work with other variables; what has no environment stays as it is."""
    return work if isinstance(work, Simulation | FunctionCall) else replace(work, env=env)


def runtime_of(work: Work) -> str:
    """Tag of the runtime that executes it."""
    return str(type(work).__struct_config__.tag)


IMAGE_FUNCTIONS: Final = "function-image"
"""The runtime of calls that containers answer, which needs more of a worker than others."""


def needed_runtime(work: Work) -> str:
    """The runtime that a worker needs for it."""
    if isinstance(work, FunctionCall) and work.image:
        return IMAGE_FUNCTIONS
    return runtime_of(work)


class WebhookEvent(StrEnum):
    """Moments in the life of a task that a webhook can ask for."""

    STARTED = "started"
    """An attempt began to run."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The task ended as failed or dead."""
    FINISHED = "finished"
    """The task reached any terminal state."""


class Webhook(Struct, frozen=True, omit_defaults=True):
    """Where to report moments of a task's life."""

    url: str
    events: tuple[WebhookEvent, ...] = (WebhookEvent.FINISHED,)
    headers: dict[str, str] = {}


class TaskSpec(Struct, frozen=True, omit_defaults=True):
    """What to run and how. Dialects translate requests into it; every submit goes through it."""

    work: Work
    group: GroupName = GroupName("default")
    name: str | None = None
    priority: int = 0
    """-100 to 100; higher starts first within its workspace."""
    resources: Resources = Resources()
    size: str | None = None
    """Name of the bundle of cores and memory that ``resources`` come from, such as ``gx.tiny``."""
    placement: Policy | None = None
    """Which workers it may go to, besides having room; any when None."""
    timeout_s: float | None = None
    """Seconds one attempt may run; no limit when None."""
    kill_signal: str = "SIGTERM"
    """Signal that asks an attempt to end; whatever is left after the grace is killed outright."""
    kill_grace_s: float = 10.0
    """Seconds between the signal and the kill; 0 kills at once."""
    retry: RetryPolicy = RetryPolicy()
    start_at: Instant | None = None
    starts_after_wait: bool = False
    """Whether ``start_at`` was counted from the submit on, and so follows no clock that is set."""
    cron: str | None = None
    """Five-field cron expression; the task becomes a recurring one that never runs itself."""
    timezone: str = "UTC"
    """IANA zone that ``cron`` is read in."""
    catch_up: CatchUp = CatchUp.ONE
    expires_at: Instant | None = None
    """After this an attempt must not start any more: the task ends as expired."""
    idempotency_key: str | None = None
    """A second submit with the same key in the same workspace answers with the first task."""
    rerun_if_lost: bool = True
    """Whether an attempt may run again when its worker was lost in the middle."""
    log_limit_bytes: int | None = None
    """Bytes kept of each output stream of an attempt; the worker's default when None."""
    strict: bool = False
    """Whether to fail rather than run where a limit of ``resources`` cannot be enforced."""
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    """Free data of the submitter; stored, returned, never looked at."""
    webhooks: tuple[Webhook, ...] = ()


class NewTask(Struct, frozen=True):
    """A validated task on its way into the store; the service has chosen id, state and times."""

    id: TaskId
    workspace: WorkspaceName
    spec: TaskSpec
    state: TaskState
    """``queued``, or ``scheduled`` for a delayed or recurring task."""
    created_at: Instant
    start_at: Instant | None = None
    """When a scheduled task becomes ready; for a recurring one its next firing."""
    schedule_id: TaskId | None = None
    """The recurring task this one is a firing of."""
    due_at: Instant | None = None
    """The firing time this task stands for; unique per ``schedule_id``."""
    retry_of: TaskId | None = None
    """The ended task this one repeats on request."""


class Task(Struct, frozen=True):
    """A task as stored."""

    seq: int
    """Position in the order of acceptance; orders tasks of equal priority."""
    id: TaskId
    workspace: WorkspaceName
    spec: TaskSpec
    """As submitted, except that ``priority`` and the schedule show later changes."""
    state: TaskState
    created_at: Instant
    attempt_count: int = 0
    start_at: Instant | None = None
    """When a scheduled or retrying task becomes ready, or a recurring one fires next."""
    current_attempt: AttemptId | None = None
    """The one attempt that holds a lease now; None unless running."""
    kill_requested_at: Instant | None = None
    finished_at: Instant | None = None
    reason: Reason | None = None
    """Why the task ended, or why its last attempt failed while it waits to be retried."""
    message: str | None = None
    """The same for people."""
    schedule_id: TaskId | None = None
    due_at: Instant | None = None
    retry_of: TaskId | None = None

    @classmethod
    def accepted(cls, new: NewTask, seq: int) -> "Task":
        """The task as accepted, which is what its submitter is answered."""
        return cls(
            seq=seq,
            id=new.id,
            workspace=new.workspace,
            spec=new.spec,
            state=new.state,
            created_at=new.created_at,
            start_at=new.start_at,
            retry_of=new.retry_of,
        )

    @classmethod
    def placed(cls, new: NewTask, seq: int, attempt: Attempt) -> "Task":
        """As it was stored together with its first attempt."""
        return cls(
            seq=seq,
            id=new.id,
            workspace=new.workspace,
            spec=new.spec,
            state=TaskState.RUNNING,
            created_at=new.created_at,
            attempt_count=attempt.number,
            current_attempt=attempt.id,
            retry_of=new.retry_of,
        )
