"""Wrapping a command in bubblewrap."""

import os
from typing import Final

from taskyard.runtimes.command.environment import DEFAULT_PATH

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt")


class SandboxMissing(Exception):
    """There is no bubblewrap on this machine."""


def sandboxed(argv: list[str], cwd: str, work: str) -> list[str]:
    """The command line that runs ``argv`` in name spaces of its own.

    System directories are read-only, ``/tmp`` is private, and of everything else only the two
    directories given are there, writable. The network is the machine's. Raises
    :class:`SandboxMissing`.

    Not used: ``--die-with-parent``, because a command has to outlive the process that started
    it; ``--new-session``, because it is in a session of its own already.
    """
    bwrap = _which("bwrap")
    if bwrap is None:
        raise SandboxMissing(
            "isolation needs bubblewrap, which is not on this machine; install the package"
            " bubblewrap, or submit the task without isolate"
        )
    wrapped = [bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    for directory in _SYSTEM:
        wrapped += ["--ro-bind-try", directory, directory]
    wrapped += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind", work, work]  # noqa: S108 - the sandbox's own
    if cwd != work and not _is_system(cwd):
        wrapped += ["--bind", cwd, cwd]
    return [*wrapped, "--chdir", cwd, "--", *argv]


def _which(program: str) -> str | None:
    for place in DEFAULT_PATH.split(":"):
        if os.access(f"{place}/{program}", os.X_OK):
            return f"{place}/{program}"
    return None


def _is_system(path: str) -> bool:
    real = os.path.realpath(path)
    return real == "/" or any(real == system or real.startswith(system + "/") for system in _SYSTEM)
