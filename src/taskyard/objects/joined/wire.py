"""The messages: records of which unknown members are passed over, so that two releases agree."""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import Version
from taskyard.core.ids import AttemptId, WorkspaceName
from taskyard.ports.errors import Unreachable

PUT: Final = "put"
"""A piece of an object; those after the first are for the plane that took it."""
GET: Final = "get"
"""A range of a source."""
VERSION: Final = "version"
"""What a call runs, and the name of its source."""
KNOWN: Final = "known"
"""Which attempts are this worker's."""
MOST_KNOWN: Final = 100


class Put(Struct, frozen=True):
    """A piece of an object."""

    upload: str
    """Made up by the worker for each time that it begins."""
    key: str
    offset: int
    data: bytes
    is_last: bool = False


class Taken(Struct, frozen=True):
    """The plane has it."""

    plane: str
    """Takes the rest."""
    is_stored: bool = False
    """Whether the object is complete: then nothing more of it is wanted."""
    is_new: bool = False
    """Whether it was not there before."""


class Wanted(Struct, frozen=True):
    """Asks for the version that a call needs which the worker holds."""

    workspace: WorkspaceName
    attempt: AttemptId
    """At the call."""
    number: int


class Found(Struct, frozen=True):
    """It is this."""

    version: Version


class Get(Struct, frozen=True):
    """Asks for a range of the source of a version."""

    wanted: Wanted
    offset: int
    length: int


class Range(Struct, frozen=True):
    """It is this."""

    size_bytes: int
    """Of the whole source."""
    data: bytes


class Known(Struct, frozen=True):
    """Asks, or answers, with attempts."""

    attempts: list[AttemptId]


Record = TypeVar("Record", bound=Struct)
encode: Final = msgspec.msgpack.Encoder().encode


def asked(kind: type[Record], payload: bytes) -> Record:
    """A request. Raises ``InvalidInput`` if it is none."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidInput(kind.__name__.lower(), str(error)) from error


def answered(kind: type[Record], payload: bytes) -> Record:
    """An answer. Raises ``Unreachable`` if it is none."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the answer cannot be read: {error}") from error
