"""The runtime port: how a worker executes one kind of work."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.attempts import Ended, Progress, Started
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.tasks import Work


class Assignment(Struct, frozen=True):
    """Everything a worker needs to run one attempt. Secrets are resolved: never log or store it."""

    attempt_id: AttemptId
    task_id: TaskId
    workspace: WorkspaceName
    group: str
    number: int
    lease_token: LeaseToken
    assigned_at: Instant
    work: Work
    """Its environment holds plain text only."""
    resources: Resources
    """What the attempt holds, with the cores it got."""
    timeout_s: float | None
    kill_signal: str
    kill_grace_s: float
    log_limit_bytes: int
    identity: Identity = SERVER
    """As whom it runs, unless the work itself names a user."""
    strict: bool = False
    """Whether it must not start where one of its limits cannot be enforced."""
    sandbox: Sandbox | None = None
    """What a command runs in even if it does not ask for isolation."""
    registry_credentials: str | None = None
    """What the secret says that a container's ``credentials`` names; JSON."""

    @property
    def cpuset(self) -> tuple[int, ...]:
        """Processors it is pinned to, in order; none if it is not."""
        allotted = self.resources.allotted
        return () if allotted is None else allotted.cpus

    @property
    def memory_nodes(self) -> tuple[int, ...]:
        """NUMA nodes that its memory must come from; none: any."""
        allotted = self.resources.allotted
        return () if allotted is None else allotted.memory_nodes


class KillOrder(Struct, frozen=True):
    """A request to end one attempt."""

    attempt_id: AttemptId
    lease_token: LeaseToken
    signal: str
    """First signal, such as ``SIGTERM``; ``SIGKILL`` skips the grace."""
    grace_s: float


class Listener(Protocol):
    """Where a runtime reports to. Both calls return quickly; the worker sees to delivery."""

    def started(self, event: Started) -> None:
        """The work is running."""
        ...

    def ended(self, event: Ended) -> None:
        """The work is over and its whole tree is gone (or listed as survivors)."""
        ...


@runtime_checkable
class ProgressListener(Protocol):
    """A listener that also wants to know how far the work is."""

    def progress(self, event: Progress) -> None:
        """The work says how far it is; a few times a second at most."""
        ...


class Runtime(Protocol):
    """Executes attempts of one kind of work on this machine.

    Output goes straight into ``directory/stdout`` and ``directory/stderr``, written by the work
    itself and not through this process. After :meth:`start` or :meth:`adopt` the runtime reports
    to the listener: at most one ``started`` and exactly one ``ended`` for each attempt.
    """

    uses_directory: bool
    """Whether attempts need their directory. Without, the runtime makes one when it has to, and
    says so by an end whose ``output_complete`` is False."""

    async def open(self, listener: Listener) -> None:
        """Make ready. Raises ``RuntimeUnavailable`` if attempts cannot be run here at all."""
        ...

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """Begin an attempt. ``directory`` exists and is private to it.

        Anything that goes wrong with this attempt is reported as ``ended``, never raised.
        """
        ...

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """Take over an attempt that an earlier incarnation began, running or already over.

        ``handle`` is what ``started`` reported then, empty if the start was never reported: then
        the runtime finds out by itself whether the work ever began. An attempt that never began is
        begun now. If it is over but nobody knows how, ``ended`` says lost with ``exit_unknown``.
        The environment of ``assignment`` may lack resolved secrets.
        """
        ...

    async def kill(self, order: KillOrder) -> None:
        """Signal, grace, then the whole tree; the result is the attempt's ``ended`` report.

        Returns when the kill is under way. A second order with less grace shortens the first. An
        unknown or ended attempt is ignored.
        """
        ...

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """The engine has stored how these attempts ended: forget them, free what they held."""
        ...

    async def close(self) -> None:
        """Let go of everything without ending any work, which can be adopted later."""
        ...
