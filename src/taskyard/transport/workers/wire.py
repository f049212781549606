"""The messages themselves: records of which unknown members are passed over.

So planes and workers of two releases work together: what a later one adds has a default, and an
earlier one does not see it.
"""

from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import IncarnationId, LeaseToken
from taskyard.core.instants import Instant
from taskyard.ports.errors import Unreachable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import Heartbeat, Hello

PROTOCOL: Final = 1
"""What a worker says it speaks; raised when an earlier control plane would misunderstand it."""
JOINED: Final = "joined"
BEAT: Final = "beat"
REPORT: Final = "report"
RESOLVE: Final = "resolve"
LEAVING: Final = "leaving"
"""What workers ask for."""
ASSIGN: Final = "assign"
KILL: Final = "kill"
"""What planes ask for."""


class Joining(Struct, frozen=True):
    """A worker joins."""

    hello: Hello
    protocol: int = PROTOCOL
    lapsed: list[IncarnationId] = []
    """Its lives before, if they have stopped what they ran because their lease was about to end."""


class Joined(Struct, frozen=True):
    """It has."""

    attempts: list[Attempt]
    """What it should hold."""
    drained: bool = False
    """Whether an operator has it drained; earlier control planes do not say."""


class Beat(Struct, frozen=True):
    """A sign of life."""

    heartbeat: Heartbeat


class BeatAnswer(Struct, frozen=True):
    """What became of the lease."""

    holds: bool
    """Whether it was renewed; else the worker is fenced."""
    replaced: bool = False
    """Whether another life of the worker has taken its place."""


class Reports(Struct, frozen=True):
    """What happened."""

    reports: list[Report]
    sent_at: Instant
    """By the worker's clock."""


class ReportsEncoded(Struct, frozen=True):
    """The same with what is encoded already."""

    reports: list[Raw]
    sent_at: Instant


class Refused(Struct, frozen=True):
    """All of it is committed, but for these leases, which do not hold."""

    leases: list[LeaseToken]


class Resolve(Struct, frozen=True):
    """Asks for the assignment of an attempt to adopt."""

    attempt: Attempt


class Resolved(Struct, frozen=True):
    """What there is of it."""

    assignment: Assignment | None


class Leaving(Struct, frozen=True):
    """A worker has nothing to do any more, and ends."""

    incarnation: IncarnationId


class Left(Struct, frozen=True):
    """That is known."""


class Assign(Struct, frozen=True):
    """Has one life of a worker take these on."""

    incarnation: IncarnationId
    assignments: list[Assignment]


class AssignEncoded(Struct, frozen=True):
    """The same with what is encoded already."""

    incarnation: IncarnationId
    assignments: list[Raw]


class Kill(Struct, frozen=True):
    """Has one life of a worker begin these kills."""

    incarnation: IncarnationId
    orders: list[KillOrder]


Record = TypeVar("Record", bound=Struct)
encode: Final = msgspec.msgpack.Encoder().encode
_decoders: Final[dict[type[Struct], "msgspec.msgpack.Decoder[Struct]"]] = {}


def _decode(kind: type[Record], payload: bytes) -> Record:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    found = decoder.decode(payload)
    assert isinstance(found, kind)  # noqa: S101 - what the decoder was made for
    return found


def asked(kind: type[Record], payload: bytes) -> Record:
    """A request. Raises ``InvalidInput`` if it is none."""
    try:
        return _decode(kind, payload)
    except msgspec.DecodeError as error:
        raise InvalidInput(kind.__name__.lower(), str(error)) from error


def answered(kind: type[Record], payload: bytes) -> Record:
    """An answer. Raises ``Unreachable`` if it is none."""
    try:
        return _decode(kind, payload)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the answer cannot be read: {error}") from error
