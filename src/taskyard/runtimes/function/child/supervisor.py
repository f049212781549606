"""Runs one step of a build, and leaves nothing of it behind.

A pipe that the server holds is the standard input: when it ends, because the step is given up or
because the server is dead, the step is to end: its processes are asked to, get a second of grace,
and are killed. The step itself is a child in a session and cgroups
of its own; standard output and environment are passed on to it. When it ends, or is to, whatever
it has started is killed, and the cgroups are removed: only then does this process end, with the
exit code of the step, or 255 for one that died of a signal.

The only argument is ``{"command", "cwd", "cgroup", "above", "identity", "closed"}`` as JSON;
``cgroup`` lists files into which a process writes 0 to belong to the step's cgroups, the version 2
one first; ``above`` the cgroups that hold those of all steps; ``identity`` is the user and group to
become, or null; ``closed`` lists directories that this user needs and cannot get to.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any, Final, NoReturn

from taskyard.runtimes.function.child import confining
from taskyard.runtimes.function.child.descendants import descendants, end_all, remove_cgroups
from taskyard.runtimes.function.child.reaching import open_up
from taskyard.runtimes.processes.terminating import ask_to_end, readers

_LAST_S: Final = 5.0
_GRACE_S: Final = 1.0
"""How long a step gets to end by itself when it is given up."""
_PAUSE_S: Final = 0.01
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> NoReturn:
    """Run the step; never returns."""
    spec = json.loads(sys.argv[1])
    for ignored in _IGNORED:
        # Whoever stops the server from a terminal means the server; its pipe ends in time.
        signal.signal(ignored, signal.SIG_IGN)
    # The server has some blocked, which it reads in another way.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    confining.become_subreaper()
    cgroups = [os.path.dirname(path) for path in spec["cgroup"]]
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(spec, parent)
    status = _watch(pid)
    if status is None:
        is_sandboxed = os.path.basename(spec["command"][0]) == "bwrap"
        _ask_to_end(pid, cgroups[0] if cgroups else None, is_sandboxed=is_sandboxed)
    end_all(cgroups[0] if cgroups else None, _LAST_S)
    remove_cgroups(cgroups)
    if status is None:
        # Those above, if no other step needs them: there may be no server that would remove them.
        for path in spec["above"]:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    code = 255 if status is None else os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 255)


def _become(spec: dict[str, Any], parent: int) -> NoReturn:
    try:
        confining.mute()
        try:
            open_up(spec["closed"])
        except OSError as error:
            places = ", ".join(spec["closed"])
            os.write(1, f"the workspace's user cannot get to {places}: {error}\n".encode())
        confining.isolate(spec, parent)
        confining.stand_back()
        if spec["identity"] is not None:
            os.umask(0o077)
        for ignored in _IGNORED:
            signal.signal(ignored, signal.SIG_DFL)
        os.chdir(spec["cwd"])
        os.execvp(spec["command"][0], spec["command"])  # noqa: S606 - no shell is wanted
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(1, f"cannot be started: {error}\n".encode())
    os._exit(127)


def _ask_to_end(pid: int, cgroup: str | None, *, is_sandboxed: bool) -> None:
    """Ask all processes of the step to end, and wait for them, as long as the grace lasts.

    Bubblewrap would end at once, and everything in the sandbox with it.
    """
    asked = descendants(cgroup) - ({pid} if is_sandboxed else set())
    waiting = readers(asked)
    ask_to_end([one for one in asked if one not in waiting], signal.SIGTERM)
    begun_at = time.monotonic()
    while descendants(cgroup) and time.monotonic() < begun_at + _GRACE_S:
        if waiting and time.monotonic() > begun_at + _GRACE_S / 2:
            ask_to_end(waiting, signal.SIGTERM)
            waiting = set()
        time.sleep(_PAUSE_S)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _watch(pid: int) -> int | None:
    """The wait status of the step; None if it is to be given up."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    watch = os.pidfd_open(pid)
    poll.register(watch, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll(1000):
            if descriptor == 0 and not os.read(0, 1):
                return None
        with contextlib.suppress(ChildProcessError):
            # AbandonedCalls became ours, and are buried here.
            while (dead := os.waitpid(-1, os.WNOHANG))[0]:
                if dead[0] == pid:
                    return dead[1]
