"""The runtime's side of one instance, and the calls it is given."""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec

from taskyard.core.access.work_identity import SERVER
from taskyard.core.attempts import Ended, Survivor
from taskyard.core.instants import Instant
from taskyard.core.states import Reason
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.function.instance_output import MemberOutput

_LENGTHS: Final = struct.Struct("!II")
_HEADER_MAX: Final = 4 << 20
_encode: Final = msgspec.json.Encoder().encode


class Call:
    """An attempt this runtime has to report on."""

    __slots__ = (
        "assignment",
        "began_at",
        "completing",
        "deadline",
        "directory",
        "ended",
        "forced",
        "given_at",
        "instance",
        "is_linked",
        "is_reported",
        "looked_at",
        "offered_at",
        "signal",
        "signalled_at",
        "trouble",
        "was_stopped",
    )

    def __init__(self, assignment: Assignment, directory: Path, offered_at: float) -> None:
        self.assignment = assignment
        self.directory = directory
        self.offered_at = offered_at
        self.instance: Instance | None = None
        self.began_at: Instant | None = None
        self.given_at = 0.0
        """When its instance got it, on the monotonic clock."""
        self.deadline: float | None = None
        self.looked_at = 0.0
        """When it was last looked at whether its instance is stopped."""
        self.was_stopped = False
        self.trouble: str | None = None
        """Why its instance is given up, if that is nobody's fault."""
        self.is_reported = False
        """Whether its start was."""
        self.is_linked = False
        """Whether its output is to be found in its directory."""
        self.signalled_at: Instant | None = None
        self.signal: str | None = None
        """Which it was asked to end with, if it was."""
        self.forced: Reason | None = None
        """Why its instance is being killed, if it is."""
        self.completing = False
        """Whether its end is being put together."""
        self.ended: Ended | None = None


Answer = dict[str, Any]


class Body(Protocol):
    """What an instance is made of: a tree of processes, or a container."""

    method: str
    """How it is killed, for the proof of it."""

    @property
    def trouble(self) -> str | None:
        """What ended it that is not the function's fault; None if nothing did."""
        ...

    async def kill(self) -> tuple[int, list[Survivor]]:
        """Kill all of it, and wait for its end; how many were alive, and who still is."""
        ...

    def oom_kills(self) -> int:
        """How often the kernel killed for want of memory."""
        ...

    async def remove(self) -> None:
        """Kill what is alive, and give back what it held."""
        ...


class Owner(Protocol):
    """The pool that an instance belongs to."""

    def free(self, instance: "Instance", now: float) -> None:
        """It can take the next call."""
        ...

    def take_out(self, instance: "Instance") -> None:
        """It is over."""
        ...

    def look(self, now: float) -> None:
        """See whether others are needed."""
        ...


class Instance(asyncio.Protocol):
    """A process that answers calls. Says what happens through ``heard`` and ``hung_up``."""

    def __init__(
        self,
        owner: Owner,
        number: int,
        directory: Path,
        body: Body,
        heard: Callable[["Instance", Answer, bytes], None],
        hung_up: Callable[["Instance"], None],
        result_bytes: int,
    ) -> None:
        self.owner = owner
        self.number = number
        self.directory = directory
        self.body = body
        self.pid = 0
        self.call: Call | None = None
        self.calls = 0
        """How many it was given."""
        self.idle_since = 0.0
        self.ready = False
        self.gone = asyncio.Event()
        """Set when its process was waited for."""
        self.hung_up = False
        """Whether nobody can talk to it any more."""
        self.status: int | None = None
        """As ``os.waitpid`` gives it."""
        self.retired = False
        self.identity = SERVER
        """As whom it runs."""
        self.output: MemberOutput | None = None
        """What it prints; None if that is in files of its directory (:mod:`.output`)."""
        self.fresh = False
        """Whether its next call begins with new files."""
        self._heard = heard
        self._on_hang_up = hung_up
        self._payload_max = result_bytes + (1 << 20)
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTHS.size:
            header, payload = _LENGTHS.unpack_from(buffer)
            if header > _HEADER_MAX or payload > self._payload_max:
                self._babble()
                return
            end = _LENGTHS.size + header + payload
            if len(buffer) < end:
                return
            try:
                said = msgspec.json.decode(buffer[_LENGTHS.size : _LENGTHS.size + header])
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._babble()
                return
            content = bytes(buffer[_LENGTHS.size + header : end])
            del buffer[:end]
            if not isinstance(said, dict):
                self._babble()
                return
            self._heard(self, said, content)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        del exc
        self._transport = None
        self.hung_up = True
        self._on_hang_up(self)

    def give(self, header: Answer, body: bytes) -> None:
        """Hand over a call."""
        if self._transport is not None:
            head = _encode(header)
            self._transport.write(b"".join((_LENGTHS.pack(len(head), len(body)), head, body)))

    def hang_up(self) -> None:
        """Ask it to end: it does once it reads that there is nothing more."""
        if self._transport is not None:
            self._transport.close()

    def _babble(self) -> None:
        """What it says is no frame: it is of no use any more."""
        self._buffer.clear()
        if self._transport is not None:
            self._transport.close()
