"""The ancestor of all function processes of a worker. Runs nobody's code, so nothing blocks it.

Started with two descriptors: a control socket, and a lock that is held while anything of a
function may be alive. Orders are ``{"number", "argv"?, …}`` with three descriptors attached, a
socket and what to write output and errors to: fork a zygote or a direct instance of a Python
function, or execute a program with the socket as descriptor 3. Further descriptors are files of
cgroups, for a fork server that sees none: the process writes 0 there. Answers are
``{"born": number, "pid"}`` and ``{"exited": number, "status"}``; zygotes answer alike. Processes
become the user and group ``identity`` of their order, if it is not null. When the control socket is
closed, everything below is killed, and then the lock is let go.
"""

# What nearly every function imports is imported once, and shared by all that are forked.
import asyncio  # noqa: F401
import base64  # noqa: F401
import collections  # noqa: F401
import contextlib
import dataclasses  # noqa: F401
import datetime  # noqa: F401, ICN001
import decimal  # noqa: F401
import functools  # noqa: F401
import gc
import hashlib  # noqa: F401
import json
import logging  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import select
import signal
import socket
import sys
import typing  # noqa: F401
import uuid  # noqa: F401
from typing import Any, Final

from taskyard.runtimes.function.child import confining, descendants
from taskyard.runtimes.function.child.frames import Closed, receive, send
from taskyard.runtimes.function.child.reaching import open_up
from taskyard.runtimes.function.child.zygote import become

_LAST_S: Final = 5.0
_LOOK_MS: Final = 1000
"""How often orphans are looked for at least."""


def main(control_fd: int, lock_fd: int, settings: dict[str, Any]) -> None:
    """Work until the worker hangs up or dies."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever stops the server from a terminal means the server; it hangs up in time.
        signal.signal(ignored, signal.SIG_IGN)
    # The server has some blocked, which it reads in another way.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    if settings["sandboxed"]:
        # Functions are the same user here, and may not have it outlive the server for them.
        confining.close_to_others(closed=True)
    confining.become_subreaper()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=control_fd)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    gc.collect()
    # Otherwise each collection in a fork would write to every page that is shared.
    gc.freeze()
    obstacle = None
    try:
        open_up(settings["closed"])
    except OSError as error:
        obstacle = str(error)
    with contextlib.suppress(OSError, Closed):
        send(control, {"ready": True, "pid": os.getpid(), "obstacle": obstacle})
        tidy = True
        while True:
            for descriptor, _ in poll.poll(_LOOK_MS if tidy else 1):
                if descriptor != control_fd:
                    poll.unregister(descriptor)
                    number, pid = children.pop(descriptor)
                    os.close(descriptor)
                    status = os.waitpid(pid, 0)[1]
                    # What it left is gone before its end is told.
                    tidy = descendants.end_strays({pid for _, pid in children.values()})
                    send(control, {"exited": number, "status": status})
                    continue
                order, given = receive(control)
                if len(given) < 3:
                    continue
                pid = _fork(order, given, lock_fd)
                watch = os.pidfd_open(pid)
                children[watch] = (order["number"], pid)
                poll.register(watch, select.POLLIN)
                send(control, {"born": order["number"], "pid": pid})
            tidy = descendants.end_strays({pid for _, pid in children.values()})
    descendants.end_all(settings["base"], _LAST_S)
    os.close(lock_fd)


def _fork(order: dict[str, Any], descriptors: list[int], lock_fd: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    try:
        os.close(lock_fd)
        confining.close_to_others(closed=False)
        given, out, err, *doors = descriptors
        for door in doors:
            os.write(door, b"0")
            os.close(door)
        if "argv" not in order:
            become(order, given, (out, err), parent)
        confining.mute()
        confining.take_output(out, err)
        os.dup2(given, 1023)
        os.closerange(3, 1023)
        os.dup2(1023, 3)
        os.close(1023)
        confining.confine(order, parent)
        os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is wanted
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(2, f"cannot be started: {error}\n".encode())
    os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
