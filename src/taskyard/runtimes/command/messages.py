"""The lines between the runtime and its supervisor, as the runtime sees them."""

import os
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskyard.core.attempts import Confinement, Ended, KillReport, StreamSize, Usage
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.instants import Instant
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Command, SecretRef
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.processes.environment import environment

_NOTHING: Final = StreamSize()


class HelloEvent(Struct, frozen=True, tag="hello", tag_field="event"):
    """The supervisor introduces itself."""

    protocol: int
    pid: int
    method: str
    """How trees are killed: ``cgroup`` or ``session``."""
    enforced: tuple[str, ...]
    """Which of ``cpu``, ``cpuset``, ``memory`` and ``pids`` it can limit."""


class StartedEvent(Struct, frozen=True, tag="started", tag_field="event"):
    """An attempt runs."""

    attempt_id: AttemptId
    at: Instant
    handle: dict[str, Any]


class End(Struct, frozen=True):
    """How an attempt ended; also the last line of the attempt's record."""

    at: Instant
    state: AttemptState
    started_at: Instant | None = None
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    kill_report: KillReport | None = None
    usage: Usage | None = None
    stdout: StreamSize | None = None
    """None if nobody was there to take the output in."""
    stderr: StreamSize | None = None
    confinement: Confinement | None = None

    def report(self, attempt_id: AttemptId, lease_token: LeaseToken) -> Ended:
        """The same as a report to the engine."""
        return Ended(
            attempt_id,
            lease_token,
            self.at,
            self.state,
            started_at=self.started_at,
            reason=self.reason,
            message=self.message,
            exit_code=self.exit_code,
            signal=self.signal,
            kill_report=self.kill_report,
            usage=self.usage,
            stdout=self.stdout or _NOTHING,
            stderr=self.stderr or _NOTHING,
            is_silent=self.stdout == self.stderr == _NOTHING,
            confinement=self.confinement,
        )


class EndedEvent(Struct, frozen=True, tag="ended", tag_field="event"):
    """An attempt is over."""

    attempt_id: AttemptId
    ended: End


class ListEvent(Struct, frozen=True, tag="list", tag_field="event"):
    """Everything the supervisor holds."""

    items: list[dict[str, Any]]


Event = HelloEvent | StartedEvent | EndedEvent | ListEvent

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def decode(line: bytes) -> Event:
    """Raises ``msgspec.MsgspecError`` for what no supervisor of this version says."""
    return _decoder.decode(line)


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return _encoder.encode(message) + b"\n"


def command_of(assignment: Assignment) -> Command:
    """What an assignment runs; the worker sends no other work here."""
    work = assignment.work
    if not isinstance(work, Command):
        raise TypeError(f"not a command: {type(work).__name__}")
    return work


def begin_line(
    assignment: Assignment,
    directory: Path,
    work_directory: str | None = None,
    *,
    adopt: bool,
    begun: bool = False,
) -> bytes:
    """The request to start an attempt, or to adopt it.

    ``work_directory`` is where it works unless the task says; in ``directory`` when None.
    """
    work = command_of(assignment)
    given = {name: value for name, value in work.env.items() if isinstance(value, str)}
    startable = not any(isinstance(value, SecretRef) for value in work.env.values())
    resources = assignment.resources
    place = str(directory)
    if not place.startswith("/"):
        place = os.path.abspath(place)  # noqa: PTH100 - a string is needed
    own = work_directory or place + "/work"
    identity = assignment.identity
    return encode(
        {
            "op": "adopt" if adopt else "start",
            "attempt_id": assignment.attempt_id,
            "directory": place,
            "argv": ["/bin/sh", "-c", work.shell] if work.shell is not None else work.argv,
            "env": environment(
                task_id=assignment.task_id,
                attempt_id=assignment.attempt_id,
                number=assignment.number,
                group=assignment.group,
                workspace=assignment.workspace,
                home=own,
                user=work.user,
                given=given,
            ),
            "cwd": work.cwd,
            "stdin": work.stdin is not None,
            "work": own,
            "user": work.user,
            "identity": None if identity.uid is None else (identity.uid, identity.gid),
            "isolate": work.wants_sandbox or assignment.sandbox is not None,
            "network": work.network,
            "directories": None if assignment.sandbox is None else assignment.sandbox.directories,
            "merge_output": work.merge_output,
            "strict": assignment.strict,
            "limits": (
                resources.cpu_millis,
                resources.memory_bytes,
                resources.pids,
                ",".join(map(str, assignment.cpuset)) or None,
                ",".join(map(str, assignment.memory_nodes)) or None,
            ),
            "timeout_s": assignment.timeout_s,
            "kill_signal": assignment.kill_signal,
            "kill_grace_s": assignment.kill_grace_s,
            "log_limit_bytes": assignment.log_limit_bytes,
            "begun": begun,
            "startable": startable,
        }
    )


def kill_line(order: KillOrder) -> bytes:
    """The request to kill an attempt."""
    return encode(
        {
            "op": "kill",
            "attempt_id": order.attempt_id,
            "signal": order.signal,
            "grace_s": order.grace_s,
        }
    )
