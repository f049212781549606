"""Orders to workers as messages: what is sent, and in how many pieces."""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from taskyard.core.ids import WorkerId
from taskyard.ports.runtime import Assignment, KillOrder

CONNECTED: Final = "worker_connected"
ASSIGN: Final = "worker_assign"
KILL: Final = "worker_kill"
"""What the requests are for."""
BATCH_BYTES: Final = 8 << 20
"""Assignments in one request, unless a single one is larger."""


class Connected(Struct, frozen=True, array_like=True):
    """Asks which connection of a worker there is; the answer is its name."""

    worker_id: WorkerId


class Assign(Struct, frozen=True, array_like=True):
    """Has a worker take these on."""

    worker_id: WorkerId
    connection: str
    assignments: list[Assignment]


class AssignEncoded(Struct, frozen=True, array_like=True):
    """The same with what is encoded already."""

    worker_id: WorkerId
    connection: str
    assignments: list[Raw]


class Kill(Struct, frozen=True, array_like=True):
    """Has a worker begin these kills."""

    worker_id: WorkerId
    connection: str
    orders: list[KillOrder]


encode = msgspec.msgpack.Encoder().encode
CONNECTED_DECODER: Final = msgspec.msgpack.Decoder(Connected)
ASSIGN_DECODER: Final = msgspec.msgpack.Decoder(Assign)
KILL_DECODER: Final = msgspec.msgpack.Decoder(Kill)
