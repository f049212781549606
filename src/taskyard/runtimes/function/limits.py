"""Whose calls share processes, and how many there may be."""

from msgspec import Struct

from taskyard.core.access.work_identity import SERVER, Identity
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName


class PoolKey(Struct, frozen=True):
    """Whose calls may share processes."""

    workspace: WorkspaceName
    function_id: FunctionId
    version: int
    cpu_millis: int | None
    memory_bytes: int | None
    identity: Identity = SERVER
    """As whom they run."""
    sandboxed: bool = False
    """Whether they run in a sandbox of the pool's own."""


class PoolLimits(Struct, frozen=True):
    """How many processes there may be, and for how long."""

    processes: int = 32
    """Instances of one version."""
    calls: int = 10_000
    """Calls an instance answers before it is replaced."""
    idle_s: float = 60.0
    """Seconds an instance waits for a call before it goes; its zygote waits five times as long."""
    warmup_s: float = 30.0
    """Seconds a process gets until it can take calls."""
    memory_bytes: int | None = 512 << 20
    """Limit of a process whose function has none of its own."""
    result_bytes: int = 10 << 20
    """Largest body of an answer."""
    pids: int = 512
    """Processes and threads alive in one instance's tree."""
