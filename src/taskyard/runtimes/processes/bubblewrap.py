"""Wrapping a command in bubblewrap."""

import os
import subprocess
import tempfile
from typing import Final

from taskyard.runtimes.processes.environment import DEFAULT_PATH

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt")


class SandboxMissing(Exception):
    """There is no bubblewrap on this machine."""


class DirectoryRefused(Exception):
    """The working directory would show the server's data."""


def sandboxed(
    argv: list[str],
    cwd: str,
    work: str,
    data: str,
    directories: list[str] | None = None,
    *,
    network: bool = True,
) -> list[str]:
    """The command line that runs ``argv`` in name spaces of its own, without any capability.

    System directories are read-only, ``/tmp`` is private, and of everything else only the
    directories given are there, writable. No further user name space can be made inside, where
    bubblewrap can see to that.

    Args:
        argv: the program, which has to be a path, and its arguments.
        cwd: the working directory.
        work: the attempt's own directory.
        data: the server's data directory.
        directories: what the operator allows besides; then ``cwd`` has to be inside one of them.
            None leaves the choice of ``cwd`` to whoever submits.
        network: whether the machine's is there; otherwise there is none but loopback.

    Raises:
        SandboxMissing: there is no bubblewrap.
        DirectoryRefused: ``cwd`` is the data directory ``data``, above it, or inside it; or it is
            not allowed; or the program is where nothing is shown.

    Not used: ``--die-with-parent``, because a command has to outlive the process that started
    it; ``--new-session``, because it is in a session of its own already.
    """
    wrapped = walls(data)
    shown = [] if cwd == work else _shown(cwd, data, directories)
    for path in (argv[0], os.path.realpath(argv[0])):
        if not any(_is_in(path, one) for one in (work, *shown, *_SYSTEM)):
            raise DirectoryRefused(
                f"program {argv[0]} is not among what a sandboxed command sees: system directories"
                " and its working directory; copy it there, or have the operator install it or"
                " allow its directory (work_directories)"
            )
    if not network:
        wrapped.append("--unshare-net")
    wrapped += ["--bind", work, work]
    for directory in shown:
        wrapped += ["--bind-try", directory, directory]
    return [*wrapped, "--chdir", cwd, "--", *argv]


def walls(data: str) -> list[str]:
    """Bubblewrap with what all sandboxes have in common: name spaces but that of the network, and
    system directories; nothing of the data directory ``data``.

    Raises :class:`SandboxMissing`.
    """
    bwrap = _which("bwrap")
    if bwrap is None:
        raise SandboxMissing(
            "isolation needs bubblewrap, which is not on this machine; install the package"
            " bubblewrap, or submit the task without isolate"
        )
    wrapped = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    wrapped += ["--unshare-cgroup-try", "--cap-drop", "ALL", *_without_more_namespaces(bwrap)]
    for directory in _SYSTEM:
        wrapped += ["--ro-bind-try", directory, directory]
    if is_system(data):
        wrapped += ["--tmpfs", os.path.realpath(data)]
    return [*wrapped, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own


def _shown(cwd: str, data: str, directories: list[str] | None) -> list[str]:
    """What is bound besides the attempt's own directory. Raises :class:`DirectoryRefused`."""
    if directories is None:
        if _overlap(cwd, data):
            raise DirectoryRefused(
                f"working directory {cwd} would show the server's data directory to an isolated"
                " command; choose one outside it"
            )
        return [] if is_system(cwd) else [cwd]
    # What is bound is what the operator named: a link that a task puts in place of a directory
    # below it leads nowhere inside.
    if not is_system(cwd) and not any(_is_in(os.path.realpath(cwd), one) for one in directories):
        raise DirectoryRefused(
            f"working directory {cwd} is not among those that sandboxed commands may work in;"
            " leave it out, or have the operator allow it (work_directories)"
        )
    return directories


def obstacle_to_sandbox() -> str | None:
    """Why commands cannot be sandboxed by this process; None if they can. Blocks for a moment."""
    with tempfile.TemporaryDirectory(prefix="taskyard-") as work:
        try:
            true = _which("true") or "/bin/true"
            command = sandboxed([true], work, work, "/nonexistent")
            done = subprocess.run(command, capture_output=True, check=False, timeout=10)  # noqa: S603 - ours
        except SandboxMissing:
            return "bubblewrap is not installed"
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap does not run: {error}"
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"bubblewrap ends with {done.returncode}"


_known: dict[str, list[str]] = {}


def _without_more_namespaces(bwrap: str) -> list[str]:
    """The option for it, which bubblewrap has from 0.8 on; looked up once."""
    if bwrap not in _known:
        helped = subprocess.run([bwrap, "--help"], capture_output=True, check=False, timeout=10)  # noqa: S603 - found in our own PATH
        has_it = b"--disable-userns" in helped.stdout + helped.stderr
        _known[bwrap] = ["--disable-userns"] if has_it else []
    return _known[bwrap]


def _is_in(path: str, directory: str) -> bool:
    """Whether a path is a directory, or inside it."""
    return (path.rstrip("/") + "/").startswith(os.path.realpath(directory).rstrip("/") + "/") or (
        path.rstrip("/") + "/"
    ).startswith(directory.rstrip("/") + "/")


def _overlap(one: str, other: str) -> bool:
    """Whether one of two directories is the other, or inside it."""
    first, second = (os.path.realpath(path).rstrip("/") + "/" for path in (one, other))
    return first.startswith(second) or second.startswith(first)


def _which(program: str) -> str | None:
    for place in DEFAULT_PATH.split(":"):
        if os.access(f"{place}/{program}", os.X_OK):
            return f"{place}/{program}"
    return None


def is_system(path: str) -> bool:
    """Whether a directory is among those of the system, which every sandbox shows."""
    real = os.path.realpath(path)
    return real == "/" or any(real == system or real.startswith(system + "/") for system in _SYSTEM)
