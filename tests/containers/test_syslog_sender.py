"""Messages on their way to log servers: real ones, absent ones, and those nobody may ask."""

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from structlog.testing import capture_logs

from eventually import eventually_async
from receivers import Receiver
from taskyard.core.syslog import SyslogServer, parse_server
from taskyard.runtimes.container import syslog_sender as module
from taskyard.runtimes.container.syslog_sender import QUEUE_BYTES, Resolver, SyslogSender, resolve

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def working(
    *, private: bool = True, resolver: Resolver = resolve
) -> AsyncIterator[SyslogSender]:
    """A sender at work."""
    sender = SyslogSender(allow_private=private, resolver=resolver)
    async with anyio.create_task_group() as group:
        sender.begin(group)
        yield sender
        group.cancel_scope.cancel()


def nobody() -> SyslogServer:
    """A server at a port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return parse_server(f"tcp://127.0.0.1:{probe.getsockname()[1]}")


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_messages_arrive_in_order(protocol: str) -> None:
    """Over one connection."""
    sent = [b"<30>Nov  1 00:00:00 h t: line %d" % number for number in range(500)]
    with Receiver(protocol) as receiver:
        async with working() as sender:
            for message in sent:
                sender.hand(parse_server(receiver.server), message)
            await eventually_async(lambda: len(receiver.messages) == len(sent))
        assert receiver.messages == sent
        assert receiver.connections == (1 if protocol == "tcp" else 0)


async def test_a_server_that_is_away_is_tried_again() -> None:
    """What waits meanwhile arrives, as far as it had room; and whoever sends does not wait."""
    with Receiver("tcp") as first:
        port = first.port
    server = parse_server(f"tcp://127.0.0.1:{port}")
    async with working() as sender:
        for number in range(3):
            sender.hand(server, b"early: %d" % number)
        await anyio.sleep(0.05)
        with Receiver("tcp", port) as receiver:
            await eventually_async(lambda: len(receiver.messages) == 3)
        # What is on its way just when a connection ends may be lost; then the sender comes back.
        with Receiver("tcp", port) as again, anyio.fail_after(20):
            while not again.messages:
                sender.hand(server, b"late: 1")
                await anyio.sleep(0.05)


async def test_queues_end_somewhere() -> None:
    """What does not fit is dropped and counted."""
    server = nobody()
    with capture_logs() as logs:
        async with working() as sender:
            for _ in range(300):
                sender.hand(server, b"x" * (QUEUE_BYTES // 100))
            assert sender._held <= QUEUE_BYTES
        assert sender._held == 0
    (dropped,) = [one for one in logs if one["event"] == "messages dropped"]
    assert dropped["count"] == 300


async def test_all_queues_together_end_somewhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many servers tasks name."""
    monkeypatch.setattr(module, "ALL_BYTES", 1000)
    monkeypatch.setattr(module, "_SERVERS", 3)
    async with working() as sender:
        for port in range(1, 6):
            sender.hand(parse_server(f"tcp://127.0.0.1:{port}"), b"x" * 400)
        assert len(sender._queues) == 3
        assert sender._held == 800


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_private_addresses_need_the_operators_word(protocol: str) -> None:
    """Whatever name leads to them; nothing is sent."""

    async def elsewhere(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    with Receiver(protocol) as receiver, capture_logs() as logs:
        server = SyslogServer(parse_server(receiver.server).protocol, "log.example", receiver.port)
        async with working(private=False, resolver=elsewhere) as sender:
            sender.hand(server, b"x: 1")
            await eventually_async(
                lambda: any(one["event"] == "log server refused" for one in logs)
            )
        assert receiver.messages == []
        assert receiver.connections == 0


async def test_names_that_do_not_resolve_are_no_trouble() -> None:
    """For anybody but the messages to them."""

    async def fail(_host: str, _port: int) -> list[str]:
        raise OSError("no such host")

    with capture_logs() as logs:
        async with working(resolver=fail) as sender:
            sender.hand(parse_server("udp://log.example"), b"x: 1")
            await eventually_async(
                lambda: any(one["event"] == "log server not reached" for one in logs)
            )


async def test_what_waits_leaves_before_everything_stops() -> None:
    """If its server is there; it is not waited for long otherwise."""
    with Receiver("tcp") as receiver:
        async with working() as sender:
            sender.hand(parse_server(receiver.server), b"last: 1")
            await sender.flush()
            assert not sender.hand(parse_server(receiver.server), b"too late: 1")
        await eventually_async(lambda: receiver.messages == [b"last: 1"])


async def test_a_server_that_takes_nothing_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts and never reads: the others get theirs, and it is given up after a while."""
    monkeypatch.setattr(module, "_SEND_S", 0.2)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server = parse_server(f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
        with Receiver("udp") as receiver, capture_logs() as logs:
            async with working() as sender:
                # The kernel takes some megabytes for it.
                with anyio.fail_after(20):
                    while not any(one["event"] == "log server not reached" for one in logs):
                        for _ in range(50):
                            sender.hand(server, b"x" * 7000)
                        await anyio.sleep(0.01)
                sender.hand(parse_server(receiver.server), b"other: 1")
                await eventually_async(lambda: receiver.messages == [b"other: 1"])
