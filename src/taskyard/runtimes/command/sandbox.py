"""Wrapping a command in bubblewrap."""

import os
import subprocess
from typing import Final

from taskyard.runtimes.command.environment import DEFAULT_PATH

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt")


class SandboxMissing(Exception):
    """There is no bubblewrap on this machine."""


class DirectoryRefused(Exception):
    """The working directory would show the server's data."""


def sandboxed(argv: list[str], cwd: str, work: str, data: str) -> list[str]:
    """The command line that runs ``argv`` in name spaces of its own, without any capability.

    System directories are read-only, ``/tmp`` is private, and of everything else only the two
    directories given are there, writable. The network is the machine's. No further user name
    space can be made inside, where bubblewrap can see to that.

    Raises:
        SandboxMissing: there is no bubblewrap.
        DirectoryRefused: ``cwd`` is the data directory ``data``, above it, or inside it.

    Not used: ``--die-with-parent``, because a command has to outlive the process that started
    it; ``--new-session``, because it is in a session of its own already.
    """
    bwrap = _which("bwrap")
    if bwrap is None:
        raise SandboxMissing(
            "isolation needs bubblewrap, which is not on this machine; install the package"
            " bubblewrap, or submit the task without isolate"
        )
    if cwd != work and _overlap(cwd, data):
        raise DirectoryRefused(
            f"working directory {cwd} would show the server's data directory to an isolated"
            " command; choose one outside it"
        )
    wrapped = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    wrapped += ["--unshare-cgroup-try", "--cap-drop", "ALL", *_without_more_namespaces(bwrap)]
    for directory in _SYSTEM:
        wrapped += ["--ro-bind-try", directory, directory]
    wrapped += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind", work, work]  # noqa: S108 - the sandbox's own
    if cwd != work and not _is_system(cwd):
        wrapped += ["--bind", cwd, cwd]
    return [*wrapped, "--chdir", cwd, "--", *argv]


_known: dict[str, list[str]] = {}


def _without_more_namespaces(bwrap: str) -> list[str]:
    """The option for it, which bubblewrap has from 0.8 on; looked up once."""
    if bwrap not in _known:
        helped = subprocess.run([bwrap, "--help"], capture_output=True, check=False, timeout=10)  # noqa: S603 - found in our own PATH
        has_it = b"--disable-userns" in helped.stdout + helped.stderr
        _known[bwrap] = ["--disable-userns"] if has_it else []
    return _known[bwrap]


def _overlap(one: str, other: str) -> bool:
    """Whether one of two directories is the other, or inside it."""
    first, second = (os.path.realpath(path).rstrip("/") + "/" for path in (one, other))
    return first.startswith(second) or second.startswith(first)


def _which(program: str) -> str | None:
    for place in DEFAULT_PATH.split(":"):
        if os.access(f"{place}/{program}", os.X_OK):
            return f"{place}/{program}"
    return None


def _is_system(path: str) -> bool:
    real = os.path.realpath(path)
    return real == "/" or any(real == system or real.startswith(system + "/") for system in _SYSTEM)
