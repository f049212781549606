"""Spawning the main process of an attempt, and saying in clear words why it cannot be done."""

import errno
import os
import signal
import subprocess
from typing import Final

from taskyard.runtimes.command import spawnlib
from taskyard.runtimes.processes import descriptors
from taskyard.runtimes.processes.bubblewrap import DirectoryRefused, SandboxMissing, sandboxed
from taskyard.runtimes.processes.identity import Identity, SpawnFailed, chosen_identity
from taskyard.runtimes.processes.proc import Json

_MACHINE_TROUBLE: Final = {
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
}


_DEFAULT_SIGNALS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""What the interpreter ignores, and commands must not."""


_library: Final = spawnlib.library()


def spawn(request: Json, null: int, outputs: tuple[int, int]) -> int:
    """Start the command of a request; answers with its pid.

    ``null`` is an open ``/dev/null``, ``outputs`` become standard output and error. The caller has
    made sure that this process is where the child shall be born, and waits for the child. Raises
    :class:`SpawnFailed`.
    """
    directory: str = request["directory"]
    identity = chosen_identity(request["user"], request["identity"])
    try:
        work: str = request["work"]
        _make_work(work, identity)
        cwd: str = request["cwd"] or work
        if request["cwd"]:
            _check_directory(cwd)
        argv: list[str] = request["argv"]
        program = _find(argv[0], request["env"].get("PATH", ""), cwd)
        if request["isolate"]:
            data = os.path.dirname(os.path.dirname(directory))  # noqa: PTH120 - no pathlib here
            allowed = request.get("directories")
            # A request of a server before this one says nothing of networks.
            network = request.get("network", True)
            argv = sandboxed([program, *argv[1:]], cwd, work, data, allowed, network=network)
            program = argv[0]
    except (SandboxMissing, DirectoryRefused) as error:
        raise SpawnFailed(str(error)) from error
    except OSError as error:
        raise _trouble(error) from error
    stdin = null
    try:
        if request["stdin"]:
            stdin = os.open(f"{directory}/stdin", os.O_RDONLY | os.O_CLOEXEC)
        streams = (stdin, *outputs)
        return _start(
            program, argv, cwd, request["env"], streams, identity, own_directory=cwd == work
        )
    except OSError as error:
        raise _explained(error, program, cwd, request["user"]) from error
    except ValueError as error:
        raise SpawnFailed(f"the command cannot be passed to the system: {error}") from error
    finally:
        if stdin != null:
            os.close(stdin)


def _start(
    program: str,
    argv: list[str],
    cwd: str,
    env: dict[str, str],
    streams: tuple[int, int, int],
    identity: Identity | None,
    *,
    own_directory: bool,
) -> int:
    if identity is None:
        return _spawn_in(cwd, program, argv, env, streams)
    if _library is not None:
        with descriptors.usual_limit():
            return _library.spawn(
                program, argv, env, cwd, streams, *identity, own_directory=own_directory
            )
    # Without the library a change of user takes a full fork, which costs three times as much.
    process = subprocess.Popen(  # noqa: S603 - running what was asked for is the purpose
        argv,
        executable=program,
        cwd=cwd,
        env=env,
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        close_fds=True,
        start_new_session=True,
        user=identity.uid,
        group=identity.gid,
        extra_groups=[],
        preexec_fn=_as_usual,  # noqa: PLW1509 - there are no threads
    )
    # The supervisor waits for all its children at once; this object must not try to, or log_error.
    process.returncode = 0
    return process.pid


def _as_usual() -> None:
    descriptors.lower_limit()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _spawn_in(
    cwd: str, program: str, argv: list[str], env: dict[str, str], streams: tuple[int, int, int]
) -> int:
    # posix_spawn cannot change directory, so this process goes there and back. Nothing else is
    # inherited: every descriptor of this process closes on exec.
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise SpawnFailed(
                f"working directory {cwd} cannot be entered: {error.strerror}"
            ) from error
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
        with descriptors.usual_limit():
            return os.posix_spawn(
                program,
                argv,
                env,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
    finally:
        os.fchdir(here)
        os.close(here)


def _make_work(path: str, identity: Identity | None) -> None:
    # It may be there from an attempt before, which left it as it was, in a recycled directory.
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        os.mkdir(path, 0o700)  # noqa: PTH102 - no pathlib in the supervisor
    else:
        if identity is None or (facts.st_uid, facts.st_gid) == identity:
            return
    if identity is not None:
        os.chown(path, identity.uid, identity.gid)


def _check_directory(path: str) -> None:
    if not os.path.isdir(path):  # noqa: PTH112 - no pathlib in the supervisor
        problem = "is not a directory" if os.path.lexists(path) else "does not exist"
        raise SpawnFailed(f"working directory {path} {problem}")


def _find(program: str, search_path: str, cwd: str) -> str:
    """The file that ``program`` stands for, looked up as a shell does."""
    if "/" in program:
        candidates = [os.path.join(cwd, program)]  # noqa: PTH118 - no pathlib in the supervisor
    else:
        candidates = [f"{place or cwd}/{program}" for place in search_path.split(":")]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):  # noqa: PTH112 - no pathlib in the supervisor
            return candidate
    refused = next(filter(os.path.lexists, candidates), None)
    if refused is None:
        where = "" if "/" in program else f" in PATH ({search_path})"
        raise SpawnFailed(f"no such program: {program or repr(program)}{where}")
    if os.path.isdir(refused):  # noqa: PTH112 - no pathlib in the supervisor
        raise SpawnFailed(f"program {refused} is a directory")
    if os.path.exists(refused):  # noqa: PTH110 - no pathlib in the supervisor
        raise SpawnFailed(f"program {refused} is not executable")
    raise SpawnFailed(f"program {refused} is a broken link")


def _explained(error: OSError, program: str, cwd: str, user: str | None) -> SpawnFailed:
    as_user = f" as user {user}" if user else ""
    if error.filename is not None and str(error.filename) == cwd:
        return SpawnFailed(f"working directory {cwd} cannot be entered: {error.strerror}")
    match error.errno:
        case errno.E2BIG:
            text = "arguments and environment together are too long for this system"
        case errno.ENOENT:
            text = f"the interpreter that {program} asks for does not exist"
        case errno.ENOEXEC:
            text = f"program {program} has no format this system can execute"
        case errno.EACCES | errno.EPERM:
            text = f"no permission to execute {program}{as_user}"
        case number if number in _MACHINE_TROUBLE:
            return _trouble(error)
        case _:
            text = f"program {program} cannot be executed{as_user}: {error.strerror}"
    return SpawnFailed(text)


def _trouble(error: OSError) -> SpawnFailed:
    what = f" ({error.filename})" if error.filename else ""
    return SpawnFailed(f"the machine cannot start it: {error.strerror}{what}", trouble=True)
