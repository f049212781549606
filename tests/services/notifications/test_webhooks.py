"""Sending webhook messages to a real server: at least once, bounded, signed."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from access_world import (
    ADMIN_A,
    ADMIN_B,
    A,
    World,
    template,
    world,
)
from receiver import Receiver, receiving
from webhook_service import finish, sending, tried, verify, webhooks

from taskyard.core.access.principals import Caller, Role
from taskyard.core.changes import Change
from taskyard.core.errors import NotAllowed, NotFound
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.notifications.webhooks import DeliveryState
from taskyard.core.states import TaskState
from taskyard.server.outbound import Outbound

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


async def test_a_message_is_delivered_and_signed(at: World, receiver: Receiver) -> None:
    """With the task, the submitter's headers and a signature that its receiver can check."""
    async with sending(at) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        shown = await tried(at, delivery_id, 1)
        key = await service.signing_key(ADMIN_A)
    assert (shown.state, shown.last_status, shown.last_error) == ("delivered", 200, None)
    assert (shown.tries[0].answer, shown.tries[0].error) == ("ok", None)
    (request,) = receiver.received
    assert request.line == "POST /hook?x=1 HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-app"] == "1"
    assert request.headers["authorization"] == "Bearer theirs"
    assert request.headers["webhook-id"] == delivery_id
    message = json.loads(request.body)
    assert message["type"] == "task.finished"
    assert message["data"]["task"]["env"] == {"TOKEN": "***"}
    verify(request, key)


async def test_each_workspace_signs_with_a_key_of_its_own(at: World) -> None:
    """For admins only; the same key after a restart, encrypted at rest."""
    sender = Outbound()
    service = webhooks(at, sender)
    key = await service.signing_key(ADMIN_A)
    assert key.startswith("whsec_")
    assert await service.signing_key(ADMIN_B) != key
    assert await webhooks(at, sender).signing_key(ADMIN_A) == key
    with pytest.raises(NotAllowed):
        await service.signing_key(Caller("token x", A, Role.OPERATE))
    for file in at.path.parent.iterdir():
        assert base64.b64decode(key[6:]) not in file.read_bytes()
    await sender.close()


async def test_a_redirect_is_not_followed(at: World, receiver: Receiver) -> None:
    """Wherever it points; it counts as a failed try."""
    async with receiving() as private:
        receiver.answer(
            f"HTTP/1.1 302 Found\r\nLocation: {private.url()}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        async with sending(at) as service:
            delivery_id = await finish(at, receiver.url())
            service.wake()
            shown = await tried(at, delivery_id, 1)
        assert (shown.state, shown.last_status) == ("pending", 302)
        assert shown.last_error == "answered 302; redirects are not followed"
        assert private.received == []


async def test_a_huge_answer_is_not_swallowed(at: World, receiver: Receiver) -> None:
    """64 KiB are read, 2 KiB kept; the status counts."""
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 200_000_000:
            writer.write(b"10000\r\n" + b"\xff" * 65536 + b"\r\n")
            sent += 65536
            await writer.drain()

    receiver.reply = flood
    async with sending(at) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        shown = await tried(at, delivery_id, 1)
    assert shown.state == "delivered"
    assert shown.tries[0].answer == "\ufffd" * 2048
    assert sent < 100_000_000


@pytest.mark.parametrize("garbage", [b"", b"\x16\x03nonsense\r\n\r\n", b"HTTP/1.1 200"])
async def test_garbage_is_a_failed_try(at: World, receiver: Receiver, garbage: bytes) -> None:
    """Whatever answers, the sender goes on."""
    receiver.answer(garbage)
    async with sending(at) as service:
        delivery_id = await finish(at, receiver.url())
        service.wake()
        shown = await tried(at, delivery_id, 1)
        assert shown.state == "pending"
        assert shown.last_error is not None
        receiver.reply = None
        other = await finish(at, receiver.url(), "t2")
        service.wake()
        assert (await tried(at, other, 1)).state == "delivered"


async def test_a_private_target_is_refused_when_it_is_not_allowed(
    at: World, receiver: Receiver
) -> None:
    """Nothing arrives, and the delivery says why."""
    sender = Outbound()
    service = webhooks(at, sender)
    async with anyio.create_task_group() as tasks:
        await service.start(tasks)
        delivery_id = await finish(at, receiver.url("localhost"))
        service.wake()
        shown = await tried(at, delivery_id, 1)
        await service.stop()
    await sender.close()
    assert shown.last_error == "localhost is at a loopback address, which is not allowed here"
    assert receiver.received == []


async def test_only_changes_that_led_to_a_message_poke(at: World) -> None:
    """The announcement of any other costs nothing."""
    sender = Outbound()
    service = webhooks(at, sender)

    def change(kind: str, deliveries: int = 0) -> Change:
        return Change(
            kind,
            at.clock.now(),
            TaskId("t"),
            1,
            A,
            GroupName("g"),
            TaskState.RUNNING,
            deliveries=deliveries,
        )

    service.on_changes([change("submitted"), change("started")])
    assert not service._sending._wake.is_set()
    service.on_changes([change("assigned"), change("started", deliveries=1)])
    assert service._sending._wake.is_set()
    await sender.close()


async def test_deliveries_are_looked_at_by_workspace(at: World, receiver: Receiver) -> None:
    """Someone else's delivery is an unknown one."""
    sender = Outbound()
    service = webhooks(at, sender)
    delivery_id = await finish(at, receiver.url())
    assert [one.id for one in await service.deliveries(ADMIN_A)] == [delivery_id]
    assert await service.deliveries(ADMIN_A, DeliveryState.FAILED) == []
    assert [one.id for one in await service.of_task(ADMIN_A, TaskId("t1"))] == [delivery_id]
    assert (await service.delivery(ADMIN_A, delivery_id)).task_id == "t1"
    assert await service.deliveries(ADMIN_B) == []
    assert await service.of_task(ADMIN_B, TaskId("t1")) == []
    with pytest.raises(NotFound):
        await service.delivery(ADMIN_B, delivery_id)
    await sender.close()
