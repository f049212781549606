"""Closes the connections of a worker that was revoked, as the system account of NATS can."""

from typing import Any, Final

import anyio
import msgspec
from msgspec import Struct

from taskyard.ports.errors import Unreachable
from taskyard.transport.nats.auth_callout import ACCOUNT
from taskyard.transport.nats.connection import NatsConnection, nats_connection
from taskyard.transport.nats.options import NatsOptions

INBOX: Final = "_INBOX.taskyard"
QUIET_S: Final = 0.2
"""No further server of a cluster answers after so long a silence."""
WITHIN_S: Final = 1.0
MOST: Final = 1024


class _Connection(Struct, frozen=True):
    cid: int


class _Connections(Struct, frozen=True):
    connections: tuple[_Connection, ...] | None = None


class _Server(Struct, frozen=True):
    id: str


class _Found(Struct, frozen=True):
    server: _Server
    data: _Connections = _Connections()


_FOUND: Final = msgspec.json.Decoder(_Found)


async def kick(options: NatsOptions, name: str) -> int:
    """Close all connections of the user of this name; answers with how many there were.

    Args:
        options: how to connect as a user of the system account.
        name: of the user.

    Raises:
        NatsUnavailable: there is no way to connect.
        Unreachable: the connection was lost meanwhile.
    """
    async with nats_connection(options, "taskyard kick") as connection:
        await connection.first()
        found = await _asked(
            connection,
            "$SYS.REQ.SERVER.PING.CONNZ",
            {"auth": True, "acc": ACCOUNT, "user": name, "limit": MOST},
        )
        count = 0
        for data in found:
            one = _FOUND.decode(data)
            for each in one.data.connections or ():
                await _asked(
                    connection, f"$SYS.REQ.SERVER.{one.server.id}.KICK", {"cid": each.cid}, 1
                )
                count += 1
        return count


async def _asked(
    connection: NatsConnection, subject: str, question: dict[str, Any], answers: int | None = None
) -> list[bytes]:
    """What is answered: so many answers, or until there are no more."""
    sent, received = anyio.create_memory_object_stream[bytes](MOST)

    async def on_answer(message: Any) -> None:
        if not (message.headers and message.headers.get("Status") == "503"):
            sent.send_nowait(message.data)

    inbox = f"{INBOX}.{id(sent):x}"
    found: list[bytes] = []
    with sent, received:
        await connection.subscribe(inbox, on_answer)
        await connection.send(subject, msgspec.json.encode(question), inbox)
        while answers is None or len(found) < answers:
            with anyio.move_on_after(QUIET_S if found else WITHIN_S) as scope:
                found.append(await received.receive())
            if scope.cancelled_caught:
                break
        await connection.unsubscribe(inbox)
    if not found:
        raise Unreachable(f"no NATS server answers {subject}")
    return found
