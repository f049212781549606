# Made by tools/sdk_models.py from the OpenAPI description: change the server's schemas instead.
"""What the server answers with, as typed, frozen records.

Members the records do not know are ignored, and members a server leaves out have defaults, so that
client and server can be of different versions. Instants are aware UTC ``datetime`` objects,
durations seconds, sizes bytes.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
"""The task states that never change again."""


class AuditEntry(Struct, frozen=True):
    """One successful write or one refused attempt at it."""

    number: int
    at: datetime
    actor: str
    action: str
    target: str | None = None
    outcome: str = "done"
    address: str | None = None
    detail: str | None = None
    count: int = 1
    """Number of occurrences; refused attempts of one kind are counted for a minute."""


class Plane(Struct, frozen=True):
    """A control plane of the installation."""

    id: str
    name: str
    """Of its machine."""
    version: str
    state: str
    """``silent``: not heard for as long as a leader would be replaced."""
    address: str = ""
    joined_at: datetime | None = None
    beat_at: datetime | None = None
    silent_s: float = 0.0


class Cluster(Struct, frozen=True):
    """The control planes, as the one that answers sees them."""

    plane: str | None = None
    """The one that answers; null if it is the only one, on SQLite."""
    leader: str | None = None
    """The one that places tasks; null while none does, and for the only one."""
    term: int | None = None
    """Grows whenever another one begins to lead."""
    hears_messages: bool = False
    """Whether it is connected to NATS; true where there is none."""
    hears_changes: bool = False
    """Whether it reads what the others commit; false while the database is away."""
    planes: tuple[Plane, ...] = ()


class Change(Struct, frozen=True):
    """One committed change of a task."""

    kind: str
    at: datetime
    task_id: str
    group: str
    state: str
    was: str | None = None
    attempt_id: str | None = None
    attempt_number: int | None = None
    reason: str | None = None


class FunctionLimits(Struct, frozen=True):
    """Limits of one call."""

    timeout_s: float = 10.0
    cpu: float | None = None
    memory: int | None = None
    privileged: bool = False


class Function(Struct, frozen=True):
    """A function."""

    id: str
    name: str
    workspace: str = ""
    title: str = ""
    description: str = ""
    language: str = ""
    tags: tuple[str, ...] = ()
    limits: FunctionLimits = FunctionLimits()
    live_version: int | None = None
    """What new calls use; null until a build has succeeded."""
    last_version: int = 0
    paused: bool = False
    group: str = ""
    """The group its calls are filed under."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None


class FunctionVersion(Struct, frozen=True):
    """One deployed version of a function."""

    number: int
    state: str
    live: bool = False
    language: str = ""
    handler: str = ""
    entry: str = ""
    dependencies: tuple[str, ...] = ()
    bundle: str = ""
    """SHA-256 of what was uploaded."""
    size_bytes: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    finished_at: datetime | None = None
    message: str | None = None
    """Why its build failed."""
    image: str | None = None
    """The image that was deployed; null for source."""
    digest: str | None = None
    """Digest of the image when it was pulled; calls run exactly that image."""


class Deployed(Struct, frozen=True):
    """The function, and its new version."""

    function: Function
    version: FunctionVersion


class Volume(Struct, frozen=True):
    """A directory of the worker inside the container, if its operator allows that."""

    host: str
    container: str
    read_only: bool = True


class Container(Struct, frozen=True):
    """How to run an image, beyond its name and the command."""

    entrypoint: tuple[str, ...] | None = None
    """Program to run instead of the image's entry point."""
    pull: str = "missing"
    pull_timeout_s: float = 600.0
    credentials: str | None = None
    """Name of the secret with the credentials for the image's registry."""
    network: str | None = None
    volumes: tuple[Volume, ...] = ()
    hosts: dict[str, str] = {}
    """Lines of the hosts file inside: name to address."""
    read_only: bool = True
    """Whether the root file system is read-only; ``/tmp`` is writable then, in memory."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities kept; all others are dropped."""


class SecretRef(Struct, frozen=True):
    """Stands for a stored secret's value in an environment; resolved when an attempt starts."""

    secret: str
    """Name of a secret of the task's workspace."""


class Resources(Struct, frozen=True):
    """Resources an attempt reserves and may not exceed."""

    cpu: float | None = None
    """Cores."""
    memory: int | None = None
    """Bytes."""
    pids: int | None = None
    cores: int | None = None
    """Number of exclusive cores."""


class Kill(Struct, frozen=True):
    """How an attempt is asked to end."""

    signal: str = "SIGTERM"
    grace_s: float = 10.0


class Retry(Struct, frozen=True):
    """How often a task is tried, and the delays in between."""

    max_attempts: int = 1
    backoff_min_s: float = 1.0
    backoff_max_s: float = 3600.0
    factor: float = 2.0
    jitter: float = 0.1


class Webhook(Struct, frozen=True):
    """A URL that receives events of the task."""

    url: str
    events: tuple[str, ...] = ("finished",)
    headers: dict[str, str] = {}


class Task(Struct, frozen=True):
    """A task: its specification and state."""

    id: str
    state: str
    workspace: str = "default"
    created_at: datetime | None = None
    start_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_count: int = 0
    current_attempt: str | None = None
    kill_requested_at: datetime | None = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    """Exit code of the last attempt; set where a single task is requested."""
    ran_s: float | None = None
    """Total running time of its ended attempts in seconds; set where tasks are read."""
    schedule_id: str | None = None
    due_at: datetime | None = None
    retry_of: str | None = None
    runtime: str = "command"
    """``command``, ``container``, ``function``, or ``simulation``, which idles for
    ``duration_s``."""
    command: tuple[str, ...] | str = ()
    """With an image, the arguments of its entry point."""
    image: str | None = None
    container: Container | None = None
    env: dict[str, str | SecretRef] = {}
    cwd: str | None = None
    stdin: str | None = None
    user: str | None = None
    isolate: bool = False
    network: bool = True
    """Whether a command may use its worker's network."""
    duration_s: float | None = None
    function: str | None = None
    """Name of the function that is called."""
    function_version: int | None = None
    size: str | None = None
    """Name of the size that ``resources`` come from."""
    group: str = "default"
    name: str | None = None
    priority: int = 0
    resources: Resources = Resources()
    placement: dict[str, Any] | None = None
    timeout_s: float | None = None
    kill: Kill = Kill()
    retry: Retry = Retry()
    cron: str | None = None
    timezone: str = "UTC"
    catch_up: str = "one"
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    rerun_if_lost: bool = True
    strict: bool = False
    log_limit: int | None = None
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    webhooks: tuple[Webhook, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the task has reached its one terminal state."""
        return self.state in TERMINAL


class Group(Struct, frozen=True):
    """A group: its settings and its tasks by state."""

    name: str
    paused: bool = False
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}


class Job(Struct, frozen=True):
    """A scheduled or recurring job; each run creates a task."""

    id: str
    group: str
    origin: str = ""
    """The dialect it was submitted through."""
    next_at: datetime | None = None
    cron: str | None = None
    """Cron expression in UTC; a sixth field stands for seconds."""
    image: str | None = None
    command: tuple[str, ...] = ()
    execution_count: int = 0
    created_at: datetime | None = None
    modified_at: datetime | None = None


class Me(Struct, frozen=True):
    """The caller."""

    actor: str
    role: str
    workspace: str = ""
    """``*`` for a credential of the installation, which belongs to no workspace."""
    installation: str | None = None
    """Installation role of a credential of the installation."""
    output_bytes: int | None = None
    """Stored output of ended attempts, for a credential of a workspace."""
    output_quota_bytes: int | None = None
    """Limit of the stored output; left out if there is none."""


class Parked(Struct, frozen=True):
    """An entry that background work failed on and set aside."""

    kind: str
    id: str
    reason: str
    since: datetime
    retry_at: datetime


class TagScaling(Struct, frozen=True):
    """Tasks that ask for one tag, and the workers with it that they want."""

    tag: str | None = None
    """None for tasks that ask for none."""
    waiting: int = 0
    running: int = 0
    wanted: int = 0


class Scaling(Struct, frozen=True):
    """What an autoscaler asks for."""

    group: str
    waiting: int = 0
    """Ready tasks; those that wait for their time are not."""
    running: int = 0
    wanted: int = 0
    """Workers, those included that are here; 0 if nothing waits or runs."""
    tags: tuple[TagScaling, ...] = ()


class Secret(Struct, frozen=True):
    """A stored secret; its value is never shown."""

    name: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Submitted(Struct, frozen=True):
    """Outcome of one task of a batch."""

    id: str
    state: str
    created: bool
    """False: the idempotency key was known, and this is the task it stands for."""


class Outcome(Struct, frozen=True):
    """Outcome of a request to cancel a task."""

    task_id: str
    outcome: str


class Counts(Struct, frozen=True):
    """Tasks by state; states without tasks are left out."""

    counts: dict[str, int] = {}


class Survivor(Struct, frozen=True):
    """A process that outlived a kill."""

    pid: int
    command: str = ""


class KillReport(Struct, frozen=True):
    """Proof of a kill."""

    requested_at: datetime
    done_at: datetime
    signal: str | None = None
    forced: bool = False
    method: str = "cgroup"
    killed_count: int = 0
    survivors: tuple[Survivor, ...] = ()


class Usage(Struct, frozen=True):
    """What an attempt consumed."""

    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    memory_peak_bytes: int | None = None


class StreamSize(Struct, frozen=True):
    """Length of one output stream."""

    stored_bytes: int = 0
    dropped_bytes: int = 0


class Confinement(Struct, frozen=True):
    """User, isolation and limits of an attempt."""

    user: str = ""
    """User id on the worker's machine; in a container, the user it asked for."""
    isolation: str = "none"
    """``none``: as the worker itself; ``user``: as another user; ``sandbox``: in namespaces of its
    own; ``container``: isolated by its engine."""
    enforced: tuple[str, ...] = ()
    """Requested limits that are enforced; for commands only."""
    unenforced: tuple[str, ...] = ()
    """Requested limits that cannot be enforced on its machine."""


class Attempt(Struct, frozen=True):
    """One try at a task."""

    id: str
    task_id: str
    number: int
    state: str
    worker_id: str = ""
    cores: tuple[int, ...] = ()
    """Its exclusive processors; empty if it did not ask for whole cores."""
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    message: str | None = None
    kill_report: KillReport | None = None
    usage: Usage | None = None
    stdout: StreamSize = StreamSize()
    stderr: StreamSize = StreamSize()
    progress: float | None = None
    """Progress it reported, from 0 to 1."""
    progress_text: str | None = None
    confinement: Confinement | None = None
    """None before it has started, and if its runtime does not report it."""
    warnings: tuple[str, ...] = ()
    """Warnings for the submitter."""


class Event(Struct, frozen=True):
    """One line of a task's history."""

    number: int
    kind: str
    at: datetime
    attempt_id: str | None = None
    actor: str | None = None
    detail: str | None = None


class CaughtUp(Struct, frozen=True):
    """All there is was delivered, and there will be more: the end of one who does not wait."""

    attempt: int
    """0 if there is none yet."""


class Exit(Struct, frozen=True):
    """How the attempt ended, after its last byte. Encodes as the API's ``exit`` message."""

    attempt: int
    """0 if the task ended without ever having one."""
    state: str | None = None
    """None without an attempt."""
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    message: str | None = None
    task_state: str = ""
    stdout: int = 0
    """Bytes in the whole stream, whether followed or not."""
    stderr: int = 0
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    stdout_missing: int = 0
    """Bytes that were stored and cannot be found any more, such as after damage to the disk."""
    stderr_missing: int = 0


class CallRequest(Struct, frozen=True):
    """The request of a function call; values that look secret are hidden."""

    method: str = ""
    query: str = ""
    headers: dict[str, str] = {}
    """Values of one name are joined by commas."""
    body: str | None = None
    """The body if it is text."""
    body_base64: str | None = None
    """The body if it is not."""


class Try(Struct, frozen=True):
    """One request of a delivery."""

    at: datetime
    status: int | None = None
    error: str | None = None
    duration_ms: int = 0


class Delivery(Struct, frozen=True):
    """The delivery of one event to one webhook."""

    id: str
    task_id: str
    event: str
    url: str
    state: str
    attempt_count: int = 0
    next_at: datetime | None = None
    created_at: datetime | None = None
    delivered_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    tries: tuple[Try, ...] = ()
    """Empty in pages."""


class Why(Struct, frozen=True):
    """Why a task is waiting, or how it ended."""

    task_id: str
    state: str
    summary: str
    code: str = ""
    detail: dict[str, Any] = {}
    ahead: int | None = None
    story: tuple[str, ...] = ()


class Token(Struct, frozen=True):
    """A token, without its secret."""

    id: str
    name: str
    role: str
    workspace: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    token: str | None = None


class User(Struct, frozen=True):
    """A user who signs in with name and password."""

    name: str
    role: str
    workspace: str = ""
    created_at: datetime | None = None


class ServerVersion(Struct, frozen=True):
    """Version of the server."""

    version: str
    api: str = "v1"
    dev: bool = False
    """True when the server runs with well-known credentials."""


class SigningKey(Struct, frozen=True):
    """The key that signs webhook requests of this workspace."""

    key: str


class WorkerToken(Struct, frozen=True):
    """The credential of a worker on another machine, without its secret."""

    name: str
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_seen_at: datetime | None = None
    join: str | None = None


class Capacity(Struct, frozen=True):
    """Capacity of a worker, or how much of it is in use."""

    slots: int = 0
    cpu: float = 0.0
    """Cores."""
    memory_bytes: int = 0


class UnavailableRuntime(Struct, frozen=True):
    """A runtime of a worker that is unavailable now."""

    reason: str = ""
    circuit: str = "closed"
    """Circuit breaker of its engine: ``closed``, ``open`` or ``half-open``."""
    retry_at: datetime | None = None
    """When it is checked again."""


class Worker(Struct, frozen=True):
    """A worker, with capacity and usage."""

    id: str
    state: str
    hostname: str = ""
    version: str = ""
    capacity: Capacity = Capacity()
    used: Capacity = Capacity()
    runtimes: tuple[str, ...] = ()
    """Runtimes that are available now."""
    unavailable: dict[str, UnavailableRuntime] = {}
    joined_at: datetime | None = None
    beat_at: datetime | None = None


class Workspace(Struct, frozen=True):
    """The caller's workspace."""

    name: str
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}
