"""What messages between planes and workers look like: requests, answers, and errors as data.

Arrays of msgpack: members that a later version adds at the end are passed over by an earlier one.
"""

from typing import Any

import msgspec
from msgspec import Struct

from taskyard.core.errors import TaskyardError
from taskyard.core.ids import PlaneId
from taskyard.ports.errors import Unreachable


class Bytes(Struct, frozen=True, array_like=True):
    """Bytes too large for one message: whoever got this asks their owner for them in parts."""

    owner: str
    """Address of who keeps them."""
    key: str
    size_bytes: int


class Request(Struct, frozen=True, array_like=True):
    """One request. What for is said by its subject, which is what permissions are about."""

    timeout_s: float
    """How long its sender waits."""
    payload: bytes | Bytes


class Failure(Struct, frozen=True, array_like=True):
    """A :class:`TaskyardError` as data."""

    kind: str
    """Name of its class."""
    message: str
    members: dict[str, Any]
    """Its attributes, as far as they are plain."""


class Answer(Struct, frozen=True, array_like=True):
    """The answer to one request: a payload or a failure."""

    payload: bytes | Bytes | None
    failure: Failure | None = None


class Published(Struct, frozen=True, array_like=True):
    """One message to all planes."""

    sender: PlaneId
    payload: bytes


REQUESTS = msgspec.msgpack.Decoder(Request)
ANSWERS = msgspec.msgpack.Decoder(Answer)
PUBLISHED = msgspec.msgpack.Decoder(Published)
encode = msgspec.msgpack.Encoder().encode


def failure_of(error: TaskyardError) -> Failure:
    """An error as data; members that cannot be encoded are left out."""
    members = {name: value for name, value in vars(error).items() if _is_plain(value)}
    return Failure(type(error).__name__, str(error), members)


def error_of(failure: Failure) -> TaskyardError:
    """The error again; of the nearest kind that is known here."""
    kind = _kinds().get(failure.kind, Unreachable)
    error = kind.__new__(kind, failure.message)
    error.args = (failure.message,)
    for name, value in failure.members.items():
        # What every exception has is not for a sender to set.
        if not name.startswith("_") and not hasattr(Exception, name):
            setattr(error, name, value)
    return error


def _kinds() -> dict[str, type[TaskyardError]]:
    found: dict[str, type[TaskyardError]] = {}
    waiting: list[type[TaskyardError]] = [TaskyardError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found


def _is_plain(value: object) -> bool:
    try:
        encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError):
        return False
    return True
