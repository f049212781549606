"""Webhook messages when receivers, stores and services fail: none is lost or in the way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from access_world import (
    ADMIN_A,
    ADMIN_B,
    A,
    B,
    World,
    template,
    world,
)
from receiver import Receiver, receiving
from webhook_service import finish, sending, tried, webhooks

from eventually import eventually_async
from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAllowed, NotFound, Unavailable
from taskyard.core.notifications.webhooks import host_of
from taskyard.ports.outgoing import Answer, Post
from taskyard.server.outbound import Outbound
from taskyard.services.notifications.webhooks import Webhooks

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def template_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def at(template_path: Path, tmp_path: Path) -> AsyncIterator[World]:
    """An open store with its services."""
    async with world(template_path, tmp_path) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A server to send to."""
    async with receiving() as open_receiver:
        yield open_receiver


async def test_a_receiver_that_is_down_for_a_while_gets_its_message(at: World) -> None:
    """Tried again after 5 s, then after 30 s; not a moment earlier."""
    async with receiving() as gone:
        port = gone.port
    async with sending(at) as service:
        delivery_id = await finish(at, f"http://127.0.0.1:{port}/")
        service.wake()
        shown = await tried(at, delivery_id, 1)
        assert shown.state == "pending"
        assert shown.last_error is not None
        assert shown.next_at == at.clock.now() + 5_000_000
        at.clock.advance(4.9)
        service.wake()
        await anyio.sleep(0.1)
        assert (await at.webhook_store.delivery(A, delivery_id)).attempt_count == 1
        at.clock.advance(0.1)
        shown = await tried(at, delivery_id, 2)
        assert shown.next_at == at.clock.now() + 30_000_000
        async with receiving(port) as back:
            at.clock.advance(30)
            shown = await tried(at, delivery_id, 3)
            assert len(back.received) == 1
    assert shown.state == "delivered"
    assert [made.error is None for made in shown.tries] == [False, False, True]


async def test_after_the_last_try_it_has_failed_and_can_be_redelivered(
    at: World, receiver: Receiver
) -> None:
    """Eight tries in all; a redelivery starts again with the same id."""
    receiver.answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    async with sending(at) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        for times, delay in enumerate((5, 30, 120, 600, 3600, 21600, 86400), 1):
            await tried(at, delivery_id, times)
            # Another one may rest on a timer that began before; the wake-up ends that.
            at.clock.advance(delay)
            service.wake()
        shown = await tried(at, delivery_id, 8)
        assert (shown.state, shown.next_at, shown.last_error) == ("failed", None, "answered 503")
        with pytest.raises(NotAllowed):
            await service.redeliver(Caller("token x", A, Role.WRITE), delivery_id)
        with pytest.raises(NotFound):
            await service.redeliver(ADMIN_B, delivery_id)
        receiver.reply = None
        assert (await service.redeliver(ADMIN_A, delivery_id)).state == "pending"
        shown = await tried(at, delivery_id, 9)
        assert shown.state == "delivered"
    assert {request.headers["webhook-id"] for request in receiver.received} == {delivery_id}
    assert [entry.outcome for entry in await at.audit.page(ADMIN_A)] == ["done", "refused"]


async def test_a_slow_receiver_is_given_up(at: World, receiver: Receiver) -> None:
    """At the deadline, also when it keeps sending a little."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    receiver.reply = drip
    async with sending(at, deadline_s=0.2) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        shown = await tried(at, delivery_id, 1)
    assert (shown.state, shown.last_status) == ("pending", None)
    assert shown.last_error == "no complete answer within 0.2 s"
    assert 150 <= shown.tries[0].duration_ms < 2000


async def test_at_most_four_at_once_go_to_one_host(at: World, receiver: Receiver) -> None:
    """And meanwhile other hosts are served."""
    release = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.reply = hold
    async with receiving() as other, sending(at) as service:
        slow = [await finish(at, receiver.url(), f"slow{n}") for n in range(12)]
        quick = await finish(at, other.url("localhost"), "quick")
        service.wake()
        assert (await tried(at, quick, 1)).state == "delivered"
        await eventually_async(lambda: receiver.open_now == 4)
        release.set()
        for one in slow:
            assert (await tried(at, one, 1)).state == "delivered"
    assert receiver.open_most == 4
    assert len(receiver.received) == 12


async def test_a_crash_between_delivery_and_marking_sends_it_again(
    at: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same id both times, by which the receiver can tell; then never again."""
    delivery_id = await finish(at, receiver.url())
    sender = Outbound(allow_private=True)

    async def crash(*_: object) -> None:
        await anyio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr(at.webhook_store, "record_try", crash)
        first = webhooks(at, sender)
        async with anyio.create_task_group() as process:
            await first.start(process)
            await eventually_async(lambda: len(receiver.received) == 1)
            process.cancel_scope.cancel()
    assert (await at.webhook_store.delivery(A, delivery_id)).attempt_count == 0
    async with sending(at):
        assert (await tried(at, delivery_id, 1)).state == "delivered"
    assert [r.headers["webhook-id"] for r in receiver.received] == [delivery_id] * 2
    assert receiver.received[0].body == receiver.received[1].body
    await sender.close()


async def test_a_store_in_trouble_does_not_send_twice(
    at: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that cannot be stored now is stored later, without another request."""
    record = at.webhook_store.record_try
    refusals = 0

    async def refuse_twice(*values: object) -> None:
        nonlocal refusals
        if refusals < 2:
            refusals += 1
            raise Unavailable("the disk is full")
        await record(*values)  # type: ignore[arg-type] # handed through as they came

    monkeypatch.setattr(at.webhook_store, "record_try", refuse_twice)
    async with sending(at) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        for expected in (1, 2):
            await eventually_async(lambda expected=expected: refusals == expected)  # type: ignore[misc] # bound early
            await eventually_async(lambda: bool(at.clock._sleepers))
            at.clock.advance(1)
        assert (await tried(at, delivery_id, 1)).state == "delivered"
    assert len(receiver.received) == 1


async def test_starting_and_stopping_may_be_repeated(at: World, receiver: Receiver) -> None:
    """Twice in a row, and again afterwards; a stopped service sends nothing."""
    sender = Outbound(allow_private=True)
    service = webhooks(at, sender)
    await service.stop()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            await service.start(tasks)
            await service.start(tasks)
            await service.stop()
            await service.stop()
        delivery_id = await finish(at, receiver.url())
        service.wake()
        await anyio.sleep(0.05)
        assert receiver.received == []
        await service.start(tasks)
        assert (await tried(at, delivery_id, 1)).state == "delivered"
        await service.stop()
    await sender.close()


async def test_a_try_under_way_may_end_when_the_service_stops(
    at: World, receiver: Receiver
) -> None:
    """So that a restart does not double what was just being delivered."""
    release = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.reply = hold
    sender = Outbound(allow_private=True)
    service = webhooks(at, sender)
    delivery_id = await finish(at, receiver.url())
    async with anyio.create_task_group() as tasks:
        await service.start(tasks)
        await eventually_async(lambda: len(receiver.received) == 1)
        tasks.start_soon(service.stop)
        await anyio.sleep(0.05)
        release.set()
    await sender.close()
    assert (await at.webhook_store.delivery(A, delivery_id)).state == "delivered"


class DeadEnds:
    """A sender to whom most hosts never answer."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.answered: list[str] = []

    async def send(self, post: Post) -> Answer:
        """Waits forever for whatever does not begin with ``good``."""
        host = host_of(post.url)
        if host.startswith("good"):
            self.answered.append(host)
            return Answer(204, b"")
        self.waiting.append(host)
        await anyio.sleep_forever()
        raise AssertionError

    async def close(self) -> None:
        """Nothing is open."""

    def check_url(self, url: str, field: str = "url") -> None:
        """All are welcome."""


async def test_dead_ends_of_one_workspace_leave_slots_for_others(at: World) -> None:
    """Half of them at most are waiting for its answers, whatever it has to send, and where."""
    for number in range(20):
        await finish(at, f"http://dead{number}.example", f"a{number}")
    for number in range(3):
        await finish(at, f"http://good{number}.example", f"b{number}", workspace=B)
    sender = DeadEnds()
    service = Webhooks(
        at.webhook_store, sender, at.encryption, at.audit, at.clock, 60, at_once=8, of_workspace=4
    )

    async def all_sent() -> bool:
        return len(sender.answered) == 3 and len(sender.waiting) == 4

    async with anyio.create_task_group() as tasks:
        await service.start(tasks)
        await eventually_async(all_sent)
        assert set(sender.answered) == {f"good{number}.example" for number in range(3)}
        assert len(sender.waiting) == 4
        tasks.cancel_scope.cancel()
