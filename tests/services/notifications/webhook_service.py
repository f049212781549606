"""The service that sends webhook messages, and what tests ask of it."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from access_world import (
    A,
    World,
)
from receiver import Received

from eventually import eventually_async
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.notifications.webhooks import Delivery
from taskyard.core.states import TaskState
from taskyard.core.tasks import Command, Task, TaskSpec, Webhook, WebhookEvent
from taskyard.server.outbound import Outbound
from taskyard.services.notifications.webhooks import Webhooks
from taskyard.store.sql.webhooks import enqueue

HEADERS = {"X-App": "1", "Authorization": "Bearer theirs"}


def webhooks(at: World, sender: Outbound, deadline_s: float = 5) -> Webhooks:
    """The service, as after a start of the process."""
    return Webhooks(at.webhook_store, sender, at.encryption, at.audit, at.clock, deadline_s)


@asynccontextmanager
async def sending(at: World, deadline_s: float = 5) -> AsyncIterator[Webhooks]:
    """The service at work, stopped at the end."""
    sender = Outbound(allow_private=True)
    service = webhooks(at, sender, deadline_s)
    async with anyio.create_task_group() as tasks:
        await service.start(tasks)
        try:
            yield service
        finally:
            await service.stop()
    await sender.close()


async def finish(at: World, url: str, name: str = "t1", *, workspace: WorkspaceName = A) -> str:
    """A task finishes; answers with the id of its message."""
    spec = TaskSpec(
        work=Command(argv=("true",), env={"TOKEN": "hidden!"}),
        webhooks=(Webhook(url, headers=HEADERS),),
    )
    task = Task(1, TaskId(name), workspace, spec, TaskState.SUCCEEDED, at.clock.now())
    events = (WebhookEvent.SUCCEEDED, WebhookEvent.FINISHED)
    await at.probe.run(lambda c: enqueue(c, task, None, events, at.clock.now()))
    (delivery,) = await at.webhook_store.deliveries_of(workspace, task.id, 10)
    return delivery.id


async def tried(at: World, delivery_id: str, times: int) -> Delivery:
    """The delivery once so many tries were noted."""

    async def look() -> bool:
        return (await at.webhook_store.delivery(A, delivery_id)).attempt_count >= times

    await eventually_async(look)
    return await at.webhook_store.delivery(A, delivery_id)


def verify(request: Received, key: str) -> None:
    """What a receiver does, written down independently of the sender."""
    secret = base64.b64decode(key.removeprefix("whsec_"))
    signed = (
        f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
        + request.body
    )
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
