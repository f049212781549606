"""The supervisor: the parent of all commands, which outlives the Taskyard process.

Run as ``python -m taskyard.runtimes.command.supervisor DIRECTORY``. The process that was started
returns when a supervisor listens on ``DIRECTORY/socket``: status 0, or 3 when another one holds the
directory. The supervisor itself goes on in a session of its own. With nobody connected and no
command alive it ends by itself after a while.

It is single-threaded, and imports only the standard library, and of that little: it is there for
as long as any command runs, and starts whenever the first one does.
"""

import argparse
import contextlib
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Final

from taskyard.runtimes.command.channel import Channel, Connection
from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.process_table import ProcessTable
from taskyard.runtimes.command.protocol import LOCK, LOG, PROTOCOL, READY, TAKEN
from taskyard.runtimes.command.timers import Timer, Timers
from taskyard.runtimes.processes import cgroups, descriptors, linux
from taskyard.runtimes.processes.proc import Json

_AT_ONCE: Final = 4
"""Requests handled before exits are looked at again."""
_NICENESS: Final = -10
_SIGNAL_BYTES: Final = 128
_LOG_MAX_BYTES: Final = 1024 * 1024


class Supervisor:
    """The event loop around a :class:`ProcessTable`, in the supervisor's own directory."""

    def __init__(self, cgroup_home: cgroups.Cgroups | None, linger_s: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._channel = Channel(self._selector)
        self._timers = Timers()
        self._linger_s = linger_s
        self._lingering: Timer | None = None
        self._stopping = False
        self._exits_waiting = True
        self._table = ProcessTable(
            self._selector, self._timers, cgroup_home, self._channel.announce
        )
        self._cgroups = cgroup_home
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._take_signals()

    def _take_signals(self) -> None:
        # Handlers and not SIG_IGN, which commands would inherit. A supervisor does not leave its
        # commands because somebody presses Ctrl-C or a terminal closes.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        self._hear_of_children()
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)

    def _hear_of_children(self) -> None:
        try:
            # A handler would interrupt whatever is done, and costs several times as much.
            fd = linux.signal_descriptor([signal.SIGCHLD])
        except OSError:
            signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
            return

        def ended(_events: int) -> None:
            os.read(fd, _SIGNAL_BYTES)
            self._exits_waiting = True

        self._selector.register(fd, selectors.EVENT_READ, ended)

    def _asked_to_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _woken(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        self._exits_waiting = True

    def run(self) -> None:
        """Serve until nobody needs this process any more."""
        while not self._is_done():
            for key, events in self._selector.select(self._pause()):
                key.data(events)
            if self._exits_waiting:
                self._exits_waiting = False
                self._table.reap()
            for client, line in self._channel.take(_AT_ONCE):
                self._handle(client, line)
            self._timers.run(time.monotonic())
            self._channel.flush()
            if self._cgroups is not None:
                # Last, because nobody waits for it: see AttemptCgroup.leave.
                self._cgroups.rest()
        self._channel.close()
        if self._cgroups is not None:
            self._cgroups.close()

    def _pause(self) -> float | None:
        if self._channel.has_requests:
            return 0
        next_at = self._timers.next_at()
        return None if next_at is None else max(0.0, next_at - time.monotonic())

    def _is_done(self) -> bool:
        if self._table.is_idle and self._stopping:
            return True
        if not self._table.is_idle or self._channel.clients or self._channel.has_requests:
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
        elif self._lingering is None:
            when = time.monotonic() + self._linger_s
            self._lingering = self._timers.at(when, self._stop)
        return False

    def _stop(self) -> None:
        self._stopping = True

    def _handle(self, client: Connection, line: bytes) -> None:
        try:
            request: Json = json.loads(line)
            operation = request["op"]
            if operation == "start":
                self._table.start(request)
            elif operation == "adopt":
                self._table.adopt(request)
            elif operation == "kill":
                self._table.kill(request["attempt_id"], request["signal"], request["grace_s"])
            elif operation == "release":
                self._table.release(request["attempt_id"])
            elif operation == "hello":
                self._greet(client, request)
            elif operation == "keep":
                self._table.keep_only(set(request["attempt_ids"]))
            elif operation == "list":
                self._channel.tell(client, {"event": "list", "items": self._table.items()})
            elif operation == "stop":
                self._stopping = True
            else:
                log_error(f"unknown request {operation!r}")
        except (ValueError, LookupError, TypeError):
            # One bad request must not end the parent of all commands.
            log_error(traceback.format_exc())

    def _greet(self, client: Connection, request: Json) -> None:
        client.listens = bool(request.get("listen"))
        self._channel.tell(
            client,
            {
                "event": "hello",
                "protocol": PROTOCOL,
                "pid": os.getpid(),
                "method": "session" if self._cgroups is None else "cgroup",
                "enforced": [] if self._cgroups is None else self._cgroups.enforced,
            },
        )


def _lock() -> bool:
    """Hold the present directory for this process; the lock ends with the process."""
    fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return True


def _detach() -> int:
    """Go on as a grandchild in a session of its own.

    The process that was started waits here for the status written to the descriptor that the
    grandchild is answered with, and ends with it.
    """
    status_read, status_write = os.pipe()
    if os.fork() != 0:
        os.close(status_write)
        status = os.read(status_read, 1)
        os._exit(status[0] if status else 1)
    os.close(status_read)
    os.setsid()
    return status_write


def _settle_down() -> None:
    """Set what all commands inherit."""
    os.umask(0o022)
    # 022, because a command that writes into a shared directory is expected to share; private
    # things (output, records, socket, the working directory) are created with their own modes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    descriptors.raise_limit()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        # Kills and exits have to be seen to also while commands keep every processor busy. What
        # it starts is reset to the usual priority. Only root may do this.
        scheduling = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, scheduling, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
        # Where the kernel shares processors between sessions, only this counts. Each command
        # begins a session, and with it a group, of its own.
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
            file.write(str(_NICENESS))
    linux.become_subreaper()
    linux.give_up_new_privileges()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(log).st_size > _LOG_MAX_BYTES:
        os.ftruncate(log, 0)
    os.dup2(log, 2)
    os.close(log)


def _name_of(directory: str) -> str:
    """Name of the cgroups of the supervisor of a directory: the same in its next life."""
    facts = os.stat(directory)  # noqa: PTH116 - no pathlib in the supervisor
    return f"taskyard-{facts.st_dev:x}-{facts.st_ino:x}"


def main() -> None:
    """Start a supervisor; returns in the supervisor when its work is over."""
    parser = argparse.ArgumentParser(
        prog="supervisor", description="Parent of Taskyard's commands."
    )
    parser.add_argument("directory", help="where its socket and lock are")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to stay when idle")
    parser.add_argument("--no-cgroups", action="store_true", help="rely on sessions alone")
    options = parser.parse_args()
    os.chdir(options.directory)
    status_fd = _detach()
    if not _lock():
        os.write(status_fd, bytes([TAKEN]))
        sys.exit(TAKEN)
    _settle_down()
    found = None if options.no_cgroups else cgroups.discover(_name_of("."))
    supervisor = Supervisor(found, options.linger)
    os.write(status_fd, bytes([READY]))
    os.close(status_fd)
    supervisor.run()


if __name__ == "__main__":
    main()
