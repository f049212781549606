"""What the server answers with, as typed, frozen records.

Members the records do not know are ignored, and members a server leaves out have defaults, so that
client and server can be of different versions. Instants are aware UTC ``datetime`` objects,
durations seconds, sizes bytes.
"""

from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
"""The task states that never change again."""


class Page(Struct, Generic[T], frozen=True):
    """One page of a listing."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Give it as ``cursor`` to get the next page; None at the end."""


class SecretRef(Struct, frozen=True):
    """Stands for a stored secret's value in a task's environment."""

    secret: str


class Resources(Struct, frozen=True):
    """What a task may use; None is neither reserved nor limited."""

    cpu: float | None = None
    """Cores."""
    memory: int | str | None = None
    """Bytes, or text with a unit as it was submitted."""
    pids: int | None = None
    cores: int | None = None
    """Whole cores to itself."""


class Kill(Struct, frozen=True):
    """How an attempt is asked to end."""

    signal: str = "SIGTERM"
    grace_s: float = 10.0


class Retry(Struct, frozen=True):
    """How often a task is tried, and how long it waits in between."""

    max_attempts: int = 1
    backoff_min_s: float = 1.0
    backoff_max_s: float = 3600.0
    factor: float = 2.0
    jitter: float = 0.1


class Webhook(Struct, frozen=True):
    """Where a task reports moments of its life."""

    url: str
    events: tuple[str, ...] = ("finished",)
    headers: dict[str, str] = {}


class Volume(Struct, frozen=True):
    """A directory of the worker inside a container."""

    host: str
    container: str
    read_only: bool = True


class Container(Struct, frozen=True):
    """How an image is run."""

    entrypoint: tuple[str, ...] | None = None
    pull: str = "missing"
    pull_timeout_s: float = 600.0
    credentials: str | None = None
    """Name of the secret with the credentials for its registry."""
    network: str | None = None
    volumes: tuple[Volume, ...] = ()
    hosts: dict[str, str] = {}
    read_only: bool = True
    capabilities: tuple[str, ...] = ()


class Job(Struct, frozen=True):
    """A job of a dialect that has them; it starts by itself later, and each start makes a task."""

    id: str
    group: str
    origin: str = ""
    next_at: datetime | None = None
    """None once it is cancelled."""
    cron: str | None = None
    """In UTC, with five fields or with six, seconds last."""
    image: str | None = None
    command: tuple[str, ...] = ()
    execution_count: int = 0
    created_at: datetime | None = None
    modified_at: datetime | None = None


class Task(Struct, frozen=True):
    """A task: what was asked for, and how far it has come."""

    id: str
    state: str
    command: tuple[str, ...] | str = ()
    """Program and arguments, or a shell command line. Empty for runtimes without a command."""
    runtime: str = "command"
    size: str | None = None
    """Name of the bundle of cores and memory that ``resources`` come from."""
    image: str | None = None
    """Image that runs as a container; ``command`` are the arguments of its entry point."""
    container: Container | None = None
    workspace: str = "default"
    env: dict[str, str | SecretRef] = {}
    cwd: str | None = None
    stdin: str | None = None
    user: str | None = None
    isolate: bool = False
    network: bool = True
    group: str = "default"
    name: str | None = None
    priority: int = 0
    resources: Resources = Resources()
    timeout_s: float | None = None
    kill: Kill = Kill()
    retry: Retry = Retry()
    start_at: datetime | None = None
    cron: str | None = None
    timezone: str | None = None
    catch_up: str | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    rerun_if_lost: bool = True
    strict: bool = False
    """Fails rather than runs where a limit of ``resources`` cannot be enforced."""
    log_limit: int | str | None = None
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    webhooks: tuple[Webhook, ...] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_count: int = 0
    current_attempt: str | None = None
    kill_requested_at: datetime | None = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    """Of the last attempt; only filled in when one task is asked for."""
    ran_s: float | None = None
    """Seconds for which its ended attempts ran, added up, without the time in which it waited."""
    schedule_id: str | None = None
    due_at: datetime | None = None
    retry_of: str | None = None
    function: str | None = None
    """Name of the function that is called, if it is a call."""
    function_version: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the task has reached its one terminal state."""
        return self.state in TERMINAL


class Submitted(Struct, frozen=True):
    """Outcome of one submit of a batch."""

    id: str
    state: str
    created: bool = True
    """False: the idempotency key was known, and this is the task it stands for."""


class Outcome(Struct, frozen=True):
    """What a request to cancel led to: ``cancelled``, ``killing``, ``ended`` or ``unknown``."""

    task_id: str
    outcome: str


class Survivor(Struct, frozen=True):
    """A process that outlived a kill. There should never be one."""

    pid: int
    command: str = ""


class KillReport(Struct, frozen=True):
    """Proof of a kill."""

    requested_at: datetime
    done_at: datetime
    signal: str | None = None
    forced: bool = False
    """Whether anything had to be killed outright after the grace."""
    method: str = "cgroup"
    killed_count: int = 0
    survivors: tuple[Survivor, ...] = ()


class Usage(Struct, frozen=True):
    """What an attempt consumed, as far as the machine accounts for it."""

    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    memory_peak_bytes: int | None = None


class StreamSize(Struct, frozen=True):
    """Length of one output stream."""

    stored_bytes: int = 0
    dropped_bytes: int = 0


class Confinement(Struct, frozen=True):
    """As whom, how isolated and how limited an attempt runs."""

    user: str = ""
    """Number of its user on the worker's machine; in a container, the user it asked for."""
    isolation: str = "none"
    """``none``: as the worker itself; ``user``: as another user; ``sandbox``: in name spaces of its
    own; ``container``: as its engine sees to."""
    enforced: tuple[str, ...] = ()
    """Limits it asked for that are enforced."""
    unenforced: tuple[str, ...] = ()
    """Limits it asked for that cannot be enforced on its machine."""


class Attempt(Struct, frozen=True):
    """One try at a task."""

    id: str
    task_id: str
    number: int
    state: str
    worker_id: str | None = None
    cores: tuple[int, ...] = ()
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
    confinement: Confinement | None = None
    warnings: tuple[str, ...] = ()
    """What whoever submitted it should know."""


class Event(Struct, frozen=True):
    """One line of a task's history."""

    number: int
    kind: str
    at: datetime
    attempt_id: str | None = None
    actor: str | None = None
    detail: str | None = None


class Why(Struct, frozen=True):
    """Why a task is where it is."""

    task_id: str
    state: str
    summary: str
    code: str = ""
    detail: dict[str, Any] = {}
    ahead: int | None = None
    story: tuple[str, ...] = ()


class Group(Struct, frozen=True):
    """A group, its settings and its task counts by state."""

    name: str
    paused: bool = False
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}


class Workspace(Struct, frozen=True):
    """The credential's workspace, its limit and its task counts by state."""

    name: str
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}


class Room(Struct, frozen=True):
    """Room on a worker: what it has, or what is used of it."""

    slots: int = 0
    cpu: float = 0.0
    memory_bytes: int = 0


class Unavailable(Struct, frozen=True):
    """A runtime that a worker has, but that cannot be used now."""

    reason: str = ""
    circuit: str = "closed"
    retry_at: datetime | None = None


class Worker(Struct, frozen=True):
    """A worker as the engine knows it."""

    id: str
    state: str
    hostname: str = ""
    version: str = ""
    capacity: Room = Room()
    used: Room = Room()
    runtimes: tuple[str, ...] = ()
    unavailable: dict[str, Unavailable] = {}
    joined_at: datetime | None = None
    beat_at: datetime | None = None


class Parked(Struct, frozen=True):
    """An entry that the server could not deal with, and put aside."""

    kind: str
    id: str
    reason: str
    since: datetime
    retry_at: datetime


class Try(Struct, frozen=True):
    """One request made for a delivery."""

    at: datetime
    status: int | None = None
    error: str | None = None
    duration_ms: float | None = None


class Delivery(Struct, frozen=True):
    """One webhook report, ``pending``, ``delivered`` or ``failed``."""

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


class Token(Struct, frozen=True):
    """A stored token. ``token`` is its secret: shown once, when it is created."""

    id: str
    name: str
    role: str
    workspace: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    token: str | None = None


class User(Struct, frozen=True):
    """Somebody who signs in with name and password."""

    name: str
    role: str
    workspace: str | None = None
    created_at: datetime | None = None


class AuditEntry(Struct, frozen=True):
    """One successful write, or one refused attempt at it."""

    number: int
    at: datetime
    actor: str
    action: str
    workspace: str | None = None
    target: str | None = None
    outcome: str = "done"
    address: str | None = None
    detail: str | None = None
    count: int = 1
    """How often; refused attempts of one kind are gathered for a minute."""


class Me(Struct, frozen=True):
    """Who the credential says we are."""

    actor: str
    workspace: str
    """``*`` for a credential of the installation, which belongs to no workspace."""
    role: str
    installation: str | None = None
    """The role in the installation, of a credential that belongs to it."""
    output_bytes: int | None = None
    """Output of ended attempts that the workspace keeps."""
    output_quota_bytes: int | None = None
    """What it may keep; None where there is no limit."""


class Version(Struct, frozen=True):
    """The server's version, and that of its API."""

    version: str
    api: str = "v1"


class Output(Struct, frozen=True):
    """A run of bytes of one output stream."""

    attempt: int
    stream: str
    """``stdout`` or ``stderr``."""
    offset: int
    data: bytes

    @property
    def next_offset(self) -> int:
        """Where the stream goes on."""
        return self.offset + len(self.data)


class Exit(Struct, frozen=True):
    """An attempt is over, and all its output has been seen."""

    attempt: int
    """0 when the task ended without one."""
    state: str | None = None
    """How the attempt ended; None when there was none."""
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    message: str | None = None
    task_state: str = ""
    stdout: int = 0
    """Size of the stream."""
    stderr: int = 0
    stdout_dropped: int = 0
    stderr_dropped: int = 0


class Change(Struct, frozen=True):
    """One committed step in the life of a task."""

    kind: str
    at: datetime
    task_id: str
    group: str
    state: str
    was: str | None = None
    attempt_id: str | None = None
    attempt_number: int | None = None
    reason: str | None = None


class Gap(Struct, frozen=True):
    """Changes were missed here; look at the tasks anew."""

    missed: int | None = None
    """How many; None when the connection was lost and nobody counted."""
