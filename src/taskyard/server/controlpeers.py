"""Who is at the other end of the control socket."""

from pathlib import Path
from typing import Final

from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.cgroups import OWN_LEAF
from taskyard.runtimes.processes.peers import Peer, has_ended

_MARK: Final = b"TASKYARD_ATTEMPT_ID="
_FUNCTION: Final = b"TASKYARD_FUNCTION="
_CGROUP: Final = "/taskyard-"
"""How the names of the cgroups begin in which commands, functions and builds are held."""
_SUPERVISOR: Final = f"/{OWN_LEAF}"
_COMMANDS: Final = {
    b"taskyard.runtimes.command.supervisor",
    b"taskyard.runtimes.command.shepherd",  # kept: one of an earlier release outlives an upgrade
}
_NURSERY: Final = b"taskyard.runtimes.function.child.fork_server"
_BUILD: Final = b"taskyard.runtimes.function.child.supervisor"
"""What command lines of the parents of tasks and builds contain; see where they are started."""


def is_task(peer: Peer, handle: int | None = None) -> bool:
    """Whether a process is part of a task: by its ancestors, its cgroups or its environment.

    Supervisors adopt the orphans of their tasks, so that whatever a task starts has its supervisor
    above it, in whatever session, cgroup and environment it is. One that cannot be looked at
    counts as a task's.

    Args:
        peer: who connected.
        handle: a descriptor of that very process, see ``handle_of``; without one, another process
            may have got its pid since.
    """
    process = Path(f"/proc/{peer.pid}")
    above = proc.ancestry(peer.pid)
    if above is None:
        return True
    try:
        cgroups = (process / "cgroup").read_text("utf-8", "replace").splitlines()
        variables = (process / "environ").read_bytes().split(b"\0")
        is_supervised = any(_supervises(one.pid) for one in above)
    except OSError:
        return True
    if handle is not None and has_ended(handle):
        # What was read may be about another one with the same pid.
        return True
    if is_supervised or any(_CGROUP in path and not path.endswith(_SUPERVISOR) for path in cgroups):
        return True
    return any(one.startswith((_MARK, _FUNCTION)) for one in variables)


def _supervises(pid: int) -> bool:
    """Whether a process is the parent of tasks. Raises ``OSError`` if it is gone."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return any(one in _COMMANDS or _NURSERY in one or _BUILD in one for one in arguments)
